//! Fetching a page. A hit is ready at once; a [`miss`](super::miss) starts when a thread or task waits for it.

use std::{
    fmt,
    pin::Pin as StdPin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    buffer::page::{PageAt, PinnedPage},
    error::{Error, Result},
    id::PageId,
    observe::thread_index,
    read::miss::Miss,
    runtime::shared::Shared,
    sync::{
        poll_budget,
        time::{self, Duration},
        wait::{Drive, PollStep},
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
/// before it has begun anything. Nothing is lost by that: it continues when it is polled again or waited for, and if it is dropped
/// it has done nothing. So a single poll that is pending does not tell that a page is not resident, as [`now`](Self::now) does, nor
/// that a read has begun, as [`prefetch`](crate::BufferPool::prefetch) does. Threads that [wait](Self::wait) are not affected.
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
            miss.set_patience(wait);
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

    /// Continues as a task.
    #[inline]
    pub(super) fn step(&mut self, waker: &Waker) -> Poll<Result<PinnedPage>> {
        let result = match std::mem::replace(&mut self.stage, FetchStage::Done) {
            FetchStage::Ready(page) => Ok(page),
            FetchStage::Miss(mut miss) => match miss.step(Drive::Task, waker) {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    self.stage = FetchStage::Miss(miss);
                    return Poll::Pending;
                }
            },
            FetchStage::Done => panic!("a fetch was polled after it had given its page"),
        };
        Poll::Ready(result)
    }

    /// Returns whether the page can be had without waiting. Example: [`Fetch`].
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.stage {
            FetchStage::Ready(_) | FetchStage::Done => true,
            FetchStage::Miss(miss) => miss.is_resident(),
        }
    }
}

impl Future for Fetch {
    type Output = Result<PinnedPage>;

    #[inline]
    fn poll(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        poll_budget::poll(cx, |waker| self.step(waker))
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            FetchStage::Ready(page) => write!(f, "Fetch(ready: {page:?})"),
            FetchStage::Miss(miss) => write!(f, "Fetch({})", miss.page()),
            FetchStage::Done => f.write_str("Fetch(collected)"),
        }
    }
}
