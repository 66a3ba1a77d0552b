//! The line of threads and tasks that found no frame and wait for one, in the order in which they came.
//!
//! A thread that frees a frame looks at one count, in a cache line that hardly ever changes, and wakes the first in line, which keeps its
//! place if it finds no frame then. That look may miss a waiter that comes just then. Waiters therefore also try again every
//! [`RETRY`](crate::sync::wait::RETRY): threads by themselves, tasks by the pool's [ticker](crate::buffer::frame::ticker).

use std::{collections::BTreeMap, mem, task::Waker};

use crate::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
    waking::{StoredWaker, Wakers},
};

#[derive(Default)]
pub(crate) struct FrameWaiters {
    waiting: AtomicUsize,
    /// How often a frame was let go of while there was a line.
    reliefs: AtomicUsize,
    line: Mutex<WakerQueue>,
}

/// Wakers by the number of their place, in order of arrival.
#[derive(Default)]
struct WakerQueue {
    places: BTreeMap<u64, StoredWaker>,
    next: u64,
}

/// A place in the line, until it is [left](FrameWaiters::leave).
#[derive(Debug)]
pub(crate) struct WakerPlace(u64);

impl FrameWaiters {
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Returns whether any thread or task waits for a frame, ordered against the line's own changes.
    pub(crate) fn is_felt_for_certain(&self) -> bool {
        !self.line.lock().places.is_empty()
    }

    pub(crate) fn reliefs(&self) -> usize {
        self.reliefs.load(Ordering::Relaxed)
    }

    /// Notes that a frame was let go of, which another sweep may find.
    pub(crate) fn note_relief(&self) {
        self.reliefs.fetch_add(1, Ordering::Relaxed);
    }

    /// Gets in line for one wake-up, at the place that it has had so far, or at the end.
    pub(crate) fn enlist(&self, place: &mut Option<WakerPlace>, waker: &Waker) {
        let waker = StoredWaker::of(waker);
        let mut line = self.line.lock();
        let at_the_end = || {
            line.next += 1;
            WakerPlace(line.next)
        };
        let place = place.get_or_insert_with(at_the_end).0;
        let former = line.places.insert(place, waker);
        self.note(&line);
        if !seeded!("waker_dropped_under_a_lock") {
            drop(line);
        }
        drop(former);
    }

    /// Leaves the line. Returns true if its owner was woken, and has not been in line again since.
    pub(crate) fn leave(&self, place: &WakerPlace) -> bool {
        let mut line = self.line.lock();
        // Dropped after the lock.
        let left = line.places.remove(&place.0);
        self.note(&line);
        drop(line);
        left.is_none()
    }

    #[cold]
    pub(crate) fn wake_one(&self) {
        self.wake_one_with(&mut Wakers::new());
    }

    pub(crate) fn wake_one_with(&self, wakers: &mut Wakers) {
        self.note_relief();
        let mut line = self.line.lock();
        wakers.extend(line.places.pop_first().map(|(_, waker)| waker));
        self.note(&line);
    }

    /// Wakes the whole line. Returns false where there was none.
    pub(crate) fn wake_all(&self) -> bool {
        let mut line = self.line.lock();
        let places = mem::take(&mut line.places);
        self.note(&line);
        drop(line);
        let any = !places.is_empty();
        places.into_values().for_each(StoredWaker::wake);
        any
    }

    /// Holds the line's lock, as another thread may at any moment.
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
    fn a_freed_frame_wakes_the_first_in_line_and_only_that_one() {
        let line = FrameWaiters::default();
        let ((first, first_waker), (second, second_waker)) = (waker(), waker());
        let woken = || (first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst));
        let (mut first_place, mut second_place) = (None, None);
        assert!(!line.any());
        line.enlist(&mut first_place, &first_waker);
        line.enlist(&mut first_place, &first_waker);
        line.enlist(&mut second_place, &second_waker);
        line.wake_one();
        assert_eq!(woken(), (1, 0));
        line.wake_one();
        assert_eq!(woken(), (1, 1), "the first was called already");
        assert!(!line.any());
        line.enlist(&mut second_place, &second_waker);
        line.enlist(&mut first_place, &first_waker);
        line.wake_one();
        assert_eq!(woken(), (2, 1), "it was woken, found no frame, and is the first as before");
        assert!(line.any());
    }

    #[test]
    fn a_waiter_that_has_left_is_not_woken_in_the_stead_of_another() {
        let line = FrameWaiters::default();
        let ((gone, gone_waker), (there, there_waker)) = (waker(), waker());
        let (mut gone_place, mut there_place) = (None, None);
        line.enlist(&mut gone_place, &gone_waker);
        line.enlist(&mut there_place, &there_waker);
        assert!(!line.leave(&gone_place.unwrap()));
        line.wake_one();
        assert_eq!((gone.0.load(Ordering::SeqCst), there.0.load(Ordering::SeqCst)), (0, 1));
        assert!(line.leave(&there_place.unwrap()), "it has the wake-up, to use or to pass on");
    }
}
