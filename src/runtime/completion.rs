//! The result of an operation that may take time, with both ways to wait for it.
//!
//! A [`Completion`] is lazy, as futures are: nothing happens before it is waited for. A thread that [waits](Completion::wait) does
//! the work itself; a task that awaits hands it to a job thread. Dropping a completion before that does nothing. Dropping it after
//! lets the work continue and abandons only the result.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    buffer::memory::process::Process,
    error::{Callback, Error, Result},
    runtime::jobs::{JobPool, WaitsFor},
    sync::{
        callback, poll_budget,
        promise::{LazyWork, Promise},
        time::{self, Duration},
        wait,
    },
};

/// An operation of the pool: wait for it with [`wait`](Self::wait), or `.await` it.
///
/// As a future it gives way to other tasks now and then, [as a `Fetch` does](crate::pending::Fetch#turns-of-tasks).
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, CheckpointOptions, OpenOptions, PageId, Result};
/// use std::time::Duration;
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
///
/// # pool.write(PageId::new(file, 0)).wait()?[0] = 1;
/// async fn checkpoint(pool: &BufferPool) -> Result<u64> {
///     Ok(pool.checkpoint(CheckpointOptions::new()).await?.pages_written)
/// }
/// assert_eq!(pollster::block_on(checkpoint(&pool))?, 1);
///
/// // In a thread, for a while; it goes on where that is too short.
/// let checkpoint = pool.checkpoint(CheckpointOptions::new());
/// assert!(!checkpoint.is_done()); // not even begun
/// match checkpoint.wait_timeout(Duration::from_secs(10)) {
///     Ok(report) => assert_eq!(report?.pages_written, 0),
///     Err(under_way) => drop(under_way.wait()?),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "an operation does nothing until it is waited for or awaited"]
pub struct Completion<T> {
    state: LazyWork<IdleOperation<T>, Result<T>>,
    /// The process in which it can be run, or waited for.
    process: Process,
}

struct IdleOperation<T> {
    work: Box<dyn FnOnce() -> Result<T> + Send>,
    jobs: Arc<JobPool>,
    wait: WaitsFor,
}

impl<T: Send + 'static> Completion<T> {
    /// Makes the completion of this work. `wait`: what the work may have to wait for.
    pub(crate) fn new(
        process: Process,
        jobs: Arc<JobPool>,
        wait: WaitsFor,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Self {
        Self { state: LazyWork::Idle(IdleOperation { work: Box::new(work), jobs, wait }), process }
    }

    /// Runs the operation in the calling thread, or waits if it already runs in another. Example: [`Completion`].
    ///
    /// # Errors
    /// Those of the operation.
    pub fn wait(self) -> Result<T> {
        self.process.check()?;
        match self.state {
            LazyWork::Idle(operation) => (operation.work)(),
            LazyWork::Running(promise) => wait::block_on(|waker| promise.poll(waker)),
            LazyWork::Collected => Err(Error::ShutDown),
        }
    }

    /// Waits for the operation, for at most `patience`. A job thread runs it, and continues if the time is too short. Then the
    /// completion is returned, to be waited for again.
    ///
    /// If no job thread can take it the calling thread does it, as in [`wait`](Self::wait), and returns when it is over, however
    /// long that takes. This happens if the pool has ended, if more than a thousand operations wait for a thread, and if the system
    /// gives none. Once the pool has ended no operation waits for a caller, so the time depends on the disk alone.
    ///
    /// Example: [`Completion`].
    ///
    /// # Errors
    /// The completion itself, if the time was too short.
    pub fn wait_timeout(mut self, patience: Duration) -> Result<Result<T>, Self> {
        let deadline = time::deadline_after(patience);
        wait::block_until(deadline, |waker| self.poll_with(waker)).ok_or(self)
    }

    /// Returns whether the result is there. False for an operation that was not started. Example: [`Completion`].
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.state {
            LazyWork::Collected => true,
            LazyWork::Idle(_) => false,
            LazyWork::Running(promise) => promise.is_kept(),
        }
    }

    fn poll_with(&mut self, waker: &Waker) -> Poll<Result<T>> {
        self.process.check()?;
        self.state.poll(waker, start)
    }
}

/// Hands the work to a job thread. If there is none, the caller's thread must do it.
fn start<T: Send + 'static>(operation: IdleOperation<T>, promise: &Arc<Promise<Result<T>>>) {
    let IdleOperation { work, jobs, wait } = operation;
    let promise = Arc::clone(promise);
    let job = move || {
        let panicked = |_| Err(Error::panicked(Callback::Unknown));
        promise.set(callback::contained(work).unwrap_or_else(panicked));
    };
    if let Err(job) = jobs.submit(wait, Box::new(job)) {
        job();
    }
}

impl<T: Send + 'static> Future for Completion<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        poll_budget::poll(cx, |waker| self.poll_with(waker))
    }
}

// Nothing in a completion is pinned in place.
impl<T> Unpin for Completion<T> {}

impl<T> fmt::Debug for Completion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Completion({})", self.state.stage())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::pool_end::{EndStage, PoolEnd};

    fn completion<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Completion<T> {
        Completion::new(
            Process::current().unwrap(),
            Arc::new(JobPool::new(Arc::default())),
            WaitsFor::Callers,
            work,
        )
    }

    #[test]
    fn a_thread_does_the_work_itself_and_a_task_does_not() {
        let me = std::thread::current().id();
        let runs_in = || completion(|| Ok(std::thread::current().id()));
        assert_eq!(runs_in().wait().unwrap(), me);
        assert_ne!(pollster::block_on(runs_in()).unwrap(), me);
    }

    #[test]
    fn a_wait_that_is_too_short_hands_the_operation_back() {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let slow = completion(move || Ok(wait.recv().is_ok()));
        assert!(!slow.is_done());
        let slow = slow.wait_timeout(Duration::from_millis(5)).unwrap_err();
        release.send(()).unwrap();
        assert!(slow.wait().unwrap());
    }

    #[test]
    fn without_job_threads_the_calling_thread_does_the_work_however_short_its_patience() {
        let end = Arc::new(PoolEnd::default());
        let jobs = Arc::new(JobPool::new(Arc::clone(&end)));
        end.reach(EndStage::Ending);
        let ran_in = Completion::new(Process::current().unwrap(), jobs, WaitsFor::Callers, || {
            Ok(std::thread::current().id())
        });
        let done = ran_in.wait_timeout(Duration::ZERO).expect("it is over");
        assert_eq!(done.unwrap(), std::thread::current().id());
    }

    #[test]
    fn a_panic_in_the_work_reaches_the_waiter_as_an_error() {
        let failing = completion::<()>(|| std::panic::resume_unwind(Box::new("work")));
        assert!(matches!(pollster::block_on(failing), Err(Error::Panicked { .. })));
    }
}
