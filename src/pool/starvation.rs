//! Fetches that found no frame and wait for one.
//!
//! Whoever frees a frame looks at one flag, and only if it is up, wakes the first in line to try again. That look is not
//! ordered against the line's own, so a wake-up can be missed; waiters therefore also try again by themselves every
//! [`RETRY`]. This keeps the cost for those who unpin at one read of a line that hardly ever changes.

use std::{collections::VecDeque, task::Waker};

use crate::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// How long a waiter relies on being woken before it looks for itself.
pub(crate) const RETRY: Duration = Duration::from_millis(2);

pub(crate) struct Starvation {
    waiting: AtomicUsize,
    line: Mutex<VecDeque<Waker>>,
}

impl Starvation {
    pub(super) fn new() -> Self {
        Self { waiting: AtomicUsize::new(0), line: Mutex::new(VecDeque::new()) }
    }

    /// Whether anybody waits for a frame.
    #[inline]
    pub(crate) fn is_felt(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Gets in line for one wake-up. Who need not wait any more simply lets it come.
    pub(crate) fn enlist(&self, waker: &Waker) {
        let mut line = self.line.lock();
        if !line.iter().any(|other| other.will_wake(waker)) {
            line.push_back(waker.clone());
            self.waiting.store(line.len(), Ordering::Relaxed);
        }
    }

    /// A frame may be had now: wakes the first in line.
    #[cold]
    pub(crate) fn relieve(&self) {
        let first = {
            let mut line = self.line.lock();
            let first = line.pop_front();
            self.waiting.store(line.len(), Ordering::Relaxed);
            first
        };
        first.into_iter().for_each(Waker::wake);
    }
}
