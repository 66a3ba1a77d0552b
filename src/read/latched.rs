//! Reading or changing a page: pin and latch in one step if the page is resident and the latch is free, else a fetch and a wait for
//! the latch (PostgreSQL: `ReadBuffer`, then `LockBuffer`). Nothing is begun before a thread or a task waits.
//!
//! [`ReadPage`] and [`WritePage`] are one [`Access`] with two guards.

use std::{
    fmt,
    mem::replace,
    pin::Pin as StdPin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use crate::{
    buffer::{
        frame::{latch::Latch, pin::Pin},
        page::{Latching, OwnedPageRead, OwnedPageWrite, PageAt, PinnedPage},
    },
    error::{Error, Result},
    id::PageId,
    observe::thread_index,
    read::fetch::Fetch,
    runtime::shared::Shared,
    sync::{
        poll_budget,
        time::{self, Duration},
        wait::{Drive, PollStep},
    },
};

/// The result of an access: a pin and a latch as one value.
trait Guard: Sized {
    const LATCH: Latch;

    /// Takes pin and latch, if the page is resident and the latch is free.
    fn now(shared: &Shared, at: PageAt) -> Option<Self>;

    fn check(_: &PinnedPage) -> Result<()> {
        Ok(())
    }

    fn of_latched(pin: Pin) -> Self;

    fn let_go(self) -> PinnedPage;
}

impl Guard for OwnedPageRead {
    const LATCH: Latch = Latch::Shared;

    #[inline(always)] // The whole of a hit; the caller knows whether there is a hint.
    fn now(shared: &Shared, at: PageAt) -> Option<Self> {
        let thread = thread_index::current();
        let pin = match at.hint {
            // If the hint is out of date the fetch looks in the table.
            Some(hint) => shared.pool.latch_in(shared.pool.checked(hint.0)?, at.page, thread)?,
            None => shared.pool.latch_at(at.page, thread)?,
        };
        shared.counters.hits.add_by(thread, at.page.file, 1);
        Some(Self::new(pin))
    }

    fn of_latched(pin: Pin) -> Self {
        Self::of_latched(pin)
    }

    fn let_go(self) -> PinnedPage {
        self.unlatch()
    }
}

impl Guard for OwnedPageWrite {
    const LATCH: Latch = Latch::Exclusive;

    fn now(shared: &Shared, at: PageAt) -> Option<Self> {
        let thread = thread_index::current();
        let hint = at.hint.and_then(|hint| shared.pool.checked(hint.0));
        let page = PinnedPage::new(shared.pool.pin_to_change(at.page, hint)?);
        page.check_writable().ok()?;
        let pin = page.try_latched(Latch::Exclusive).ok()??;
        shared.counters.hits.add_by(thread, at.page.file, 1);
        Some(Self::of_latched(pin))
    }

    fn check(page: &PinnedPage) -> Result<()> {
        page.check_writable()
    }

    fn of_latched(pin: Pin) -> Self {
        Self::of_latched(pin)
    }

    fn let_go(self) -> PinnedPage {
        self.unlatch()
    }
}

/// A guard that is wanted.
enum Access<G> {
    Ready(G),
    Fetching(Fetch),
    Latching(Latching),
    /// The result was collected.
    Done,
}

impl<G: Guard> Access<G> {
    #[inline(always)]
    fn new(shared: &Arc<Shared>, at: PageAt) -> Self {
        match G::now(shared, at) {
            Some(guard) => Self::Ready(guard),
            None => Self::fetching(shared, at.page),
        }
    }

    #[cold]
    fn fetching(shared: &Arc<Shared>, page: PageId) -> Self {
        // Without the hint: a page that is where it says is found there by the table, too.
        Self::Fetching(Fetch::new(shared, page.into()))
    }

    #[inline(always)]
    fn wait(self) -> Result<G> {
        match self {
            Self::Ready(guard) => Ok(guard),
            access => access.wait_for_it(),
        }
    }

    #[cold]
    fn wait_for_it(mut self) -> Result<G> {
        if let Self::Done = self { Err(Error::ShutDown) } else { self.run_to_end() }
    }

    /// Returns the guard if there is no need to wait for it, or why it can never be had.
    #[inline]
    fn now(self) -> Result<Option<G>> {
        match self {
            Self::Ready(guard) => Ok(Some(guard)),
            // By value: else a hit would be copied, with all the room that a miss takes, when the others are dropped in place.
            access => access.look_closer(),
        }
    }

    /// Latches a page that is resident, but was not latched in one step: it was read ahead, for example, and this is its first use.
    #[cold]
    fn look_closer(self) -> Result<Option<G>> {
        let Self::Fetching(fetch) = self else { return Ok(None) };
        let Some(page) = fetch.now() else { return Ok(None) };
        G::check(&page)?;
        Ok(page.try_latched(G::LATCH)?.map(G::of_latched))
    }

    /// Polls as a task. A poll that gives way to other tasks does not hold the latch: the task may not be polled again for long.
    #[inline(always)] // A resident page is returned at once, and is large.
    fn poll(&mut self, context: &Context<'_>) -> Poll<Result<G>> {
        let polled = poll_budget::poll(context, |waker| self.go_on(Drive::Task, waker));
        if polled.is_pending() {
            self.let_go_of_latch();
        }
        polled
    }

    #[cold]
    fn let_go_of_latch(&mut self) {
        if let Self::Ready(_) = self
            && !seeded!("latch_kept_while_others_have_their_turn")
            && let Self::Ready(guard) = replace(self, Self::Done)
        {
            *self = Self::Latching(Latching::new(guard.let_go(), G::LATCH));
        }
    }

    fn with_frame_wait(self, wait: Duration) -> Self {
        match self {
            Self::Fetching(fetch) => Self::Fetching(fetch.frame_wait(wait)),
            access => access,
        }
    }

    #[inline(always)] // A resident page is returned at once, and is large.
    fn go_on(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<G>> {
        loop {
            let next = match self {
                Self::Fetching(fetch) => ready!(fetch.step(drive, waker)).and_then(|page| {
                    G::check(&page)?;
                    Ok(Self::Latching(Latching::new(page, G::LATCH)))
                }),
                Self::Latching(latching) => {
                    ready!(latching.step(drive, waker)).map(|pin| Self::Ready(G::of_latched(pin)))
                }
                Self::Ready(_) | Self::Done => break,
            };
            match next {
                Ok(next) => *self = next,
                Err(error) => {
                    *self = Self::Done;
                    return Poll::Ready(Err(error));
                }
            }
        }
        match replace(self, Self::Done) {
            Self::Ready(guard) => Poll::Ready(Ok(guard)),
            _ => panic!("an access was polled after it had given its page"),
        }
    }
}

impl<G: Guard> PollStep for Access<G> {
    type Output = Result<G>;

    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<G>> {
        self.go_on(drive, waker)
    }

    fn is_sure_of_its_wake_up(&self) -> bool {
        match self {
            Self::Fetching(fetch) => fetch.is_sure_of_its_wake_up(),
            Self::Latching(latching) => latching.is_sure_of_its_wake_up(),
            Self::Ready(_) | Self::Done => true,
        }
    }
}

impl<G: fmt::Debug> fmt::Debug for Access<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(guard) => write!(f, "ready: {guard:?}"),
            Self::Fetching(fetch) => write!(f, "{fetch:?}"),
            Self::Latching(_) => f.write_str("waits for the latch"),
            Self::Done => f.write_str("collected"),
        }
    }
}

