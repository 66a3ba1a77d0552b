//! How many of a batch's requests are still out, and the first error.

use std::task::Waker;

use crate::{
    error::{Error, Result},
    sync::{
        Arc, Condvar, Mutex,
        time::{self, Instant},
    },
};

/// The state of a batch of writes, shared with the thread that waits for all of them.
#[derive(Default)]
pub(crate) struct BatchStatus {
    state: Mutex<StatusState>,
    all_in: Condvar,
    /// Woken whenever the number of requests that are out has come down to a multiple of this number.
    waker: Option<(Waker, usize)>,
}

#[derive(Default)]
struct StatusState {
    outstanding: usize,
    pages: u64,
    first_error: Option<Error>,
}

/// The count of one request that is out.
pub(crate) struct Outstanding(Arc<BatchStatus>);

impl BatchStatus {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Makes the status of a batch that wakes when nothing is out any more, and each time that `every` more requests are over (or
    /// more often, as long as requests are begun).
    pub(crate) fn that_wakes(waker: Waker, every: usize) -> Arc<Self> {
        Arc::new(Self { waker: Some((waker, every)), ..Self::default() })
    }

    pub(crate) fn begin(self: &Arc<Self>) -> Outstanding {
        self.state.lock().outstanding += 1;
        Outstanding(Arc::clone(self))
    }

    /// Returns the number of pages that were written so far.
    pub(crate) fn pages(&self) -> u64 {
        self.state.lock().pages
    }

    /// Returns the number of pages that were written, and the first error; `None` while anything is out.
    pub(crate) fn outcome(&self) -> Option<(u64, Option<Error>)> {
        let state = self.state.lock();
        (state.outstanding == 0).then(|| (state.pages, state.first_error.clone()))
    }

    /// Returns whether nothing was begun so far.
    pub(crate) fn is_untouched(&self) -> bool {
        matches!(self.outcome(), Some((0, None)))
    }

    /// Waits until all that was begun has ended. Returns the number of pages that were written, or the first error.
    pub(crate) fn wait(&self) -> Result<u64> {
        let mut state = self.state.lock();
        while state.outstanding > 0 {
            state = self.all_in.wait(state);
        }
        state.first_error.clone().map_or(Ok(state.pages), Err)
    }

    /// Waits until all that was begun has ended, or until `deadline`.
    pub(crate) fn wait_until(&self, deadline: Instant) {
        let mut state = self.state.lock();
        while state.outstanding > 0 && time::now() < deadline {
            state = self.all_in.wait_until(state, deadline);
        }
    }
}

impl Outstanding {
    /// Ends the request, with the number of its pages or an error.
    pub(crate) fn end(self, outcome: Result<u64>) {
        let mut state = self.0.state.lock();
        match outcome {
            Ok(pages) => state.pages += pages,
            Err(error) => drop(state.first_error.get_or_insert(error)),
        }
        assert!(state.outstanding > 0, "a request ended that was not begun");
        state.outstanding -= 1;
        let left = state.outstanding;
        drop(state);
        if left == 0 {
            self.0.all_in.notify_all();
        }
        if let Some((waker, every)) = &self.0.waker
            && left.is_multiple_of(*every)
        {
            waker.wake_by_ref();
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct CountedCalls(AtomicUsize);

    impl Wake for CountedCalls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_batch_wakes_each_time_that_so_many_requests_are_over_and_at_its_end() {
        let calls = Arc::new(CountedCalls::default());
        let batch = BatchStatus::that_wakes(Waker::from(Arc::clone(&calls)), 8);
        let out: Vec<_> = (0..20).map(|_| batch.begin()).collect();
        let after_each = out.into_iter().map(|request| {
            request.end(Ok(1));
            calls.0.load(Ordering::SeqCst)
        });
        let expected = (0..20).map(|over| if over < 3 { 0 } else { (over + 5) / 8 });
        assert!(after_each.eq(expected));
        assert_eq!(batch.wait().unwrap(), 20);
    }
}
