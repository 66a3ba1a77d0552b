//! What keeps a pool's memory alive, and the two rights to a frame: a pin, and a claim.
//!
//! A hit must not touch a reference count that all threads share. So a [`Pin`] does not count itself anywhere but in its
//! frame's state word, or in a [slot](super::bias) of its thread. When the pool's one [`PoolHandle`] goes, it turns each frame into an ORPHAN; a frame that has pins
//! at that moment gets a strong reference of its own to the pool, and whoever takes the last pin off an orphan gives that
//! reference back. Mark and pins are in one word, so exactly one party sees the last pin of an orphan go.

#![allow(unsafe_code)]

use std::{fmt, mem::ManuallyDrop, ops::Deref, ptr::NonNull, task::Waker};

use smallvec::SmallVec;

use crate::{
    buffer::{
        frame::{
            header::{Frame, FrameArrays},
            slots::{HeldFrame, ReaderSlot, SlotNo, SlotWord},
            state::{Phase, State},
        },
        pool::FramePool,
    },
    error::Result,
    id::FrameNo,
    sync::{
        Arc,
        waking::{StoredWaker, Wakers},
    },
};

/// Claims that are taken together at the most.
pub(crate) const CLAIMS_MAX: usize = 32;

/// The owner of a pool's memory. There is one, whatever number of pins.
pub(crate) struct PoolHandle(Arc<FramePool>);

impl PoolHandle {
    pub(crate) fn new(pool: FramePool) -> Self {
        Self(Arc::new(pool))
    }

    /// Makes a value of a pin that the caller has just put into the frame's state word.
    #[inline]
    pub(crate) fn adopt(&self, frame: FrameNo) -> Pin {
        self.adopt_slot(frame, SlotNo::NONE)
    }

    /// The same of a pin that the caller has just put into that slot.
    #[inline]
    pub(super) fn adopt_slot(&self, frame: FrameNo, slot: SlotNo) -> Pin {
        debug_assert!(frame.index() < self.0.frames.len());
        // SAFETY: an Arc's address is not null.
        let pool = unsafe { NonNull::new_unchecked(Arc::as_ptr(&self.0).cast_mut()) };
        Pin { pool, held: HeldFrame::new(frame, slot) }
    }
}

impl PoolHandle {
    /// Has a task whose wake-up can be missed looked after by the pool's [ticker](crate::buffer::ticker); where no thread can be
    /// had for that, the task is woken at once, to look again whenever its runtime has time for it.
    pub(crate) fn look_after(&self, task: &Waker) {
        if !self.0.keep_ticking() && !seeded!("nobody_looks_after_tasks") {
            StoredWaker::of(task).wake();
        }
    }
}

impl Deref for PoolHandle {
    type Target = FramePool;

    #[inline]
    fn deref(&self) -> &FramePool {
        &self.0
    }
}

impl Drop for PoolHandle {
    fn drop(&mut self) {
        // No thread takes a slot any more. What slots hold must be in the words.
        let in_slots = self.slots.holds();
        if !seeded!("slots_forgotten_when_the_pool_goes") {
            for no in in_slots.frames() {
                self.revoke_bias(no);
            }
        }
        let pool = Arc::as_ptr(&self.0);
        for (_, frame) in self.0.frames() {
            // The reference must be there before the mark is: the last pin may go at once.
            // SAFETY: `pool` comes from the Arc in `self`, which is alive.
            unsafe { Arc::increment_strong_count(pool) };
            if frame.state.update(State::orphan).pins() == 0 {
                // SAFETY: gives back the reference taken above, since nobody will come for it.
                unsafe { Arc::decrement_strong_count(pool) };
            }
        }
    }
}

/// A pin: while it exists, its frame keeps its page, and the pool's memory exists. Not cloned, but taken [again](Pin::again).
pub(crate) struct Pin {
    /// Not null, so that an `Option` of a pin is no larger and stays in registers.
    pool: NonNull<FramePool>,
    held: HeldFrame,
}

// SAFETY: a pin is a count in an atomic word, or in a slot that is one, and the address of a Sync pool.
unsafe impl Send for Pin {}
// SAFETY: as above; a shared pin only reads.
unsafe impl Sync for Pin {}

impl Pin {
    #[inline]
    pub(crate) fn pool(&self) -> &FramePool {
        // SAFETY: 1. the pointer comes from `Arc::as_ptr`; 2. either the handle is alive and holds the Arc, or the
        // handle's drop has left a strong reference for this pinned frame, which goes only with its last pin.
        unsafe { self.pool.as_ref() }
    }

