//! Running what must be waited for: as a thread that has nothing else to do, or as a task that must not block.
//!
//! Everything in `read` that can wait is a [`Job`]. A task's executor runs its steps; a thread runs them here.

use std::task::{Poll, Waker};

use crate::{
    pool::starvation::RETRY,
    sync::{
        thread,
        time::{self, Instant},
    },
    wait,
};

/// Who drives a job.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Drive {
    /// A thread that has nothing else to do: it may transfer a page itself.
    Thread,
    /// A task, or a thread that must be back in time.
    Task,
}

/// Work towards a result that may have to wait on its way.
pub(super) trait Job {
    type Output;

    /// Goes on until there is the result, or something to wait for that wakes `waker`.
    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Self::Output>;

    /// Whether the wake-up comes for certain, as at the end of a read. A frame that comes free may be missed, so who waits
    /// for one must also look for himself every [`RETRY`].
    fn is_sure_of_its_wake_up(&self) -> bool;
}

/// Runs the job in the calling thread.
pub(super) fn to_end<J: Job>(job: &mut J) -> J::Output {
    wait::with_thread_waker(|waker| {
        loop {
            if let Poll::Ready(output) = job.step(Drive::Thread, waker) {
                return output;
            }
            if job.is_sure_of_its_wake_up() { thread::park() } else { thread::park_timeout(RETRY) }
        }
    })
}

/// Runs the job in the calling thread, but not beyond `deadline`: so it cannot lend itself to a transfer.
pub(super) fn until<J: Job>(deadline: Instant, job: &mut J) -> Option<J::Output> {
    wait::with_thread_waker(|waker| {
        loop {
            if let Poll::Ready(output) = job.step(Drive::Task, waker) {
                return Some(output);
            }
            let left = deadline.saturating_duration_since(time::now());
            if left.is_zero() {
                return None;
            }
            thread::park_timeout(if job.is_sure_of_its_wake_up() { left } else { left.min(RETRY) });
        }
    })
}
