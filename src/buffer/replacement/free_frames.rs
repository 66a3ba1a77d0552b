//! Where free frames are: how many there are in all, and which shards have some. So one look tells a miss that there are none,
//! and a few looks tell it where the next is.
//!
//! Written under the shard's lock, and read without it: what is read may be a moment old, and the shard knows for certain.

use crossbeam_utils::CachePadded;

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Shards of a word.
const SHARDS: usize = 64;

pub(super) struct Vacancies {
    /// Read by every miss, so not beside what every miss writes.
    frames: CachePadded<AtomicUsize>,
    /// A bit for each shard.
    shards: Box<[AtomicU64]>,
}

impl Vacancies {
    /// Makes the count of `shards` shards, none of which has a free frame.
    pub(super) fn new(shards: usize) -> Self {
        let word = |_| AtomicU64::new(0);
        Self {
            frames: CachePadded::new(AtomicUsize::new(0)),
            shards: (0..shards.div_ceil(SHARDS)).map(word).collect(),
        }
    }

    /// Returns how many free frames there are.
    pub(super) fn frames(&self) -> usize {
        self.frames.load(Ordering::Relaxed)
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.shards)
    }

    /// Notes that the shard had `before` free frames, and has `now`. The caller has the shard's lock.
    pub(super) fn note(&self, shard: usize, before: usize, now: usize) {
        if before == now {
            return;
        }
        self.frames.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        let (word, bit) = (&self.shards[shard / SHARDS], 1 << (shard % SHARDS));
        match (before, now) {
            (0, _) => drop(word.fetch_or(bit, Ordering::Relaxed)),
            (_, 0) => drop(word.fetch_and(!bit, Ordering::Relaxed)),
            _ => {}
        }
    }

    /// Returns the shards that have some: those from `first` on, and then the others.
    pub(super) fn shards_from(&self, first: usize) -> impl Iterator<Item = usize> {
        let words = self.shards.len();
        let from_first = !0 << (first % SHARDS);
        // The first word comes twice: for the bits from the middle on, and for those before.
        (0..=words).flat_map(move |step| {
            let wanted = match step {
                0 => from_first,
                _ if step == words => !from_first,
                _ => !0,
            };
            let at = (first / SHARDS + step) % words;
            bits(self.shards[at].load(Ordering::Relaxed) & wanted).map(move |bit| at * SHARDS + bit)
        })
    }
}

/// Returns the bits that are set in a word, from the lowest on.
fn bits(word: u64) -> impl Iterator<Item = usize> {
    let without_lowest = |&word: &u64| Some(word & word.wrapping_sub(1));
    let left = std::iter::successors(Some(word), without_lowest).take_while(|&word| word != 0);
    left.map(|word| word.trailing_zeros() as usize)
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn those_that_have_some_come_once_each_from_the_first_on(
            free in prop::collection::vec(0_usize..3, 1..300), first: prop::sample::Index,
        ) {
            let vacancies = Vacancies::new(free.len());
            for (shard, &frames) in free.iter().enumerate() {
                // There were others before.
                vacancies.note(shard, 0, 2);
                vacancies.note(shard, 2, frames);
            }
            let first = first.index(free.len());
            let in_turn = (first..free.len()).chain(0..first).filter(|&shard| free[shard] > 0);
            prop_assert!(vacancies.shards_from(first).eq(in_turn));
            prop_assert_eq!(vacancies.frames(), free.iter().sum::<usize>());
        }
    }
}