/// A read of a page that was asked for: wait for it with [`wait`](Self::wait), or `.await` it.
///
/// If the page is in the pool and no thread changes it, pin and latch are taken when this value is made, in one step. Else nothing
/// begins before a thread or task waits for it. Dropping it abandons the wait, never the I/O. It gives way to other tasks [as a
/// `Fetch` does](crate::pending::Fetch#turns-of-tasks).
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
/// assert!(pool.read(page).now().is_none()); // not in the pool yet
/// pool.read(page).frame_wait(Duration::from_millis(100)).wait()?;
/// assert!(pool.read(page).now().is_some());
///
/// // Another guard is in the way:
/// let writer = pool.write(page).wait()?;
/// let read = pool.read(page).wait_timeout(Duration::from_millis(1)).unwrap_err();
/// drop(writer);
/// assert_eq!(read.wait()?[0], 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a page is not read before it is waited for or awaited"]
#[derive(Debug)]
pub struct ReadPage(Access<OwnedPageRead>);

impl ReadPage {
    #[inline(always)]
    pub(crate) fn new(shared: &Arc<Shared>, at: PageAt) -> Self {
        Self(Access::new(shared, at))
    }

    /// Sets the most to wait for a frame while all are pinned, instead of the pool's [limit](crate::Builder::frame_wait).
    /// Example: [`ReadPage`].
    pub fn frame_wait(self, wait: Duration) -> Self {
        Self(self.0.with_frame_wait(wait))
    }

