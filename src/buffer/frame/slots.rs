//! Reader slots: where a thread notes that it holds a page, without a write to anything that other threads write.
//!
//! Each thread has a line of [`SLOTS`] slots. A slot is free, or names a frame on which it is a pin, perhaps with a share latch.
//! [`bias`](super::bias) says what that counts for; here is the memory, and what each step does to one slot.
//!
//! * A slot is **taken** by compare-and-swap, so threads may share a line, and a thread that ends may leave one in use: the value
//!   that holds the page may be in another thread, which frees the slot from there.
//! * Only its holder changes a slot that is in use, but for one mark: a thread that counts its pin and latch in the frame's state
//!   word marks it COUNTED, and then the holder releases both there.
//!
//! Threads without an [index](crate::observe::thread_index), and those whose line is full, use the state word.

use std::array::from_fn;

use crossbeam_utils::CachePadded;

use crate::{
    id::FrameNo,
    observe::thread_index,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        fence_for_loom,
    },
};

/// How many slots a thread has: pages that it holds at once.
const SLOTS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 8 };

/// How many lines there are: as many as threads with an index. The model checkers' threads share one.
const LINES: usize = if cfg!(any(loom, shuttle)) { 1 } else { thread_index::THREADS };

/// The slots of a pool. A clone is the same slots: frames and their handle have one each, which saves a hit one pointer.
#[derive(Clone)]
pub(crate) struct ReaderSlots(Arc<[CachePadded<[ReaderSlot; SLOTS]>; LINES]>);

/// One slot. As soon as it is freed the pool's memory may be gone, so after that no other reference is used.
pub(crate) struct ReaderSlot(AtomicU64);

/// A slot's number, from 1 on, or none.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotNo(u32);

/// A frame, and the slot that holds it: in one word, so that a pin is two words and stays in registers.
#[derive(Copy, Clone, Debug)]
pub(crate) struct HeldFrame(u64);

impl HeldFrame {
    #[inline]
    pub(crate) fn new(frame: FrameNo, slot: SlotNo) -> Self {
        Self(u64::from(frame.0) | u64::from(slot.0) << 32)
    }

    #[inline]
    pub(crate) fn frame(self) -> FrameNo {
        FrameNo(self.0 as u32)
    }

    #[inline]
    pub(crate) fn slot(self) -> Option<SlotNo> {
        let slot = SlotNo((self.0 >> 32) as u32);
        (slot != SlotNo::NONE).then_some(slot)
    }
}

/// What a slot holds.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotWord(u64);

/// The slot holds a share latch too.
const LATCHED: u64 = 1 << 32;
/// The state word counts it.
const COUNTED: u64 = 1 << 33;

impl SlotNo {
    pub(crate) const NONE: Self = Self(0);
}

impl SlotWord {
    const FREE: Self = Self(0);

    /// Makes a pin on the frame, with a share latch where it is `latched`.
    #[inline]
    pub(crate) fn new(frame: FrameNo, latched: bool) -> Self {
        Self((u64::from(frame.0) + 1) | if latched { LATCHED } else { 0 })
    }

    pub(crate) fn frame(self) -> Option<FrameNo> {
        (self.0 as u32).checked_sub(1).map(FrameNo)
    }

    #[inline]
    pub(crate) fn is_latched(self) -> bool {
        self.0 & LATCHED != 0
    }

    #[inline]
    pub(crate) fn is_counted(self) -> bool {
        self.0 & COUNTED != 0
    }

    pub(crate) fn counted(self) -> Self {
        Self(self.0 | COUNTED)
    }
}

impl ReaderSlots {
    pub(crate) fn new() -> Self {
        Self(Arc::new(from_fn(|_| {
            CachePadded::new(from_fn(|_| ReaderSlot(AtomicU64::new(SlotWord::FREE.0))))
        })))
    }

    /// Returns the bytes that they take.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// Takes a slot of the calling thread, if there is a free one. The caller loads the state word next, which is ordered after
    /// that.
    #[inline(always)]
    pub(crate) fn take(&self, word: SlotWord) -> Option<SlotNo> {
        let line = thread_index::current()? % LINES;
        let at = if self.0[line][0].take(word) { 0 } else { self.take_further(line, word)? };
        Some(SlotNo((line * SLOTS + at) as u32 + 1))
    }

    /// Takes another slot than the first, which is nearly always enough: a thread seldom holds several pages.
    #[inline(never)]
    fn take_further(&self, line: usize, word: SlotWord) -> Option<usize> {
        (1..SLOTS).find(|&at| self.0[line][at].take(word))
    }

