//! Fetching a page: a hit, which is ready at once, and the life of a [`Miss`], as one step that threads and tasks run alike.
//!
//! Nothing is started before a thread or task waits. Then it looks the page up. On a miss it gets a frame, maps the page to it, and
//! reads the page. If a read is under way, it joins it. If the page was read but not verified, it verifies the page. Each step may
//! find that the state has changed, and then it starts over. Every wait in between is for something that ends by itself.
//!
//! A [`Drive::Thread`] transfers the page itself: for one page that no other thread waits for, a hand-over would cost two wake-ups.
//! A [`Drive::Task`] gives the request to the method. So does a thread if the file has a bound of its own.

use std::{
    fmt,
    pin::Pin as StdPin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use crate::{
    buffer::{
        frame::{pin::Pin, state::State, waiters::Ticket},
        lookup::NotPinned,
        page::{PageAt, PinnedPage},
        residency::{Mapped, NotMapped},
        supply::{DirtyVictims, Search},
    },
    error::{Error, Result},
    id::PageId,
    io::{file::File, method::calling_thread, operation::Urgency},
    observe::{Counter, Measure, thread_index},
    read::frame_wait::FrameWait,
    runtime::{
        demand_share::ShareWait,
        operation::read::{self, MappedBefore, ReadMode, ReadOutcome},
        shared::Shared,
    },
    sync::{
        poll_budget,
        time::{self, Duration, Instant},
        wait::{Drive, PollStep},
        waking::Wakers,
    },
};

/// Pins the page, if it can be used now. Else nothing changes: in particular this does not count as a use. `thread` is the
/// [number](thread_index) of the calling thread.
#[inline(always)] // The whole of a hit; the caller knows whether there is a hint.
pub(super) fn pin_now(shared: &Shared, at: PageAt, thread: usize) -> Option<PinnedPage> {
    let there = at.hint.and_then(|hint| shared.pool.pin_in(shared.pool.checked(hint.0)?, at.page, thread));
    let pin = match there {
        Some(pin) => pin,
        None => shared.pool.lookup_valid(at.page, thread)?,
    };
    Some(PinnedPage::new(pin))
}

/// A fetch of a page: wait for it with [`wait`](Self::wait), or `.await` it.
///
/// A hit is ready at once. On a miss nothing happens before a thread or task waits, as with every future. To have many reads under
/// way together, [prefetch](crate::BufferPool::prefetch) them. Dropping it abandons the wait, never the I/O: a read that was
/// started continues, and the page becomes resident.
///
/// # Turns of tasks
///
/// As a future it is ready at once if the page is resident, or if the thread that polls it reads the page itself, as with
/// [`IoMethod::Sync`](crate::IoMethod::Sync). A loop of such futures would keep its thread from other tasks. So all futures of this
/// crate give way now and then: after 128 polls on a thread that were ready, the next one wakes its task and is pending once,
/// before it has begun anything. So a single poll that is pending does not tell that a page is not resident, as [`now`](Self::now)
/// does, nor that a read has begun, as [`prefetch`](crate::BufferPool::prefetch) does. Threads that [wait](Self::wait) are not
/// affected.
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, OpenOptions, PageId};
/// use std::time::Duration;
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
///
/// let page = PageId::new(file, 0);
/// assert!(pool.fetch(page).now().is_none()); // not in the pool yet
/// assert!(!pool.fetch(page).is_done());
/// pool.fetch(page).frame_wait(Duration::from_millis(100)).wait()?;
/// assert!(pool.fetch(page).is_done());
/// match pool.fetch(page).wait_timeout(Duration::from_millis(10)) {
///     Ok(page) => assert_eq!(page?.id().block.0, 0),
///     Err(fetch) => drop(fetch.wait()), // too short: it can be waited for again
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a fetch does nothing until it is waited for or awaited"]
pub struct Fetch {
    stage: FetchStage,
}

enum FetchStage {
    /// A hit.
    Ready(PinnedPage),
    Miss(Miss),
    /// The result was collected.
    Done,
}

impl FetchStage {
    #[cold]
    fn give_up(self) -> Option<PinnedPage> {
        None
    }
}

