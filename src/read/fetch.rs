//! Fetching a page: the life of a miss, as one step that threads and tasks run alike.
//!
//! Nothing is started before somebody waits. Then: look the page up; on a miss get a frame, map it, read; on finding a read
//! under way, join it; on finding a page that was read but not verified, verify it. Each step may find that the world has
//! moved on and starts over; every wait in between is for something that ends by itself.
//!
//! A [`Drive::Thread`] transfers the page itself: for one page that nobody else waits for, a hand-over would cost two
//! wake-ups. A [`Drive::Task`] gives the request to the method.

use std::{
    fmt,
    pin::Pin as StdPin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use crate::{
    codec::PageAddress,
    config::FetchOptions,
    error::{Error, Result},
    id::PageId,
    io::{
        file::File,
        inline,
        request::{Direction, Request},
    },
    lease::{PageLease, ReadLease},
    page::{PinnedPage, Verification},
    pool::{
        frame_pool::Lookup,
        handle::Pin,
        starvation::RETRY,
        state::Phase,
        waiters::{Ticket, Want},
    },
    read::{Drive, supply::FrameWait},
    shared::Shared,
    stats::Counter,
    sync::{
        atomic::{Ordering, fence},
        thread,
        time::{self, Duration, Instant},
    },
    wait,
};

/// A page on its way: wait for it with [`wait`](Self::wait), or `.await` it.
///
/// A hit is ready at once. On a miss nothing happens before somebody waits, as with every future; to have many reads under
/// way together, [prefetch](crate::BufferPool::prefetch) them. Dropping it abandons interest, never the I/O: a read that
/// was started goes on, and the page becomes resident.
#[must_use = "a fetch does nothing until it is waited for or awaited"]
pub struct Fetch {
    stage: Stage,
}

enum Stage {
    /// A hit.
    Ready(PinnedPage),
    Miss(Miss),
    /// The result was collected.
    Done,
}

impl Fetch {
    #[inline]
    pub(crate) fn new(shared: &Arc<Shared>, page: PageId, options: FetchOptions) -> Self {
        if let Lookup::Pinned(pin) = shared.pool.lookup(page)
            && pin.frame().state.load().is_valid()
        {
            shared.counters.add(Counter::Hits, 1);
            return Self { stage: Stage::Ready(PinnedPage::new(pin)) };
        }
        Self { stage: Stage::Miss(Miss::new(Arc::clone(shared), page, options)) }
    }

    /// Waits for the page. The calling thread reads it itself if nobody else does.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`], [`Error::PastEof`], [`Error::AllPinned`], [`Error::NotOpen`],
    /// [`Error::TooManyPins`], [`Error::ShutDown`].
    #[inline]
    pub fn wait(self) -> Result<PinnedPage> {
        match self.stage {
            Stage::Ready(page) => Ok(page),
            Stage::Miss(mut miss) => miss.block(None).unwrap_or(Err(Error::ShutDown)),
            Stage::Done => Err(Error::ShutDown),
        }
    }

    /// Waits at most `patience`. The read is left to the I/O method, so the time is kept even where the disk is slow.
    ///
    /// # Errors
    /// The fetch itself, where the time was too short.
    #[allow(clippy::result_large_err)] // What comes back is the fetch, which holds its state inline for want of an allocation.
    pub fn wait_timeout(mut self, patience: Duration) -> Result<Result<PinnedPage>, Self> {
        let deadline = time::now() + patience;
        let result = match &mut self.stage {
            Stage::Miss(miss) => miss.block(Some(deadline)),
            _ => return Ok(self.wait()),
        };
        result.ok_or(self)
    }

    /// Whether the page can be had without waiting.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.stage {
            Stage::Ready(_) | Stage::Done => true,
            Stage::Miss(miss) => miss.is_resident(),
        }
    }
}

impl Future for Fetch {
    type Output = Result<PinnedPage>;

    fn poll(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Ready(page) => Ok(page),
            Stage::Miss(mut miss) => match miss.step(Drive::Task, cx.waker()) {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    self.stage = Stage::Miss(miss);
                    return Poll::Pending;
                }
            },
            Stage::Done => panic!("a fetch was polled after it had given its page"),
        };
        Poll::Ready(result)
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Stage::Ready(page) => write!(f, "Fetch(ready: {page:?})"),
            Stage::Miss(miss) => write!(f, "Fetch({})", miss.page),
            Stage::Done => f.write_str("Fetch(collected)"),
        }
    }
}

/// A fetch that found no page ready.
struct Miss {
    shared: Arc<Shared>,
    page: PageId,
    options: FetchOptions,
    /// A read under way: the pin on its frame, and the place in line for its end.
    reading: Option<(Pin, Ticket)>,
    frame_wait: FrameWait,
    counted: bool,
}

