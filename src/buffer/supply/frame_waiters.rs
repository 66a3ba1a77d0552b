//! Fetches that found no frame and wait for one.
//!
//! Whoever frees a frame looks at one flag, and only if it is up, wakes the first in line to try again. That look is not
//! ordered against the line's own, so a wake-up can be missed; waiters therefore also try again every [`RETRY`]: threads by
//! themselves, tasks by the pool's [ticker](crate::buffer::ticker) while any of them waits. This keeps the cost for those who unpin at
//! one read of a cache line that hardly ever changes. Where no thread can be had for that, the task is woken at once, and so tries
//! again whenever its runtime has time for it, until it has a frame or its time is over.

use std::{collections::BTreeMap, mem, task::Waker};

use crate::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
    waking::{StoredWaker, Wakers},
};

pub(crate) use crate::sync::wait::RETRY;

pub(crate) struct FrameWaiters {
    waiting: AtomicUsize,
    /// How often a frame was let go of while there was a line.
    reliefs: AtomicUsize,
    line: Mutex<WakerQueue>,
}

/// By the number of their place, in order of arrival.
#[derive(Default)]
struct WakerQueue {
    places: BTreeMap<u64, StoredWaker>,
    next: u64,
}

/// A place in the line; used up by a wake-up.
#[derive(Debug)]
pub(crate) struct WakerPlace(u64);

impl FrameWaiters {
    pub(crate) fn new() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            reliefs: AtomicUsize::new(0),
            line: Mutex::new(WakerQueue::default()),
        }
    }

    /// Whether anybody waits for a frame.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Changes when a frame is let go of while there is a line.
    pub(crate) fn reliefs(&self) -> usize {
        self.reliefs.load(Ordering::Relaxed)
    }

    /// The same, ordered against the line's own changes.
    pub(crate) fn is_felt_for_certain(&self) -> bool {
        !self.line.lock().places.is_empty()
    }

    /// Keeps the place, or gets a new one at the end where it is used up, for one wake-up.
    pub(crate) fn enlist(&self, place: &mut Option<WakerPlace>, waker: &Waker) {
        // Dropped after the lock, be it this one or the former.
        let mut waker = StoredWaker::of(waker);
        let mut line = self.line.lock();
        if let Some(kept) = place.as_ref().and_then(|place| line.places.get_mut(&place.0)) {
            mem::swap(kept, &mut waker);
            if seeded!("waker_dropped_under_a_lock") {
                drop(waker);
            }
            return;
        }
        let number = line.next;
        line.next += 1;
        line.places.insert(number, waker);
        *place = Some(WakerPlace(number));
        self.note(&line);
    }

    /// Leaves the line. True where the place was used up: its owner was woken.
    pub(crate) fn leave(&self, place: &WakerPlace) -> bool {
        // Dropped after the lock.
        let left;
        {
            let mut line = self.line.lock();
            left = line.places.remove(&place.0);
            self.note(&line);
        }
        left.is_none()
    }

    /// A frame may be had now: wakes the first in line.
    #[cold]
    pub(crate) fn wake_one(&self) {
        self.wake_one_with(&mut Wakers::new());
    }

    /// The same with others that are to be woken.
    pub(crate) fn wake_one_with(&self, wakers: &mut Wakers) {
        self.reliefs.fetch_add(1, Ordering::Relaxed);
        let mut line = self.line.lock();
        wakers.extend(line.places.pop_first().map(|(_, waker)| waker));
        self.note(&line);
    }

    /// Wakes the whole line. False where there was none.
    pub(crate) fn wake_all(&self) -> bool {
        let line = {
            let mut line = self.line.lock();
            let places = mem::take(&mut line.places);
            self.note(&line);
            places
        };
        let any = !line.is_empty();
        line.into_values().for_each(StoredWaker::wake);
        any
    }

    /// As another thread has the line at some moment.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> impl Sized {
        self.line.lock()
    }

    fn note(&self, line: &WakerQueue) {
        self.waiting.store(line.places.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;
    use crate::sync::Arc;

    struct FlagWaker(AtomicUsize);

    impl Wake for FlagWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn waker() -> (Arc<FlagWaker>, Waker) {
        let woken = Arc::new(FlagWaker(AtomicUsize::new(0)));
        (woken.clone(), Waker::from(woken))
    }

    #[test]
    fn a_freed_frame_wakes_the_first_in_line_and_only_him() {
        let starvation = FrameWaiters::new();
        let ((first, first_waker), (second, second_waker)) = (waker(), waker());
        let woken = || (first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst));
        let (mut first_place, mut second_place) = (None, None);
        assert!(!starvation.any());
        starvation.enlist(&mut first_place, &first_waker);
        starvation.enlist(&mut first_place, &first_waker);
        starvation.enlist(&mut second_place, &second_waker);
        starvation.wake_one();
        assert_eq!(woken(), (1, 0));
        starvation.enlist(&mut first_place, &first_waker);
        starvation.wake_one();
        assert_eq!(woken(), (1, 1), "who was woken goes to the end");
        assert!(starvation.any());
    }

    #[test]
    fn who_leaves_is_not_woken_in_anothers_stead() {
        let starvation = FrameWaiters::new();
        let ((gone, gone_waker), (there, there_waker)) = (waker(), waker());
        let (mut gone_place, mut there_place) = (None, None);
        starvation.enlist(&mut gone_place, &gone_waker);
        starvation.enlist(&mut there_place, &there_waker);
        assert!(!starvation.leave(&gone_place.unwrap()));
        starvation.wake_one();
        assert_eq!((gone.0.load(Ordering::SeqCst), there.0.load(Ordering::SeqCst)), (0, 1));
        assert!(starvation.leave(&there_place.unwrap()), "the wake-up is his, to use or to pass on");
    }
}