impl Fetch {
    #[inline(always)]
    pub(crate) fn new(shared: &Arc<Shared>, at: PageAt) -> Self {
        let thread = thread_index::current();
        match pin_now(shared, at, thread) {
            Some(page) => {
                shared.counters.hits.add_by(thread, at.page.file, 1);
                Self { stage: FetchStage::Ready(page) }
            }
            None => Self::missing(shared, at.page),
        }
    }

    #[cold]
    fn missing(shared: &Arc<Shared>, page: PageId) -> Self {
        let patience = shared.config.frame_wait;
        Self { stage: FetchStage::Miss(Miss::new(Arc::clone(shared), page, patience)) }
    }

    /// Sets the most to wait for a frame while all are pinned, instead of the pool's [limit](crate::Builder::frame_wait).
    /// Example: [`Fetch`].
    pub fn frame_wait(mut self, wait: Duration) -> Self {
        if let FetchStage::Miss(miss) = &mut self.stage {
            miss.frame_wait.limit = wait;
        }
        self
    }

    /// Returns the page if it is in the pool, and verified by the codec if there is one. Never reads, never waits.
    /// Example: [`Fetch`].
    #[inline]
    #[must_use]
    pub fn now(self) -> Option<PinnedPage> {
        match self.stage {
            FetchStage::Ready(page) => Some(page),
            // By value: else a hit would be copied, with all the room that a miss takes, when the others are dropped in place.
            stage => stage.give_up(),
        }
    }

