//! Remembers pages that were evicted lately: as many as there are frames, in two bytes each.
//!
//! A ghost is 16 bits of the page's hash; other bits choose a word that has room for the last four. A new ghost pushes the others
//! on, and the oldest out. So ghosts stay about as long as it takes to evict all frames once, some longer, some shorter: a list would
//! remember nothing of a loop that is longer than itself; this remembers a part.
//!
//! One word is one atomic: no lock. Two threads that change a word at once may lose a ghost, and once in some sixteen thousand times a
//! page is taken for another that returns: both only cost a little of the policy's quality. The hash is the same in every pool, so that
//! a trace is replayed alike. A pool that changes its size forgets its ghosts.

use crate::{
    buffer::memory::huge_slice::HugeSlice,
    error::Result,
    id::PageId,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// Ghosts in a word, and bits of one.
const GHOSTS: usize = 4;
const BITS: usize = 16;

pub(super) struct GhostList {
    words: HugeSlice<AtomicU64>,
    /// How many words, the first ones, are in use.
    in_use: AtomicUsize,
}

impl GhostList {
    /// Makes room for `pages` ghosts, and for `most` in the end.
    pub(super) fn new(pages: usize, most: usize) -> Result<Self> {
        let in_use = pages.div_ceil(GHOSTS);
        Ok(Self {
            words: HugeSlice::zeroed(most.div_ceil(GHOSTS), in_use)?,
            in_use: AtomicUsize::new(in_use),
        })
    }

    pub(super) fn resize(&self, pages: usize) {
        self.in_use.store(pages.div_ceil(GHOSTS), Ordering::Relaxed);
    }

    pub(super) fn memory(&self) -> usize {
        self.in_use.load(Ordering::Relaxed) * size_of::<AtomicU64>()
    }

    pub(super) fn note(&self, page: PageId) {
        let (word, ghost) = self.place_of(page);
        let before = word.load(Ordering::Relaxed);
        word.store(push(take(before, ghost).unwrap_or(before), ghost), Ordering::Relaxed);
    }

    /// Forgets the page. Returns whether it was remembered.
    pub(super) fn take(&self, page: PageId) -> bool {
        let (word, ghost) = self.place_of(page);
        let without = take(word.load(Ordering::Relaxed), ghost);
        without.inspect(|&without| word.store(without, Ordering::Relaxed)).is_some()
    }

    fn place_of(&self, page: PageId) -> (&AtomicU64, u16) {
        let hash = page.spread();
        let word = (u128::from(hash) * self.in_use.load(Ordering::Relaxed) as u128) >> 64;
        // Zero is no ghost: it stands for an empty place.
        (&self.words[word as usize], (hash as u16).max(1))
    }
}

fn push(word: u64, ghost: u16) -> u64 {
    word << BITS | u64::from(ghost)
}

/// Returns the word without `ghost`, if it is in there: those that are older close up.
fn take(word: u64, ghost: u16) -> Option<u64> {
    let at = (0..GHOSTS).map(|place| place * BITS).find(|at| (word >> at) as u16 == ghost)?;
    let newer = (1_u64 << at) - 1;
    Some(word & newer | word >> BITS & !newer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::FileId;

    #[test]
    fn a_word_holds_the_last_four_ghosts_and_gives_up_any_of_them() {
        let all = [1, 2, 3, 4, 5].into_iter().fold(0, push);
        assert_eq!(all, 0x0002_0003_0004_0005);
        let cases = [
            (5, Some(0x0002_0003_0004)),
            (4, Some(0x0002_0003_0005)),
            (2, Some(0x0003_0004_0005)),
            (1, None),
            (6, None),
        ];
        for (ghost, without) in cases {
            assert_eq!(take(all, ghost), without, "{ghost}");
        }
    }

    #[test]
    fn a_page_returns_once() {
        let ghosts = GhostList::new(4, 4).unwrap();
        let page = PageId::new(FileId(3), 7);
        ghosts.note(page);
        ghosts.note(page);
        assert_eq!((ghosts.take(page), ghosts.take(page)), (true, false));
    }

    #[test]
    fn ghosts_fade_after_about_as_many_evictions_as_there_are_frames() {
        const FRAMES: u32 = 4096;
        let ghosts = GhostList::new(FRAMES as usize, FRAMES as usize).unwrap();
        let page = |block| PageId::new(FileId(0), block);
        (0..4 * FRAMES).for_each(|block| ghosts.note(page(block)));
        // How many are remembered of a stretch that begins `ago` evictions ago.
        let remembered = |ago: u32| {
            let first = 4 * FRAMES - ago;
            (first..first + FRAMES / 4).filter(|&block| ghosts.take(page(block))).count() * 100
                / (FRAMES as usize / 4)
        };
        let shares =
            [remembered(FRAMES / 4), remembered(FRAMES), remembered(2 * FRAMES), remembered(4 * FRAMES)];
        let expected = [98..=100, 43..=70, 4..=16, 0..=1];
        assert!(
            shares.iter().zip(&expected).all(|(share, range)| range.contains(share)),
            "{shares:?} of 100"
        );
    }

    #[test]
    fn a_pool_that_has_shrunk_remembers_less() {
        let ghosts = GhostList::new(4096, 8192).unwrap();
        let pages = || (0..4096).map(|block| PageId::new(FileId(0), block));
        for (size, range) in [(8192, 3500..=4096), (256, 200..=256)] {
            ghosts.resize(size);
            pages().for_each(|page| ghosts.note(page));
            let remembered = pages().filter(|&page| ghosts.take(page)).count();
            assert!(range.contains(&remembered), "{remembered} with room for {size}");
        }
    }

    proptest! {
        #[test]
        fn words_are_lists_of_the_last_four(steps in prop::collection::vec((any::<bool>(), 1_u16..6), 0..40)) {
            let (mut word, mut list) = (0, Vec::new());
            for (pushes, ghost) in steps {
                if pushes {
                    word = push(word, ghost);
                    list.insert(0, ghost);
                    list.truncate(GHOSTS);
                } else {
                    let at = list.iter().position(|&other| other == ghost);
                    prop_assert_eq!(take(word, ghost).inspect(|&without| word = without).is_some(), at.is_some());
                    at.map(|at| list.remove(at));
                }
                let expected = list.iter().rev().fold(0, |word, &ghost| push(word, ghost));
                prop_assert_eq!(word, expected);
            }
        }
    }
}

/// Ghosts that two threads change at once, under every schedule. Some may be lost, and none is made up.
#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use crate::{
        id::FileId,
        sync::{
            Arc,
            every_schedule::{check, spawn},
        },
    };

    fn page(block: u32) -> PageId {
        PageId::new(FileId(0), block)
    }

    #[test]
    fn a_ghost_that_two_note_at_once_is_there_once() {
        check(3, || {
            let ghosts = Arc::new(GhostList::new(4, 4).unwrap());
            let noting = {
                let ghosts = Arc::clone(&ghosts);
                spawn(move || ghosts.note(page(1)))
            };
            ghosts.note(page(1));
            noting.join().unwrap();
            assert_eq!((ghosts.take(page(1)), ghosts.take(page(1))), (true, false));
        });
    }

    #[test]
    fn ghosts_that_come_and_go_at_once_are_lost_at_worst() {
        check(3, || {
            let ghosts = Arc::new(GhostList::new(4, 4).unwrap());
            (1..=3).for_each(|block| ghosts.note(page(block)));
            let coming = {
                let ghosts = Arc::clone(&ghosts);
                spawn(move || ghosts.note(page(4)))
            };
            assert!(ghosts.take(page(2)), "no other thread takes it");
            coming.join().unwrap();
            let left: Vec<_> = (1..=5).filter(|&block| ghosts.take(page(block))).collect();
            assert!([&[1, 3, 4][..], &[1, 3], &[1, 2, 3, 4]].contains(&&left[..]), "{left:?}");
        });
    }
}