    /// For a list of pins that names the pool once.
    pub(crate) fn raw_pool(&self) -> NonNull<FramePool> {
        debug_assert!(self.slot().is_none(), "taken apart while a slot holds it: {self:?}");
        self.pool
    }

    /// Makes a value of a pin again.
    ///
    /// # Safety
    /// A pin on this frame of this pool was taken apart and stands for this one, and for no other.
    pub(crate) unsafe fn from_raw(pool: NonNull<FramePool>, frame: FrameNo) -> Self {
        Self { pool, held: HeldFrame::new(frame, SlotNo::NONE) }
    }

    /// Makes a value of another pin on the same frame, which the caller has just put into the state word.
    pub(super) fn beside(&self) -> Self {
        Self { pool: self.pool, held: HeldFrame::new(self.frame_no(), SlotNo::NONE) }
    }

    /// The slot that holds it, if one does.
    #[inline]
    pub(super) fn slot(&self) -> Option<&ReaderSlot> {
        self.held.slot().map(|slot| self.pool().slots.at(slot))
    }

    /// Frees the slot that holds it, if one does, and gives what it said. Unless it was counted the pin is off by that, and the pool may be
    /// gone.
    #[inline(always)]
    pub(super) fn take_slot(&mut self) -> Option<SlotWord> {
        let word = self.slot()?.free();
        self.held = HeldFrame::new(self.frame_no(), SlotNo::NONE);
        Some(word)
    }

    #[inline]
    pub(crate) fn frame_no(&self) -> FrameNo {
        self.held.frame()
    }

    #[inline]
    pub(crate) fn frame(&self) -> Frame<'_> {
        let FrameArrays { states, headers } = &self.pool().frames;
        // SAFETY: a pin is made of a frame of its pool, whose frames all keep state and header, in service or not.
        let state = unsafe { states.get_unchecked(self.frame_no().index()) };
        // SAFETY: as above.
        let header = unsafe { headers.get_unchecked(self.frame_no().index()) };
        Frame { state, header }
    }

    /// Another pin on the same frame; `None` where the state word cannot count one more.
    pub(crate) fn again(&self) -> Option<Self> {
        self.frame().state.try_update(State::pin_again).ok()?;
        Some(self.beside())
    }
}

impl Pin {
    /// Ends an I/O and lets go of the pin that belonged to it, in one step: who waits for the end finds the frame without it.
    /// Gives the state in which it left the frame.
    /// Waking is left to the caller.
    pub(crate) fn end_io(
        self,
        end: impl Fn(State) -> State,
        outcome: &Result<()>,
        wakers: &mut Wakers,
    ) -> State {
        let pin = ManuallyDrop::new(self);
        let mut kept = pin.keep_if(pin.pool().supply.frame_waiters.any());
        let file = pin.frame().page().file;
        let (before, state) = loop {
            // Those who wait are told after the pin is gone, when the pool may go too: so it must be kept first.
            let may_tell = kept.is_some();
            let tells = |s: State| s.has_io_waiters() || s.is_unattended();
            let step = |s: State| (may_tell || !tells(s)).then(|| end(s).unpin());
            match pin.frame().state.try_change(step) {
                Ok(change) => break change,
                Err(_) => kept = pin.keep_if(true),
            }
        };
        if let Some(pool) = &kept {
            if before.is_unattended() && !state.is_unattended() && !seeded!("place_in_the_share_lost") {
                pool.supply.read_ahead_quota.give_back(file, 1);
            }
            if state.has_io_waiters() && !seeded!("lost_wake_up") {
                pool.waiters.io_done(pin.frame_no(), pool.frame(pin.frame_no()), outcome, wakers);
            }
        }
        if pin.is_off(state)
            && let Some(pool) = kept
        {
            pool.hand_on(pin.frame_no(), wakers);
        }
        state
    }

    /// A reference to the pool, for use after the pin is gone.
    #[inline]
    pub(crate) fn keep_if(&self, needed: bool) -> Option<Arc<FramePool>> {
        needed.then(|| {
            // SAFETY: the pool is alive while this pin is.
            unsafe { Arc::increment_strong_count(self.pool.as_ptr()) };
            // SAFETY: takes over the reference counted just now.
            unsafe { Arc::from_raw(self.pool.as_ptr()) }
        })
    }

