//! Overwriting a page: a frame of zeros under the exclusive latch, for a page whose old bytes do not matter (PostgreSQL:
//! `RBM_ZERO_AND_LOCK`).
//!
//! If the page has no frame, one is mapped as for a miss, and its read ends with zeros instead of a transfer. The latch is taken in
//! the step that ends the read, so no other thread sees the zeros before the guard is dropped. If another thread reads the page,
//! the call waits for the end of that read, whether it succeeds or fails. It does not show the codec a page that was not verified
//! yet.

use std::{
    fmt,
    pin::Pin as StdPin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use crate::{
    buffer::{
        frame::{change::ChangeWait, latch::Latch, pin::Pin, state::Phase, waiters::Ticket},
        lookup::NotPinned,
        page::{Latching, OwnedPageWrite, PinnedPage, Verification},
        residency::Mapped,
    },
    error::{Error, Result},
    id::PageId,
    observe::Measure,
    read::{fetch::bring_in, frame_wait::FrameWait},
    runtime::{
        operation::read::{MappedBefore, check_mapped},
        shared::Shared,
    },
    sync::{
        poll_budget,
        time::{self, Duration, Instant},
        wait::{Drive, PollStep},
    },
};

/// An overwrite of a page that was asked for: wait for it with [`wait`](Self::wait), or `.await` it.
///
/// Nothing begins before a thread or task waits for it. It gives way to other tasks [as a `Fetch`
/// does](crate::pending::Fetch#turns-of-tasks).
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
/// pool.overwrite(page).frame_wait(Duration::from_millis(100)).wait()?[0] = 1;
///
/// let reader = pool.read(page).wait()?;
/// let overwrite = pool.overwrite(page).wait_timeout(Duration::from_millis(1)).unwrap_err();
/// drop(reader);
/// assert_eq!(overwrite.wait()?[0], 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a page is not overwritten before it is waited for or awaited"]
pub struct Overwrite {
    shared: Arc<Shared>,
    page: PageId,
    frame_wait: FrameWait,
    room: ChangeWait,
    /// Another thread's read of the page, and the place in line for its end.
    joined: Option<(Pin, Ticket)>,
    /// The wait for the latch of a page that has a frame.
    latching: Option<Latching>,
    /// Since when it is waited for.
    since: Option<Instant>,
    /// The guard was collected.
    is_done: bool,
}

impl Overwrite {
    pub(crate) fn new(shared: &Arc<Shared>, page: PageId) -> Self {
        let (shared, patience) = (Arc::clone(shared), shared.config.frame_wait);
        Self {
            shared,
            page,
            frame_wait: FrameWait::new(patience),
            room: ChangeWait::default(),
            joined: None,
            latching: None,
            since: None,
            is_done: false,
        }
    }

    /// Sets the most to wait for a frame while all are pinned, instead of the pool's [limit](crate::Builder::frame_wait).
    /// Example: [`Overwrite`].
    pub fn frame_wait(mut self, wait: Duration) -> Self {
        self.frame_wait.limit = wait;
        self
    }

    /// Waits for the page, and until no other thread reads or changes it. Example: [`Overwrite`].
    ///
    /// # Errors
    /// [`Error::PastEof`], [`Error::ReadOnly`], [`Error::AllPinned`], [`Error::NoFrame`], [`Error::NotOpen`],
    /// [`Error::TooManyPins`], [`Error::ShutDown`]. A failure of the disk or the codec with the old bytes is no error here.
    pub fn wait(mut self) -> Result<OwnedPageWrite> {
        self.run_to_end()
    }

    /// Waits for the page as [`wait`](Self::wait) does, for at most `at_most`; see
    /// [`Fetch::wait_timeout`](crate::pending::Fetch::wait_timeout) for what may take longer. Example: [`Overwrite`].
    ///
    /// # Errors
    /// This value, if the time was too short.
    #[allow(clippy::result_large_err)] // The value that comes back holds its state inline, to save an allocation.
    pub fn wait_timeout(mut self, at_most: Duration) -> Result<Result<OwnedPageWrite>, Self> {
        self.run_until(time::deadline_after(at_most)).ok_or(self)
    }

    fn go_on(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<OwnedPageWrite>> {
        loop {
            if let Some(latching) = &mut self.latching {
                let pin = ready!(latching.step(drive, waker));
                self.latching = None;
                let mut guard = OwnedPageWrite::of_latched(pin?);
                guard.overwrite();
                return Poll::Ready(Ok(guard));
            }
            if let Some((pin, ticket)) = &self.joined {
                // Its outcome does not matter: the bytes do not matter.
                let _ = ready!(pin.poll_read(ticket, waker));
                self.joined = None;
            }
            match self.shared.pool.lookup(self.page) {
                Ok(pin) => {
                    if pin.frame().state.load().phase() == Phase::Loaded {
                        ready!(self.poll_room(drive, waker))?;
                    }
                    if let Some(guard) = self.take_over(pin, waker)? {
                        return Poll::Ready(Ok(guard));
                    }
                }
                Err(NotPinned::Gone | NotPinned::Seized) => {
                    if let Some(guard) = ready!(self.bring_in_zeroed(drive, waker))? {
                        return Poll::Ready(Ok(guard));
                    }
                }
                Err(NotPinned::TooManyPins) => {
                    return Poll::Ready(Err(self.shared.pool.too_many_pins(self.page)));
                }
            }
        }
    }

    /// Overwrites a page that has a frame, or gets in line for that. Returns `None` if the caller must continue.
    fn take_over(&mut self, pin: Pin, waker: &Waker) -> Result<Option<OwnedPageWrite>> {
        // A page that has a frame needs no other one.
        self.frame_wait.give_up(&self.shared);
        let state = pin.frame().state.load();
        if state.is_read_only() && !matches!(state.phase(), Phase::Free | Phase::Claimed) {
            let file = self.page.file;
            return Err(Error::ReadOnly { file, path: self.shared.pool.path_of(file) });
        }
        match state.phase() {
            // To end its read takes a further pin.
            Phase::Loaded if state.pins_are_exhausted() => {
                return Err(self.shared.pool.too_many_pins(self.page));
            }
            Phase::Valid => {
                self.latching = Some(Latching::new(PinnedPage::new(pin), Latch::Exclusive));
            }
            Phase::Loaded => {
                if let Some(unverified) = Verification::begin(&self.shared.pool, &pin) {
                    unverified.end_with_zeros();
                    return Ok(Some(OwnedPageWrite::of_zeroed(pin)));
                }
            }
            Phase::Reading => {
                self.joined = pin.enlist_for_read(waker).map(|ticket| (pin, ticket));
            }
            Phase::Free | Phase::Claimed => {}
        }
        Ok(None)
    }

    /// Waits for room for a change, where the page is not dirty.
    fn poll_room(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<()>> {
        let frames = &self.shared.pool.frames;
        if !frames.dirty_counts.is_short() {
            return Poll::Ready(Ok(()));
        }
        frames.poll_room(self.page.file, &mut self.room, drive, waker)
    }

    /// Gets a frame and maps the page to it, with zeros. Returns `None` if another thread has given the page a frame meanwhile.
    fn bring_in_zeroed(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<Option<OwnedPageWrite>>> {
        self.shared.check_open()?;
        let file = self.shared.files.open_file(self.page.file)?;
        file.check(self.page.block)?;
        if file.read_only {
            return Poll::Ready(Err(Error::ReadOnly { file: file.id, path: Some(file.path.clone()) }));
        }
        ready!(self.poll_room(drive, waker))?;
        let mapped = bring_in(&self.shared, &file, self.page, &mut self.frame_wait, drive, waker);
        let Some(Mapped { reading, own }) = ready!(mapped)? else { return Poll::Ready(Ok(None)) };
        let pool = &self.shared.pool;
        let reading = check_mapped(pool, &file, reading, MappedBefore::now())?;
        Verification::of_read(pool, reading).end_with_zeros();
        Poll::Ready(Ok(Some(OwnedPageWrite::of_zeroed(own))))
    }
}

impl PollStep for Overwrite {
    type Output = Result<OwnedPageWrite>;

    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Self::Output> {
        assert!(!self.is_done, "an overwrite was polled after it had given its page");
        self.shared.check_process()?;
        let since = *self.since.get_or_insert_with(time::now);
        let overwritten = self.go_on(drive, waker);
        self.is_done = overwritten.is_ready();
        if let Poll::Ready(Ok(_)) = overwritten {
            self.shared.counters.measures.add_time(Measure::Overwrite, time::now() - since);
        }
        overwritten
    }

    fn is_sure_of_its_wake_up(&self) -> bool {
        let is_sure = |latching: &Latching| latching.is_sure_of_its_wake_up();
        self.joined.is_some() || self.latching.as_ref().is_some_and(is_sure)
    }
}

impl Future for Overwrite {
    type Output = Result<OwnedPageWrite>;

    fn poll(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        poll_budget::poll(cx, |waker| self.step(Drive::Task, waker))
    }
}

impl Drop for Overwrite {
    fn drop(&mut self) {
        if let Some((pin, ticket)) = self.joined.take() {
            pin.cancel_wait(&ticket);
        }
        self.frame_wait.give_up(&self.shared);
    }
}

impl fmt::Debug for Overwrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Overwrite({})", self.page)
    }
}
