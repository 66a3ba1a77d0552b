//! What keeps the frames of a pool alive: their handle, which the [residency](crate::buffer::residency) has, and pins, one by one or
//! as a [list](Pins).
//!
//! A hit must not touch a reference count that all threads share. So a [`Pin`] counts in its frame's state word alone, or in a
//! [slot](super::bias) of its thread. When the pool's one [`FramesHandle`] is dropped, it turns each frame into an ORPHAN. A frame
//! that has pins at that moment gets a strong reference of its own to all frames, which the thread gives back that takes the last
//! pin off. Mark and pins are in one word, so exactly one thread sees that.

#![allow(unsafe_code)]

use std::{fmt, iter, mem::ManuallyDrop, ops::Deref, ptr::NonNull};

use smallvec::SmallVec;

use crate::{
    buffer::frame::{
        frames::Frames,
        header::Frame,
        page_lsn::PageLsn,
        slots::{HeldFrame, ReaderSlot, ReaderSlots, SlotNo},
        state::State,
    },
    error::Result,
    id::{FrameNo, PageId},
    sync::{Arc, waking::Wakers},
};

/// How many pins of a [list](Pins) take no allocation: 128 KiB of 8 KiB pages.
const PINS_INLINE: usize = 16;

/// The owner of a pool's frames. There is one, however many pins there are.
pub(crate) struct FramesHandle {
    frames: Arc<Frames>,
    pub(super) slots: ReaderSlots,
}

impl FramesHandle {
    pub(crate) fn new(frames: Frames) -> Self {
        Self { slots: frames.slots, frames: Arc::new(frames) }
    }

    /// Makes a value of a pin that the caller has just put into the frame's state word.
    #[inline]
    pub(crate) fn adopt(&self, frame: FrameNo) -> Pin {
        self.adopt_slot(frame, SlotNo::NONE)
    }

    /// Makes a value of a pin that the caller has just put into that slot.
    #[inline]
    pub(super) fn adopt_slot(&self, frame: FrameNo, slot: SlotNo) -> Pin {
        debug_assert!(frame.index() < self.frames.arrays.len());
        // SAFETY: an Arc's address is not null.
        let frames = unsafe { NonNull::new_unchecked(Arc::as_ptr(&self.frames).cast_mut()) };
        Pin { frames, held: HeldFrame::new(frame, slot) }
    }
}

impl Deref for FramesHandle {
    type Target = Arc<Frames>;

    #[inline]
    fn deref(&self) -> &Arc<Frames> {
        &self.frames
    }
}

impl Drop for FramesHandle {
    fn drop(&mut self) {
        // No thread takes a slot any more. What slots hold must be in the words.
        let in_slots = self.slots.holds();
        if !seeded!("slots_forgotten_when_the_pool_goes") {
            for no in in_slots.frames() {
                self.revoke_bias(no);
            }
        }
        let frames = Arc::as_ptr(&self.frames);
        for (_, frame) in self.frames.iter() {
            // The reference must be there before the mark is: the last pin may go at once.
            // SAFETY: `frames` comes from the Arc in `self`, which is alive.
            unsafe { Arc::increment_strong_count(frames) };
            if frame.state.update(State::orphan).pins() == 0 {
                // SAFETY: gives back the reference taken above, since no last pin will do it.
                unsafe { Arc::decrement_strong_count(frames) };
            }
        }
    }
}

/// A pin: while it exists, its frame keeps its page, and the pool's memory exists. Another is taken by [`again`](Pin::again).
pub(crate) struct Pin {
    /// Not null, so that an `Option` of a pin is no larger and stays in registers.
    frames: NonNull<Frames>,
    held: HeldFrame,
}

// SAFETY: a pin is a count in an atomic word, or in a slot that is one, and the address of Sync frames.
unsafe impl Send for Pin {}
// SAFETY: as above; a shared pin only reads.
unsafe impl Sync for Pin {}