    /// Waits for the page, and until no thread changes it. The calling thread reads the page itself if no other read of it is under
    /// way. Example: [`ReadPage`].
    ///
    /// # Errors
    /// Those of [`Fetch::wait`].
    #[inline]
    pub fn wait(self) -> Result<OwnedPageRead> {
        self.0.wait()
    }

    /// Waits for the page, and until no thread changes it, for at most `at_most`; see [`Fetch::wait_timeout`] for what may take
    /// longer. Example: [`ReadPage`].
    ///
    /// # Errors
    /// This value, if the time was too short: nothing of what was begun is lost.
    #[allow(clippy::result_large_err)] // The value that comes back holds its state inline, to save an allocation.
    pub fn wait_timeout(mut self, at_most: Duration) -> Result<Result<OwnedPageRead>, Self> {
        self.0.run_until(time::deadline_after(at_most)).ok_or(self)
    }

    /// Returns the page if it is in the pool, verified by the codec if there is one, and no thread changes it or waits to. Never
    /// reads, never waits. Example: [`ReadPage`].
    #[inline(always)] // So that a resident page is returned in registers.
    #[must_use]
    pub fn now(self) -> Option<OwnedPageRead> {
        self.0.now().ok().flatten()
    }
}

impl Future for ReadPage {
    type Output = Result<OwnedPageRead>;

    #[inline]
    fn poll(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}

/// A change of a page that was asked for: wait for it with [`wait`](Self::wait), or `.await` it. It begins as a [`ReadPage`] does.
///
/// The page becomes dirty when the guard's bytes are first borrowed mutably, or a record is stated for it.
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
/// pool.write(page).frame_wait(Duration::from_millis(100)).wait()?[0] = 1;
///
/// let reader = pool.read(page).wait()?;
/// assert!(pool.write(page).now()?.is_none());
/// let write = pool.write(page).wait_timeout(Duration::from_millis(1)).unwrap_err();
/// drop(reader);
/// assert_eq!(write.wait()?[0], 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a page is not latched before it is waited for or awaited"]
#[derive(Debug)]
pub struct WritePage(Access<OwnedPageWrite>);

impl WritePage {
    #[inline]
    pub(crate) fn new(shared: &Arc<Shared>, at: PageAt) -> Self {
        Self(Access::new(shared, at))
    }

    /// Sets the most to wait for a frame while all are pinned, instead of the pool's [limit](crate::Builder::frame_wait).
    /// Example: [`WritePage`].
    pub fn frame_wait(self, wait: Duration) -> Self {
        Self(self.0.with_frame_wait(wait))
    }

    /// Waits for the page, and until no other thread reads or changes it. The calling thread reads the page itself if no other read
    /// of it is under way. Example: [`WritePage`].
    ///
    /// # Errors
    /// Those of [`Fetch::wait`]; [`Error::ReadOnly`] for a page of a file that was opened for reading only; [errors of
    /// changes](crate::PinnedPage#errors-of-changes).
    #[inline]
    pub fn wait(self) -> Result<OwnedPageWrite> {
        self.0.wait()
    }

    /// Waits for the page, and until no other thread reads or changes it, for at most `at_most`; see [`Fetch::wait_timeout`] for
    /// what may take longer. Example: [`WritePage`].
    ///
    /// # Errors
    /// This value, if the time was too short: nothing of what was begun is lost.
    #[allow(clippy::result_large_err)] // The value that comes back holds its state inline, to save an allocation.
    pub fn wait_timeout(mut self, at_most: Duration) -> Result<Result<OwnedPageWrite>, Self> {
        self.0.run_until(time::deadline_after(at_most)).ok_or(self)
    }

    /// Returns the page if it is in the pool, verified by the codec if there is one, and no other thread has it latched. Never
    /// reads, never waits. Example: [`WritePage`].
    ///
    /// # Errors
    /// [`Error::ReadOnly`] for a page of a file that was opened for reading only.
    pub fn now(self) -> Result<Option<OwnedPageWrite>> {
        self.0.now()
    }
}

impl Future for WritePage {
    type Output = Result<OwnedPageWrite>;

    #[inline]
    fn poll(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}