impl Miss {
    fn new(shared: Arc<Shared>, page: PageId, options: FetchOptions) -> Self {
        Self { shared, page, options, reading: None, frame_wait: FrameWait::default(), counted: false }
    }

    /// Steps until there is a result, or until `deadline`.
    fn block(&mut self, deadline: Option<Instant>) -> Option<Result<PinnedPage>> {
        // A thread that must be back in time cannot lend itself to a transfer.
        let drive = if deadline.is_none() { Drive::Thread } else { Drive::Task };
        wait::with_thread_waker(|waker| {
            loop {
                if let Poll::Ready(result) = self.step(drive, waker) {
                    return Some(result);
                }
                let left = deadline.map(|at| at.saturating_duration_since(time::now()));
                if left.is_some_and(|left| left.is_zero()) {
                    return None;
                }
                // The end of a read wakes for certain; a frame that comes free may not.
                let nap = if self.reading.is_some() {
                    left
                } else {
                    Some(left.map_or(RETRY, |left| left.min(RETRY)))
                };
                nap.map_or_else(thread::park, thread::park_timeout);
            }
        })
    }

    /// Goes on until the page is here, or there is something to wait for.
    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<PinnedPage>> {
        loop {
            if let Some((pin, ticket)) = &self.reading {
                let outcome = ready!(pin.pool().waiters.poll(ticket, waker));
                let pin = self.reading.take().map(|(pin, _)| pin);
                outcome?;
                if let Some(page) = pin.map_or(Ok(None), |pin| self.settle(pin, waker))? {
                    return Poll::Ready(Ok(page));
                }
                continue;
            }
            match self.shared.pool.lookup(self.page) {
                Lookup::Pinned(pin) => {
                    if let Some(page) = self.settle(pin, waker)? {
                        return Poll::Ready(Ok(page));
                    }
                }
                Lookup::Absent => ready!(self.start(drive, waker))?,
                Lookup::TooManyPins => return Poll::Ready(Err(Error::TooManyPins { page: self.page })),
            }
        }
    }

    /// What to do with a frame that has the page: use it, verify it, or get in line for the end of its read. `None`: look
    /// again, the read has failed, or there is a line to wait in.
    fn settle(&mut self, pin: Pin, waker: &Waker) -> Result<Option<PinnedPage>> {
        loop {
            match pin.frame().state.load().phase() {
                Phase::Valid => {
                    self.count(Counter::Hits);
                    return Ok(Some(PinnedPage::new(pin)));
                }
                Phase::Reading => {
                    let ticket =
                        pin.pool().waiters.enlist(pin.frame_no(), pin.frame(), Want::ReadDone, waker);
                    if let Some(ticket) = ticket {
                        self.count(Counter::Joins);
                        self.reading = Some((pin, ticket));
                        return Ok(None);
                    }
                }
                // To verify takes a pin of its own.
                Phase::Loaded if pin.frame().state.load().pins_are_exhausted() => {
                    return Err(Error::TooManyPins { page: self.page });
                }
                Phase::Loaded => {
                    if let Some(verification) = Verification::begin(&pin) {
                        verification.run(|bytes| verify(&self.shared, self.page, bytes))?;
                    }
                }
                Phase::Free | Phase::Claimed => return Ok(None),
            }
        }
    }