impl Pin {
    #[inline]
    pub(crate) fn frames(&self) -> &Frames {
        // SAFETY: 1. the pointer comes from `Arc::as_ptr`; 2. either the handle is alive and holds the Arc, or the
        // handle's drop has left a strong reference for this pinned frame, which goes only with its last pin.
        unsafe { self.frames.as_ref() }
    }

    /// Makes a value of another pin on the same frame, which the caller has just put into the state word.
    pub(super) fn beside(&self) -> Self {
        Self { frames: self.frames, held: HeldFrame::new(self.frame_no(), SlotNo::NONE) }
    }

    #[inline]
    pub(super) fn slot(&self) -> Option<&'static ReaderSlot> {
        self.frames().slots.at(self.held.slot())
    }

    #[inline]
    pub(crate) fn frame_no(&self) -> FrameNo {
        self.held.frame()
    }

    #[inline]
    pub(crate) fn frame(&self) -> Frame<'_> {
        // SAFETY: a pin is made of a frame of its pool, whose frames all keep their state and the like, in service or not.
        unsafe { self.frames().arrays.get_unchecked(self.frame_no()) }
    }

    /// Returns the address of the page's bytes. Reading or writing them takes a latch, or the read that puts them there.
    #[inline]
    pub(crate) fn address(&self) -> NonNull<u8> {
        if self.frame().state.load().is_shadowed() {
            return self.frames().address_of_shadow(self.frame_no());
        }
        self.address_in_frame()
    }

    /// Returns the address of the page's bytes, for the holder of a share latch that is [held where the pin is](Self::into_one_place): while
    /// a slot holds it, the page is in its frame.
    #[inline]
    pub(crate) fn address_in_one_place(&self) -> NonNull<u8> {
        if self.held.slot() == SlotNo::NONE { self.address() } else { self.address_in_frame() }
    }

    #[inline]
    pub(super) fn address_in_frame(&self) -> NonNull<u8> {
        let (frames, no) = (self.frames(), self.frame_no());
        // SAFETY: a pin is made of a frame of its pool, whose arena has room for all frames.
        unsafe { frames.arena.base().add(frames.offset_of(no)) }
    }

    #[inline]
    pub(crate) fn bytes(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.address(), self.frames().page_size.bytes())
    }

    #[inline]
    pub(crate) fn place_of_lsn(&self) -> Option<PageLsn> {
        self.frames().page_lsn.filter(|_| self.frame().state.load().keeps_lsn())
    }

    /// Loads the LSN from the bytes that have come from the disk, as they will be shown: opened by a codec, where there is one. The
    /// caller ends the read to which this pin belongs.
    pub(crate) fn load_lsn(&self) {
        if let Some(place) = self.place_of_lsn() {
            // SAFETY: 1. the bytes are initialised since the arena was mapped; 2. the frame is READING by the read that the caller ends,
            // whose transfer is over, so no other thread has them.
            self.frame().set_lsn(place.read(unsafe { self.bytes().as_ref() }));
        }
    }

    /// Takes another pin on the same frame; `None` where the state word cannot count one more.
    pub(crate) fn again(&self) -> Option<Self> {
        self.frame().state.try_update(State::pin_again).ok()?;
        Some(self.beside())
    }

    /// Ends an I/O and lets go of the pin that belonged to it, in one step: a waiter for the end finds the frame without that
    /// pin. Returns the state in which the I/O was. Waking is left to the caller.
    pub(crate) fn end_io(
        self,
        end: impl Fn(State) -> State,
        outcome: &Result<()>,
        wakers: &mut Wakers,
    ) -> State {
        let pin = ManuallyDrop::new(self);
        let mut kept = pin.keep_if(pin.frames().frame_waiters.any());
        let (before, state) = loop {
            // The waiters are woken after the pin is gone, when the frames may go too: so the frames must be kept first.
            let may_tell = kept.is_some();
            let step = |s: State| (may_tell || !s.has_io_waiters()).then(|| end(s).unpin());
            match pin.frame().state.try_change(step) {
                Ok(change) => break change,
                Err(_) => kept = pin.keep_if(true),
            }
        };
        if let Some(frames) = &kept
            && state.has_io_waiters()
            && !seeded!("lost_wake_up")
        {
            frames.waiters.io_done(frames.frame(pin.frame_no()), outcome, wakers);
        }
        if pin.is_off(state)
            && let Some(frames) = kept
        {
            frames.hand_on(pin.frame_no(), wakers);
        }
        before
    }

    /// Returns a reference to the frames, for use after the pin is gone.
    #[inline]
    pub(crate) fn keep_if(&self, needed: bool) -> Option<Arc<Frames>> {
        // SAFETY: the frames are alive while this pin is.
        needed.then(|| unsafe { keep(self.frames) })
    }

    /// Does what follows when the pin has been taken off the state word, which is `state` now. Returns true where it was the last
    /// one: the frame may be taken. `self.frames` may dangle unless the state says that a reference was left for this frame.
    #[inline]
    fn is_off(&self, state: State) -> bool {
        if state.pins() > 0 {
            return false;
        }
        if state.is_orphan() {
            // SAFETY: the handle's drop left one reference for this frame and marked it; no pin can be added to a frame
            // without pins once the handle is gone, so this is the only time that its pins go from one to none.
            unsafe { Arc::decrement_strong_count(self.frames.as_ptr()) };
        }
        true
    }

    #[inline(never)] // So that a slot is let go of without the stack and the registers that only this needs.
    fn drop_in_word(&self) {
        let kept = self.keep_if(self.frames().frame_waiters.any());
        let state = self.frame().state.unpin();
        if self.is_off(state)
            && let Some(frames) = kept
            && frames.process.is_current()
        {
            frames.hand_on(self.frame_no(), &mut Wakers::new());
        }
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        if self.slot().is_some() {
            // A copy of it frees the slot; the copy is dropped if the state word holds the pin.
            return Self { ..*self }.let_go_of_slot();
        }
        self.drop_in_word();
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in frame {} ({:?})", self.frame().page(), self.frame_no().0, self.frame().state.load())
    }
}

