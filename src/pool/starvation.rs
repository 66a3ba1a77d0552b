//! Fetches that found no frame and wait for one.
//!
//! Whoever frees a frame looks at one flag, and only if it is up, wakes the first in line to try again. That look is not
//! ordered against the line's own, so a wake-up can be missed; waiters therefore also try again every [`RETRY`]: threads by
//! themselves, tasks by a thread that ticks for them while any of them waits. This keeps the cost for those who unpin at
//! one read of a cache line that hardly ever changes.

use std::{collections::VecDeque, task::Waker};

use crate::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

/// How long a waiter relies on being woken before it looks for itself.
pub(crate) const RETRY: Duration = Duration::from_millis(2);

pub(crate) struct Starvation {
    waiting: AtomicUsize,
    line: Mutex<VecDeque<Waker>>,
    ticking: AtomicBool,
}

impl Starvation {
    pub(super) fn new() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            line: Mutex::new(VecDeque::new()),
            ticking: AtomicBool::new(false),
        }
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

    /// Has the whole line woken every [`RETRY`] for as long as there is one: what makes tasks see their deadlines.
    ///
    /// Where no thread can be had, tasks are still woken by those who free frames.
    pub(crate) fn tick(self: &Arc<Self>) {
        if self.ticking.swap(true, Ordering::AcqRel) {
            return;
        }
        let starvation = Arc::clone(self);
        let ticker = thread::spawn("ringpool-tick".to_owned(), move || starvation.run_ticker());
        if ticker.is_err() {
            self.ticking.store(false, Ordering::Release);
        }
    }

    fn run_ticker(&self) {
        loop {
            thread::park_timeout(RETRY);
            let line = self.take_line();
            if line.is_empty() {
                self.ticking.store(false, Ordering::Release);
                // Somebody may have got in line since, and found this ticker still at work. Going through the lock
                // settles it: either he is seen here, or he sees the store above.
                if self.line.lock().is_empty() || self.ticking.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
            line.into_iter().for_each(Waker::wake);
        }
    }

    fn take_line(&self) -> VecDeque<Waker> {
        let mut line = self.line.lock();
        self.waiting.store(0, Ordering::Relaxed);
        std::mem::take(&mut line)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn waker() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        (woken.clone(), Waker::from(woken))
    }

    #[test]
    fn a_freed_frame_wakes_the_first_in_line_and_only_him() {
        let starvation = Starvation::new();
        let ((first, first_waker), (second, second_waker)) = (waker(), waker());
        assert!(!starvation.is_felt());
        starvation.enlist(&first_waker);
        starvation.enlist(&first_waker);
        starvation.enlist(&second_waker);
        starvation.relieve();
        assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (1, 0));
        starvation.relieve();
        assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (1, 1));
        assert!(!starvation.is_felt());
    }

    #[test]
    fn the_ticker_wakes_who_was_overlooked_and_then_rests() {
        let starvation = Arc::new(Starvation::new());
        let (woken, waker) = waker();
        starvation.enlist(&waker);
        starvation.tick();
        let asleep = || woken.0.load(Ordering::SeqCst) == 0 || starvation.ticking.load(Ordering::SeqCst);
        let patience = std::time::Instant::now() + Duration::from_secs(10);
        while asleep() && std::time::Instant::now() < patience {
            thread::yield_now();
        }
        assert!(!asleep());
    }
}