    /// Waits for the page. The calling thread reads it itself if no other thread does. Example: [`Fetch`].
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`], [`Error::PastEof`], [`Error::AllPinned`], [`Error::NoFrame`], [`Error::NotOpen`],
    /// [`Error::TooManyPins`], [`Error::ShutDown`].
    #[inline]
    pub fn wait(self) -> Result<PinnedPage> {
        match self.stage {
            FetchStage::Ready(page) => Ok(page),
            FetchStage::Miss(mut miss) => miss.run_to_end(),
            FetchStage::Done => Err(Error::ShutDown),
        }
    }

    /// Waits for the page, for at most `patience`. The I/O method makes the read, so the time is kept even if the disk is slow,
    /// except for what the calling thread has to do itself: transfers, with [`IoMethod::Sync`](crate::IoMethod::Sync) or if the
    /// method's queue is full; the check by a page codec; and as the last resort, if there are only dirty frames, one flush of the
    /// log and, with a doublewrite area, one write and sync of that area. Example: [`Fetch`].
    ///
    /// # Errors
    /// The fetch itself, if the time was too short.
    #[allow(clippy::result_large_err)] // The fetch that comes back holds its state inline, to save an allocation.
    pub fn wait_timeout(mut self, patience: Duration) -> Result<Result<PinnedPage>, Self> {
        let deadline = time::deadline_after(patience);
        let result = match &mut self.stage {
            FetchStage::Miss(miss) => miss.run_until(deadline),
            _ => return Ok(self.wait()),
        };
        result.ok_or(self)
    }

    /// Returns whether the page can be had without waiting. Example: [`Fetch`].
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.stage {
            FetchStage::Ready(_) | FetchStage::Done => true,
            // This does not count as a use.
            FetchStage::Miss(miss) => miss.shared.pool.find(miss.page, State::is_valid).is_some(),
        }
    }
}

impl Future for Fetch {
    type Output = Result<PinnedPage>;

    #[inline]
    fn poll(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        poll_budget::poll(cx, |waker| self.step(Drive::Task, waker))
    }
}

impl PollStep for Fetch {
    type Output = Result<PinnedPage>;

    #[inline]
    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Self::Output> {
        if let FetchStage::Miss(miss) = &mut self.stage {
            let result = ready!(miss.step(drive, waker));
            self.stage = FetchStage::Done;
            return Poll::Ready(result);
        }
        match std::mem::replace(&mut self.stage, FetchStage::Done) {
            FetchStage::Ready(page) => Poll::Ready(Ok(page)),
            _ => panic!("a fetch was polled after it had given its page"),
        }
    }

    fn is_sure_of_its_wake_up(&self) -> bool {
        matches!(&self.stage, FetchStage::Miss(miss) if miss.is_sure_of_its_wake_up())
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            FetchStage::Ready(page) => write!(f, "Fetch(ready: {page:?})"),
            FetchStage::Miss(miss) => write!(f, "Fetch({})", miss.page),
            FetchStage::Done => f.write_str("Fetch(collected)"),
        }
    }
}

/// A page that a caller wants and that was not ready.
pub(super) struct Miss {
    shared: Arc<Shared>,
    page: PageId,
    /// A read under way: the pin on its frame, and the place in line for its end.
    reading: Option<(Pin, Ticket)>,
    frame_wait: FrameWait,
    /// A wait for the end of other reads of the file. In a box, since most fetches never wait so.
    held_back: Option<Box<ShareWait>>,
    counted: bool,
    /// A read that it waited for has failed, perhaps because of other pages, so its own next read is of this page alone.
    alone: bool,
    /// Since when a caller waits for the page.
    since: Option<Instant>,
    /// What the wait is for, if it is for a read.
    felt: Option<Measure>,
}

impl Miss {
    pub(super) fn new(shared: Arc<Shared>, page: PageId, patience: Duration) -> Self {
        Self {
            shared,
            page,
            reading: None,
            frame_wait: FrameWait::new(patience),
            held_back: None,
            counted: false,
            alone: false,
            since: None,
            felt: None,
        }
    }

    pub(super) fn patience_left(&self) -> Duration {
        self.frame_wait.left()
    }

    fn go_on(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<PinnedPage>> {
        loop {
            let found = if let Some((pin, ticket)) = &self.reading {
                let outcome = ready!(pin.poll_read(ticket, waker));
                let pin = self.reading.take().map(|(pin, _)| pin);
                if let Err(error) = outcome {
                    if seeded!("pin_kept_by_a_failed_read") {
                        std::mem::forget(pin);
                    }
                    return Poll::Ready(Err(error));
                }
                let found = pin.map_or(Ok(None), |pin| self.settle(pin, waker))?;
                self.alone |= found.is_none() && self.reading.is_none();
                found
            } else {
                match self.shared.pool.lookup(self.page) {
                    Ok(pin) => self.settle(pin, waker)?,
                    Err(NotPinned::Gone | NotPinned::Seized) => match ready!(self.start(drive, waker))? {
                        Some(read) => self.settle(read, waker)?,
                        None => None,
                    },
                    Err(NotPinned::TooManyPins) => {
                        return Poll::Ready(Err(self.shared.pool.too_many_pins(self.page)));
                    }
                }
            };
            if let Some(page) = found {
                return Poll::Ready(Ok(page));
            }
        }
    }

    /// Uses a frame that has the page, or gets in line for the end of its read. Returns `None` if the read has failed, so that the
    /// page must be looked up again, or if there is a line to wait in.
    fn settle(&mut self, pin: Pin, waker: &Waker) -> Result<Option<PinnedPage>> {
        loop {
            match read::look(&self.shared.pool, &self.shared.files, &pin)? {
                ReadOutcome::Here => {
                    self.count_hit();
                    return Ok(Some(PinnedPage::new(pin)));
                }
                ReadOutcome::Reading => {
                    if let Some(ticket) = pin.enlist_for_read(waker) {
                        self.count_join();
                        self.reading = Some((pin, ticket));
                        return Ok(None);
                    }
                }
                ReadOutcome::Gone => return Ok(None),
            }
        }
    }

    /// Gets a frame, maps the page to it and reads the page. A thread that lends itself makes the read at once, and returns a pin
    /// on the frame with the page. Otherwise this fetch is the first in line for the end of the read.
    fn start(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<Option<Pin>>> {
        self.shared.check_open()?;
        let file = self.shared.files.open_file(self.page.file)?;
        file.check(self.page.block)?;
        if self.shared.demand_reads_left(&file, 1) == 0 {
            return self.hold_back(&file, drive, waker);
        }
        let mapped = bring_in(&self.shared, &file, self.page, &mut self.frame_wait, drive, waker);
        let Some(Mapped { reading, own }) = ready!(mapped)? else { return Poll::Ready(Ok(None)) };
        if !self.shared.count_miss(&file, !self.counted) {
            drop(own);
            self.shared.pool.abandon_read(reading, &mut Wakers::new());
            return self.hold_back(&file, drive, waker);
        }
        self.held_back = None;
        if !std::mem::replace(&mut self.counted, true) {
            self.felt = Some(Measure::Miss);
        }
        let most = if self.alone { 1 } else { usize::MAX };
        let mode = ReadMode { urgency: Urgency::Demand, most };
        let mut operation = read::begin(
            &self.shared.operations,
            &self.shared.pool,
            &file,
            reading,
            MappedBefore::now(),
            mode,
        )?;
        operation.list(self.shared.operations.now());
        self.shared.counters.add(Counter::ReadRequests, 1);
        // The method keeps a file's own bound.
        let is_bounded = file.max_in_flight.is_some() && !seeded!("bound_passed_by_lone_misses");
        if drive == Drive::Thread && !is_bounded {
            let failed = calling_thread::run(operation, &self.shared.counters);
            return Poll::Ready(failed.map_or(Ok(Some(own)), Err));
        }
        self.reading = own.enlist_for_read(waker).map(|ticket| (own, ticket));
        self.shared.method.submit_one(operation);
        Poll::Ready(Ok(None))
    }

    /// Waits for the end of other reads of the file, which has its share of the frames.
    #[cold]
    fn hold_back(&mut self, file: &File, drive: Drive, waker: &Waker) -> Poll<Result<Option<Pin>>> {
        // Not in line for a frame: it would keep those behind it from theirs.
        self.frame_wait.give_up(&self.shared);
        let held = self.held_back.get_or_insert_default();
        let error = self.shared.hold_back(file, held, drive, waker);
        error.map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
    }

    /// Counts a page that was resident after all, unless it was counted as something else.
    fn count_hit(&mut self) {
        if !std::mem::replace(&mut self.counted, true) {
            self.shared.counters.hits.add(self.page.file, 1);
        }
    }

    fn count_join(&mut self) {
        // The file of a page that is being read is open.
        if let Some(file) = self.shared.files.for_write_out(self.page.file)
            && !std::mem::replace(&mut self.counted, true)
        {
            self.shared.count_for_file(&file, Counter::Joins, 1);
            self.felt = Some(Measure::Join);
        }
    }
}

impl PollStep for Miss {
    type Output = Result<PinnedPage>;

    /// Notes how long the page took, once it is resident.
    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<PinnedPage>> {
        self.shared.check_process()?;
        let since = *self.since.get_or_insert_with(time::now);
        let page = ready!(self.go_on(drive, waker))?;
        if let Some(measure) = self.felt {
            self.shared.counters.measures.add_time(measure, time::now() - since);
        }
        Poll::Ready(Ok(page))
    }

    fn is_sure_of_its_wake_up(&self) -> bool {
        self.reading.is_some()
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

/// Gets a frame for a page that has none, and maps the page to it; or waits for a frame. Returns `None` if another thread was faster.
pub(super) fn bring_in(
    shared: &Shared,
    file: &File,
    page: PageId,
    wait: &mut FrameWait,
    drive: Drive,
    waker: &Waker,
) -> Poll<Result<Option<Mapped>>> {
    let (pool, mut dirty) = (&shared.pool, DirtyVictims::new());
    let at_once = if wait.is_under_way() { None } else { pool.take_frame(Search::Demand, &mut dirty) };
    let claimed = match at_once {
        Some(claimed) => claimed,
        None => ready!(wait.poll(shared, file.id, dirty, drive, waker))?,
    };
    Poll::Ready(match pool.map(claimed, page, file.read_only) {
        Ok(mapped) => Ok(Some(mapped)),
        Err(NotMapped::Met(_) | NotMapped::Seized) => Ok(None),
        Err(NotMapped::TooManyPins) => Err(pool.too_many_pins(page)),
        Err(NotMapped::NoRoom) => Err(pool.shortage().0.of_pins(Duration::ZERO)),
    })
}
