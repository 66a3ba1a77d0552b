//! The end of a pool: from when on nothing in it waits for a user.
//!
//! Who drops a pool, or shuts it down, waits for what goes on behind the scenes. What goes on there may want something of a user:
//! a latch, that a pin goes, that time passes. From the beginning of the end on it does without, because the one whom it waits
//! for may be the very thread that waits for it. What it could not have it reports as [`Error::ShutDown`](crate::Error::ShutDown)
//! or as it would after a long wait, and no change is lost by that. Disks are waited for as before.
//!
//! Invariant: whoever is in the list when the end begins is woken, and whoever comes later sees that it has begun.
//!
//! Lock order: the list's lock is a leaf; wakers are called without it.

use std::task::{Poll, Waker};

use crate::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    wait,
};

#[derive(Default)]
pub(crate) struct Ending {
    begun: AtomicBool,
    sleepers: Mutex<Sleepers>,
}

/// Those who wait for a user.
#[derive(Default)]
struct Sleepers {
    wakers: Vec<(u64, Waker)>,
    next_number: u64,
}

impl Ending {
    /// Idempotent.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
        let sleepers: Vec<_> = self.sleepers.lock().wakers.clone();
        sleepers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    /// Runs `step`, which waits for a user, until it is ready, or until the end begins: `None`.
    pub(crate) fn block_on<T>(&self, mut step: impl FnMut(&Waker) -> Poll<T>) -> Option<T> {
        let mut place = None;
        let outcome = wait::block_on(|waker| {
            if let Poll::Ready(value) = step(waker) {
                return Poll::Ready(Some(value));
            }
            place.get_or_insert_with(|| self.enlist(waker));
            if self.has_begun() { Poll::Ready(None) } else { Poll::Pending }
        });
        if let Some(place) = place {
            self.sleepers.lock().wakers.retain(|&(number, _)| number != place);
        }
        outcome
    }

    fn enlist(&self, waker: &Waker) -> u64 {
        let mut sleepers = self.sleepers.lock();
        let number = sleepers.next_number;
        sleepers.next_number += 1;
        sleepers.wakers.push((number, waker.clone()));
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_user_is_woken_by_the_end_and_nobody_waits_after_it() {
        let ending = Ending::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ending.block_on(|_| Poll::<()>::Pending));
            while ending.sleepers.lock().wakers.is_empty() {
                std::thread::yield_now();
            }
            assert!(!waiting.is_finished());
            ending.begin();
            assert_eq!(waiting.join().unwrap(), None);
        });
        assert_eq!(ending.block_on(|_| Poll::<()>::Pending), None);
        assert_eq!(ending.block_on(|_| Poll::Ready(7)), Some(7), "what is there is had even then");
        assert!(ending.sleepers.lock().wakers.is_empty());
    }
}
