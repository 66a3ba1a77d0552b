//! Pins on several frames of one pool, in a value small enough to be moved through queues.

#![allow(unsafe_code)]

use std::{iter, mem::ManuallyDrop, ptr, ptr::NonNull};

use smallvec::SmallVec;

use crate::{
    buffer::frame::{frames::Frames, header::Frame, pin::Pin},
    id::{FrameNo, PageId},
    sync::Arc,
};

/// How many pins take no allocation: 128 KiB of 8 KiB pages.
const INLINE: usize = 16;

/// A list of pins, which the state words hold. Four bytes each, since they have their pool in common.
pub(crate) struct Pins {
    /// All frames of their pool; dangling before there is a pin.
    frames: NonNull<Frames>,
    numbers: SmallVec<[FrameNo; INLINE]>,
    /// How many of the first have been taken out.
    taken: usize,
}

// SAFETY: pins can be sent, and these are pins.
unsafe impl Send for Pins {}
// SAFETY: pins can be shared; a shared list only reads.
unsafe impl Sync for Pins {}

impl Pins {
    pub(crate) fn new() -> Self {
        Self { frames: NonNull::dangling(), numbers: SmallVec::new(), taken: 0 }
    }

    pub(crate) fn push(&mut self, pin: Pin) {
        debug_assert!(
            self.is_empty() || ptr::eq(self.frames(), pin.frames()),
            "pins of two pools in one list"
        );
        let pin = ManuallyDrop::new(pin.into_counted());
        self.frames = pin.raw_frames();
        self.numbers.push(pin.frame_no());
    }

    /// Adds a pin before all others.
    pub(crate) fn push_front(&mut self, pin: Pin) {
        debug_assert!(ptr::eq(self.frames(), pin.frames()), "pins of two pools in one list");
        let pin = ManuallyDrop::new(pin.into_counted());
        self.numbers.insert(self.taken, pin.frame_no());
    }

    pub(crate) fn append(&mut self, other: &mut Self) {
        other.drain().for_each(|pin| self.push(pin));
    }

    /// Returns the frames whose pins are still here.
    fn left(&self) -> &[FrameNo] {
        &self.numbers[self.taken..]
    }

    pub(crate) fn len(&self) -> usize {
        self.left().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left().is_empty()
    }

    /// Returns all frames of the pool. There must be a pin.
    pub(crate) fn frames(&self) -> &Frames {
        assert!(!self.is_empty());
        // SAFETY: there is a pin, and so they are alive.
        unsafe { self.frames.as_ref() }
    }

    /// Returns a reference to the frames, for use after the pins are gone. There must be a pin.
    pub(crate) fn keep_frames(&self) -> Arc<Frames> {
        assert!(!self.is_empty());
        // SAFETY: there is a pin, and so they are alive.
        unsafe { Arc::increment_strong_count(self.frames.as_ptr()) };
        // SAFETY: takes over the reference counted just now.
        unsafe { Arc::from_raw(self.frames.as_ptr()) }
    }

    pub(crate) fn frame_no(&self, index: usize) -> FrameNo {
        self.left()[index]
    }

    pub(crate) fn page(&self, index: usize) -> PageId {
        self.frames().frame(self.frame_no(index)).page()
    }

    /// Returns the pinned frames, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Frame<'_>> {
        self.left().iter().map(|&no| self.frames().frame(no))
    }

    /// Takes the pins out, in order; those that are not taken stay.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Pin> {
        iter::from_fn(move || {
            let first = *self.left().first()?;
            self.taken += 1;
            // SAFETY: each frame that is left stands for one pin of this pool, and this one is not left any more.
            Some(unsafe { Pin::from_raw(self.frames, first) })
        })
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.drain().for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        buffer::small_pools::{fill, page, pool_of},
        id::FileId,
    };

    /// Otherwise it would come out as one that the state word holds, and be taken off there.
    #[test]
    fn a_pin_that_a_slot_holds_is_held_by_the_state_word_in_a_list() {
        let pool = pool_of(2);
        let [no, other] = [1, 2].map(|block| fill(&pool, page(block)));
        (0..5).for_each(|_| pool.look_at(page(1)).unwrap().unlatch_and_unpin());
        let in_slot = || pool.pin_at(page(1)).unwrap();
        let pins_in = || (pool.slots.holds().of(no), pool.frame(no).state.load().pins());
        let mut pins = Pins::new();
        pins.push(in_slot());
        assert_eq!(pins_in(), (0, 1));
        pins.push(pool.pin_unused(other, page(2)).unwrap());
        pins.push_front(in_slot());
        assert_eq!((pins_in(), pins.len()), ((0, 2), 3));
        drop(pins);
        assert_eq!(pins_in(), (0, 0));
    }

    #[test]
    fn pins_come_out_in_order_and_those_that_are_left_go_with_the_list() {
        let pool = pool_of(20);
        let mut pins = Pins::new();
        for block in 0..20 {
            let claimed = pool.take_clean().unwrap();
            let mapped = pool.map(claimed, PageId::new(FileId(0), block), false).unwrap();
            pool.end_read(mapped.reading, &Ok(()), true);
            pins.push(mapped.own);
        }
        let blocks = |pins: &Pins| (0..pins.len()).map(|at| pins.page(at).block.0).collect::<Vec<_>>();
        let pinned = || pool.frames.iter().filter(|(_, frame)| frame.state.load().pins() > 0).count();
        assert_eq!(pins.drain().take(3).map(|pin| pin.frame().page().block.0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((blocks(&pins), pinned()), ((3..20).collect(), 17));
        pins.push(pool.pin_unused(pins.frame_no(0), pins.page(0)).unwrap());
        let mut all = Pins::new();
        all.append(&mut pins);
        assert_eq!((blocks(&all), pins.len()), ((3..20).chain([3]).collect(), 0));
        drop(pins);
        assert_eq!(pinned(), 17);
        drop(all);
        assert_eq!(pinned(), 0);
    }
}