    /// Gets a frame, maps the page to it and starts its read, with this fetch the first in line for its end.
    fn start(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<()>> {
        self.shared.check_open()?;
        let file = self.shared.files.open_file(self.page.file)?;
        file.check(self.page.block)?;
        let limit = self.options.frame_wait.unwrap_or(self.shared.config.frame_wait);
        let claimed = ready!(self.frame_wait.poll(&self.shared, limit, drive, waker))?;
        let pin = match self.shared.pool.map(claimed, self.page, file.read_only) {
            Ok(pin) => pin,
            // Somebody was faster.
            Err((_, Lookup::Pinned(_))) => return Poll::Ready(Ok(())),
            Err((_, Lookup::TooManyPins)) => return Poll::Ready(Err(Error::TooManyPins { page: self.page })),
            // The page's partition of the table is full: as good as no frame.
            Err((_, Lookup::Absent)) => return Poll::Ready(Err(Error::AllPinned { waited: Duration::ZERO })),
        };
        let mine = pin.again();
        let lease = begin_read(&self.shared, &file, pin)?;
        let Some(mine) = mine else {
            let error = Error::TooManyPins { page: self.page };
            lease.abort(&error);
            return Poll::Ready(Err(error));
        };
        self.count(Counter::Misses);
        let ticket = mine.pool().waiters.enlist(mine.frame_no(), mine.frame(), Want::ReadDone, waker);
        self.reading = ticket.map(|ticket| (mine, ticket));
        let request = read_request(&self.shared, file, lease);
        match drive {
            Drive::Thread => inline::run(request, &self.shared.counters),
            Drive::Task => self.shared.method.submit_one(request),
        }
        Poll::Ready(Ok(()))
    }

    /// Counts the fetch once, by what it met first.
    fn count(&mut self, counter: Counter) {
        if !std::mem::replace(&mut self.counted, true) {
            self.shared.counters.add(counter, 1);
        }
    }

    fn is_resident(&self) -> bool {
        match self.shared.pool.lookup(self.page) {
            Lookup::Pinned(pin) => pin.frame().state.load().is_valid(),
            _ => false,
        }
    }
}

impl Drop for Miss {
    fn drop(&mut self) {
        if let Some((pin, ticket)) = self.reading.take() {
            pin.cancel_wait(&ticket);
        }
        self.frame_wait.give_up(&self.shared);
    }
}

/// The lease for a page that was just mapped, unless its block or its file went away meanwhile.
///
/// A truncation publishes the new end and then looks for frames, a close publishes that the file is closed and then looks
/// for frames; here the frame is mapped first and then the file looked at. The fences make one of the two see the other.
pub(crate) fn begin_read(shared: &Shared, file: &File, pin: Pin) -> Result<ReadLease> {
    let page = pin.frame().page();
    let lease = ReadLease::new(pin, shared.config.codec.is_some());
    fence(Ordering::SeqCst);
    match file.check_open(page.block) {
        Ok(()) => Ok(lease),
        Err(error) => {
            lease.abort(&error);
            Err(error)
        }
    }
}

/// The request that fills the lease.
pub(crate) fn read_request(shared: &Shared, file: Arc<File>, lease: ReadLease) -> Request<PageLease> {
    shared.counters.add(Counter::ReadRequests, 1);
    let offset = shared.config.page_size.offset_of(lease.first().block);
    Request { direction: Direction::Read, file, offset, lease: PageLease::Read(lease) }
}

/// Has the codec look at a page.
fn verify(shared: &Shared, page: PageId, bytes: &[u8]) -> Result<()> {
    let Some(codec) = &shared.config.codec else { return Ok(()) };
    let file = shared.files.open_file(page.file)?;
    let verdict = codec.verify(PageAddress::new(file.tag, page.block), bytes);
    verdict.map_err(|reason| Error::Corrupt { page, reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BufferPool, IoMethod, OpenOptions, pool::frame_pool::DirtyVictims, testing::SimDisk};

    /// A miss, up to where the page has its frame and nothing has looked at the file since.
    fn mapped(between: impl FnOnce(&File)) -> (BufferPool, PageId, Result<ReadLease>) {
        let disk = SimDisk::new();
        disk.put("data", [1; 4096]);
        let builder = BufferPool::builder().frames(2).page_size(4096).io_method(IoMethod::Sync);
        let pool = builder.disk(disk).build().unwrap();
        let page = PageId::new(pool.open_file("data", OpenOptions::new()).unwrap(), 0);
        let shared = pool.shared();
        let file = shared.files.open_file(page.file).unwrap();
        let claimed = shared.pool.claim_victim(&mut DirtyVictims::new()).unwrap();
        let pin = shared.pool.map(claimed, page, false).unwrap();
        between(&file);
        let lease = begin_read(shared, &file, pin);
        (pool, page, lease)
    }

    fn nothing_is_left(pool: &BufferPool, page: PageId) -> bool {
        let frames = pool.stats().frames;
        !pool.shared().pool.is_mapped(page) && frames.pins == 0 && frames.reading == 0
    }

    #[test]
    fn a_file_that_was_cut_between_mapping_and_reading_is_not_read() {
        let (pool, page, lease) = mapped(|file| file.set_blocks(0));
        assert!(matches!(lease, Err(Error::PastEof { blocks: 0, .. })));
        assert!(nothing_is_left(&pool, page));
    }

    #[test]
    fn a_file_that_was_closed_between_mapping_and_reading_is_not_read() {
        let (pool, page, lease) = mapped(|file| file.set_closed(true));
        assert!(matches!(lease, Err(Error::NotOpen { .. })));
        assert!(nothing_is_left(&pool, page));
    }

    #[test]
    fn c5_a_lease_that_is_dropped_ends_the_read() {
        let (pool, page, lease) = mapped(|_| {});
        drop(lease.unwrap());
        assert!(nothing_is_left(&pool, page));
    }
}
