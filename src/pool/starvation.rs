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
    /// How often a frame was let go of while there was a line.
    reliefs: AtomicUsize,
    line: Mutex<Line>,
    ticking: AtomicBool,
}

#[derive(Default)]
struct Line {
    places: VecDeque<(u64, Waker)>,
    next: u64,
}

/// A place in the line; used up by a wake-up.
#[derive(Debug)]
pub(crate) struct Place(u64);

impl Starvation {
    pub(super) fn new() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            reliefs: AtomicUsize::new(0),
            line: Mutex::new(Line::default()),
            ticking: AtomicBool::new(false),
        }
    }

    /// Whether anybody waits for a frame.
    #[inline]
    pub(crate) fn is_felt(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Changes when a frame is let go of while there is a line.
    pub(crate) fn reliefs(&self) -> usize {
        self.reliefs.load(Ordering::Relaxed)
    }

    /// Keeps the place, or gets a new one at the end where it is used up, for one wake-up.
    pub(crate) fn enlist(&self, place: &mut Option<Place>, waker: &Waker) {
        let mut line = self.line.lock();
        let kept = place.as_ref().and_then(|place| line.position(place));
        if let Some(index) = kept {
            line.places[index].1.clone_from(waker);
            return;
        }
        let number = line.next;
        line.next += 1;
        line.places.push_back((number, waker.clone()));
        *place = Some(Place(number));
        self.waiting.store(line.places.len(), Ordering::Relaxed);
    }

    /// Leaves the line. True where the place was used up: a wake-up was given to who leaves.
    pub(crate) fn leave(&self, place: &Place) -> bool {
        let mut line = self.line.lock();
        let index = line.position(place);
        index.map(|index| line.places.remove(index));
        self.waiting.store(line.places.len(), Ordering::Relaxed);
        index.is_none()
    }

    /// A frame may be had now: wakes the first in line.
    #[cold]
    pub(crate) fn relieve(&self) {
        self.reliefs.fetch_add(1, Ordering::Relaxed);
        let first = {
            let mut line = self.line.lock();
            let first = line.places.pop_front();
            self.waiting.store(line.places.len(), Ordering::Relaxed);
            first
        };
        first.into_iter().for_each(|(_, waker)| waker.wake());
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
                if self.line.lock().places.is_empty() || self.ticking.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
            line.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }

    fn take_line(&self) -> VecDeque<(u64, Waker)> {
        let mut line = self.line.lock();
        self.waiting.store(0, Ordering::Relaxed);
        std::mem::take(&mut line.places)
    }
}

impl Line {
    fn position(&self, place: &Place) -> Option<usize> {
        self.places.iter().position(|(number, _)| *number == place.0)
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
        let woken = || (first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst));
        let (mut first_place, mut second_place) = (None, None);
        assert!(!starvation.is_felt());
        starvation.enlist(&mut first_place, &first_waker);
        starvation.enlist(&mut first_place, &first_waker);
        starvation.enlist(&mut second_place, &second_waker);
        starvation.relieve();
        assert_eq!(woken(), (1, 0));
        starvation.enlist(&mut first_place, &first_waker);
        starvation.relieve();
        assert_eq!(woken(), (1, 1), "who was woken goes to the end");
        assert!(starvation.is_felt());
    }

    #[test]
    fn who_leaves_is_not_woken_in_anothers_stead() {
        let starvation = Starvation::new();
        let ((gone, gone_waker), (there, there_waker)) = (waker(), waker());
        let (mut gone_place, mut there_place) = (None, None);
        starvation.enlist(&mut gone_place, &gone_waker);
        starvation.enlist(&mut there_place, &there_waker);
        assert!(!starvation.leave(&gone_place.unwrap()));
        starvation.relieve();
        assert_eq!((gone.0.load(Ordering::SeqCst), there.0.load(Ordering::SeqCst)), (0, 1));
        assert!(starvation.leave(&there_place.unwrap()), "the wake-up is his, to use or to pass on");
    }

    #[test]
    fn the_ticker_wakes_who_was_overlooked_and_then_rests() {
        let starvation = Arc::new(Starvation::new());
        let (woken, waker) = waker();
        starvation.enlist(&mut None, &waker);
        starvation.tick();
        let asleep = || woken.0.load(Ordering::SeqCst) == 0 || starvation.ticking.load(Ordering::SeqCst);
        let patience = std::time::Instant::now() + Duration::from_secs(10);
        while asleep() && std::time::Instant::now() < patience {
            thread::yield_now();
        }
        assert!(!asleep());
    }
}
