//! A small number for each live thread, for data that is kept by thread.

use std::cell::Cell;

use crate::sync::uncontrolled::{AtomicU64, AtomicUsize, Ordering};

/// Returns the number of the calling thread: the smallest that no other live thread has, below [`THREADS`]. The thread keeps it for
/// as long as it lives. Returns a number that is no index of anything while the thread is being torn down, and if [`THREADS`] other
/// live threads have one.
#[inline]
pub(crate) fn current() -> usize {
    let index = CURRENT.get();
    if index < NONE { index } else { claim() }
}

/// In place of a number: the thread has none, yet or for now, or does not have one any more.
const NONE: usize = usize::MAX - 1;
const NO_LONGER: usize = usize::MAX;

thread_local! {
    /// Without a destructor, so a look at it is only a load.
    static CURRENT: Cell<usize> = const { Cell::new(NONE) };
    static CLAIMED: ClaimedIndex = const { ClaimedIndex };
}

/// Gives the number back when the thread ends.
struct ClaimedIndex;

/// The number of live threads that have a number at once.
pub(crate) const THREADS: usize = 4 * WORD;

/// The numbers that live threads have.
static TAKEN: Numbers<4> = Numbers([const { AtomicU64::new(0) }; 4]);

/// One more than the highest number that a thread has had so far.
static EVER_USED: AtomicUsize = AtomicUsize::new(0);

/// Returns how many numbers, the first ones, threads have had so far. What a thread with a higher one does is ordered after this.
pub(crate) fn ever_used() -> usize {
    EVER_USED.load(Ordering::SeqCst)
}

#[cold]
fn claim() -> usize {
    if CURRENT.get() == NO_LONGER || CLAIMED.try_with(|_| ()).is_err() {
        return NO_LONGER;
    }
    let Some(index) = TAKEN.take() else { return NONE };
    EVER_USED.fetch_max(index + 1, Ordering::SeqCst);
    CURRENT.set(index);
    index
}

impl Drop for ClaimedIndex {
    fn drop(&mut self) {
        let index = CURRENT.replace(NO_LONGER);
        if index < NONE {
            TAKEN.give_back(index);
        }
    }
}

/// A bit for each number, set if it is taken. Without a lock: in a forked process a lock that another thread had at the fork is
/// never released, and the pools of that process need numbers, too.
struct Numbers<const WORDS: usize>([AtomicU64; WORDS]);

const WORD: usize = u64::BITS as usize;

impl<const WORDS: usize> Numbers<WORDS> {
    /// Takes the smallest number that is free.
    fn take(&self) -> Option<usize> {
        self.0.iter().enumerate().find_map(|(word, taken)| {
            let with_one_more = |bits: u64| (bits != u64::MAX).then(|| bits | (bits + 1));
            // Acquire: what the former owner did comes before.
            let before = taken.fetch_update(Ordering::Acquire, Ordering::Relaxed, with_one_more).ok()?;
            Some(word * WORD + before.trailing_ones() as usize)
        })
    }

    fn give_back(&self, number: usize) {
        self.0[number / WORD].fetch_and(!(1 << (number % WORD)), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, thread};

    use super::*;

    #[test]
    fn the_smallest_free_number_is_taken_until_there_is_none() {
        let numbers = Numbers([const { AtomicU64::new(0) }; 2]);
        assert!((0..128).all(|number| numbers.take() == Some(number)));
        assert_eq!(numbers.take(), None);
        [70, 5].into_iter().for_each(|number| numbers.give_back(number));
        assert_eq!([(); 3].map(|()| numbers.take()), [Some(5), Some(70), None]);
    }

    #[test]
    fn a_number_has_one_owner_at_a_time() {
        let numbers = Numbers([const { AtomicU64::new(0) }; 1]);
        let is_owned = [const { AtomicBool::new(false) }; WORD];
        let mark = |number: usize, owned| is_owned[number].swap(owned, Ordering::Relaxed);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let number = numbers.take().expect("fewer threads than numbers");
                        assert!(!mark(number, true), "another thread has number {number}");
                        mark(number, false);
                        numbers.give_back(number);
                    }
                });
            }
        });
    }

    #[test]
    fn a_thread_keeps_its_number() {
        let own = current();
        assert!(own < THREADS && current() == own);
    }
}