    /// Sees to what follows when the pin has been taken off the state word, which is `state` now. True where it was the last one: the
    /// frame may be had. `self.pool` may dangle unless the state says that a reference was left for this frame.
    #[inline]
    fn is_off(&self, state: State) -> bool {
        if state.pins() > 0 {
            return false;
        }
        if state.is_orphan() {
            // SAFETY: the handle's drop left one reference for this frame and marked it; no pin can be added to a frame
            // without pins once the handle is gone, so this is the only time that its pins go from one to none.
            unsafe { Arc::decrement_strong_count(self.pool.as_ptr()) };
        }
        true
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        if self.slot().is_some() {
            // A copy of it lets go, which is dropped where the state word has it.
            return Self { ..*self }.let_go_of_slot();
        }
        let kept = self.keep_if(self.pool().supply.frame_waiters.any());
        let state = self.frame().state.unpin();
        if self.is_off(state)
            && let Some(pool) = kept
            && pool.process.is_current()
        {
            pool.hand_on(self.frame_no(), &mut Wakers::new());
        }
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in frame {} ({:?})", self.frame().page(), self.frame_no().0, self.frame().state.load())
    }
}

/// A frame in the hands of one thread, between two pages: no table leads to it. Given back, free, when dropped.
pub(crate) struct ClaimedFrame<'a> {
    pool: &'a FramePool,
    frame: FrameNo,
    in_use: bool,
}

impl<'a> ClaimedFrame<'a> {
    pub(crate) fn new(pool: &'a FramePool, frame: FrameNo) -> Self {
        debug_assert_eq!(pool.frame(frame).state.load().phase(), Phase::Claimed);
        Self { pool, frame, in_use: false }
    }

    pub(crate) fn frame_no(&self) -> FrameNo {
        self.frame
    }

    /// The frame goes out of service, without a page: it stays claimed until it is [called up](crate::buffer::resizing).
    pub(crate) fn retire(mut self) -> FrameNo {
        self.in_use = !seeded!("retired_frame_given_back");
        self.frame
    }

    /// The frame has a page again, which is being read; two pins, the read's and one more, are the caller's to adopt.
    pub(crate) fn into_read(mut self, read_only: bool) {
        let begin = |s: State| s.begin_read(read_only).pin_again();
        let begun = self.pool.frame(self.frame).state.try_update(begin);
        debug_assert!(begun.is_ok(), "a frame with one pin has room for another");
        self.in_use = true;
    }
}

impl Drop for ClaimedFrame<'_> {
    fn drop(&mut self) {
        if self.in_use {
            return;
        }
        let let_go = || {
            self.pool.frame(self.frame).state.update(State::give_back);
        };
        self.pool.replacement.release(self.frame, let_go);
        if self.pool.supply.frame_waiters.any() {
            self.pool.supply.frame_waiters.wake_one();
        }
    }
}

impl fmt::Debug for ClaimedFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "claimed frame {}", self.frame.0)
    }
}

/// Frames that were claimed together, to be had in their order. Those that are left are given back when this is dropped.
pub(crate) struct ClaimedFrames<'a> {
    pool: &'a FramePool,
    frames: SmallVec<[FrameNo; CLAIMS_MAX]>,
    /// So many of the first of them have been taken out.
    taken: usize,
}

impl<'a> ClaimedFrames<'a> {
    pub(crate) fn new(pool: &'a FramePool) -> Self {
        Self { pool, frames: SmallVec::new(), taken: 0 }
    }

    /// Adds frames that were just claimed, and whose pages were taken out of the table.
    pub(crate) fn extend(&mut self, frames: &[FrameNo]) {
        if self.is_empty() {
            self.frames.clear();
            self.taken = 0;
        }
        self.frames.extend_from_slice(frames);
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len() - self.taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns which ones are left.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = FrameNo> {
        self.frames[self.taken..].iter().copied()
    }

    /// Returns which one is next.
    pub(crate) fn first(&self) -> Option<FrameNo> {
        self.frames.get(self.taken).copied()
    }

    /// Takes the next one out.
    pub(crate) fn next(&mut self) -> Option<ClaimedFrame<'a>> {
        let frame = self.first()?;
        self.taken += 1;
        Some(ClaimedFrame::new(self.pool, frame))
    }
}

impl Drop for ClaimedFrames<'_> {
    /// The last first, so that the next thread that takes free frames gets them in this order.
    fn drop(&mut self) {
        while self.frames.len() > self.taken {
            drop(self.frames.pop().map(|frame| ClaimedFrame::new(self.pool, frame)));
        }
    }
}