    #[inline]
    pub(crate) fn at(&self, no: SlotNo) -> &ReaderSlot {
        let no = no.0 as usize - 1;
        &self.0[no / SLOTS][no % SLOTS]
    }

    /// Returns all slots that were ever used.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ReaderSlot> {
        self.0.iter().take(thread_index::ever_used()).flat_map(|line| &**line)
    }

    /// Returns the frames that slots hold and state words do not count, in order, each as often as slots hold it.
    pub(crate) fn holds(&self) -> Holds {
        let words = self.all().map(ReaderSlot::load).filter(|word| !word.is_counted());
        let mut frames: Vec<_> = words.filter_map(SlotWord::frame).collect();
        frames.sort_unstable();
        Holds(frames)
    }
}

impl ReaderSlot {
    /// Takes the slot if it is free.
    #[inline(always)]
    fn take(&self, word: SlotWord) -> bool {
        self.0.load(Ordering::Relaxed) == SlotWord::FREE.0 && self.change(SlotWord::FREE, word)
    }

    /// Frees the slot, and returns what it said.
    #[inline]
    pub(crate) fn free(&self) -> SlotWord {
        SlotWord(self.0.swap(SlotWord::FREE.0, Ordering::AcqRel))
    }

    /// Changes the slot if it says `from`, and returns whether it did. The caller may load the state word next, which is ordered
    /// after that.
    #[inline]
    pub(crate) fn change(&self, from: SlotWord, to: SlotWord) -> bool {
        let is_changed = self.0.compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::Acquire).is_ok();
        fence_for_loom();
        is_changed
    }

    #[inline]
    pub(crate) fn load(&self) -> SlotWord {
        SlotWord(self.0.load(Ordering::SeqCst))
    }
}

/// Frames that slots hold, as of a moment ago.
pub(crate) struct Holds(Vec<FrameNo>);

impl Holds {
    pub(crate) fn frames(&self) -> impl Iterator<Item = FrameNo> {
        self.0.iter().copied()
    }

    /// Returns how many slots hold the frame.
    pub(crate) fn of(&self, no: FrameNo) -> u64 {
        if self.0.is_empty() {
            return 0;
        }
        let first = self.0.partition_point(|&held| held < no);
        self.0[first..].iter().take_while(|&&held| held == no).count() as u64
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    const NO: FrameNo = FrameNo(7);

    #[test]
    fn a_slot_says_what_it_was_given() {
        for frame in [0, 1, u32::MAX - 1].map(FrameNo) {
            for latched in [false, true] {
                let word = SlotWord::new(frame, latched);
                for word in [word, word.counted()] {
                    assert_eq!((word.frame(), word.is_latched()), (Some(frame), latched));
                }
                assert!(!word.is_counted() && word.counted().is_counted() && word != SlotWord::FREE);
            }
        }
        assert_eq!((SlotWord::FREE.frame(), SlotWord::FREE.is_counted()), (None, false));
    }

    #[test]
    fn a_thread_has_so_many_slots_and_each_is_had_again_when_it_is_freed() {
        let slots = ReaderSlots::new();
        let word = SlotWord::new(NO, true);
        let taken: Vec<_> = std::iter::from_fn(|| slots.take(word)).collect();
        assert_eq!(
            (taken.len(), slots.holds().of(NO), slots.holds().of(FrameNo(6))),
            (SLOTS, SLOTS as u64, 0)
        );
        assert_eq!(slots.at(taken[3]).free(), word);
        assert_eq!(slots.take(word), Some(taken[3]));
        let of_another = std::thread::scope(|scope| scope.spawn(|| slots.take(word)).join().unwrap());
        assert!(of_another.is_some_and(|no| !taken.contains(&no)), "a thread has slots of its own");
        assert_eq!(slots.at(of_another.unwrap()).free(), word, "freed by another thread");
    }

    #[test]
    fn what_is_counted_in_the_word_is_not_held_by_a_slot() {
        let slots = ReaderSlots::new();
        let word = SlotWord::new(NO, false);
        let slot = slots.at(slots.take(word).unwrap());
        assert!(slots.all().any(|seen| std::ptr::eq(seen, slot)));
        assert!(slot.change(word, word.counted()) && !slot.change(word, word.counted()));
        assert_eq!((slot.load(), slots.holds().of(NO)), (word.counted(), 0));
    }
}