/// # Safety
/// The frames are alive.
#[inline]
unsafe fn keep(frames: NonNull<Frames>) -> Arc<Frames> {
    // SAFETY: by the caller.
    unsafe { Arc::increment_strong_count(frames.as_ptr()) };
    // SAFETY: takes over the reference counted just now.
    unsafe { Arc::from_raw(frames.as_ptr()) }
}

/// A list of pins, which the state words hold, in four bytes each: they have their pool in common, and are moved through queues.
pub(crate) struct Pins {
    /// All frames of their pool; dangling before there is a pin.
    frames: NonNull<Frames>,
    numbers: SmallVec<[FrameNo; PINS_INLINE]>,
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
        debug_assert!(self.is_empty() || self.frames == pin.frames, "pins of two pools in one list");
        let pin = ManuallyDrop::new(pin.into_counted());
        self.frames = pin.frames;
        self.numbers.push(pin.frame_no());
    }

    pub(crate) fn push_front(&mut self, pin: Pin) {
        debug_assert!(self.frames == pin.frames, "pins of two pools in one list");
        let pin = ManuallyDrop::new(pin.into_counted());
        self.numbers.insert(self.taken, pin.frame_no());
    }

    pub(crate) fn append(&mut self, other: &mut Self) {
        other.drain().for_each(|pin| self.push(pin));
    }

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
        unsafe { keep(self.frames) }
    }

    pub(crate) fn frame_no(&self, index: usize) -> FrameNo {
        self.left()[index]
    }

    pub(crate) fn page(&self, index: usize) -> PageId {
        self.frames().frame(self.frame_no(index)).page()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Frame<'_>> {
        self.left().iter().map(|&no| self.frames().frame(no))
    }

    /// Takes the pins out, in order; those that are not taken stay.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Pin> {
        iter::from_fn(move || {
            let first = *self.left().first()?;
            self.taken += 1;
            // Each frame that is left stands for one pin of this pool, and this one is not left any more.
            Some(Pin { frames: self.frames, held: HeldFrame::new(first, SlotNo::NONE) })
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
