//! Pins on several frames of one pool, in a value small enough to be moved through queues.

#![allow(unsafe_code)]

use std::{iter, mem::ManuallyDrop, ptr};

use smallvec::SmallVec;

use crate::{
    id::{FrameNo, PageId},
    pool::{frame::Frame, frame_pool::FramePool, handle::Pin},
};

/// So many pins take no allocation: 128 KiB of 8 KiB pages.
const INLINE: usize = 16;

/// A list of pins. Four bytes each, since they have their pool in common.
pub(crate) struct Pins {
    /// The pool of all of them; null before there is one.
    pool: *const FramePool,
    frames: SmallVec<[FrameNo; INLINE]>,
}

// SAFETY: pins can be sent, and these are pins.
unsafe impl Send for Pins {}
// SAFETY: pins can be shared; a shared list only reads.
unsafe impl Sync for Pins {}

impl Pins {
    pub(crate) fn new() -> Self {
        Self { pool: ptr::null(), frames: SmallVec::new() }
    }

    pub(crate) fn push(&mut self, pin: Pin) {
        debug_assert!(self.is_empty() || ptr::eq(self.pool, pin.pool()), "pins of two pools in one list");
        let pin = ManuallyDrop::new(pin);
        self.pool = pin.raw_pool();
        self.frames.push(pin.frame_no());
    }

    pub(crate) fn append(&mut self, other: &mut Self) {
        other.drain().for_each(|pin| self.push(pin));
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The pool of the pinned frames. There must be one.
    pub(crate) fn pool(&self) -> &FramePool {
        assert!(!self.is_empty());
        // SAFETY: there is a pin, and so the pool is alive.
        unsafe { &*self.pool }
    }

    pub(crate) fn frame_no(&self, index: usize) -> FrameNo {
        self.frames[index]
    }

    pub(crate) fn page(&self, index: usize) -> PageId {
        self.pool().frame(self.frames[index]).page()
    }

    /// The pinned frames, in order.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter().map(|&no| self.pool().frame(no))
    }

    /// Takes the pins out, in order; those that are not taken stay.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Pin> {
        iter::from_fn(move || {
            let first = (!self.is_empty()).then(|| self.frames.remove(0))?;
            // SAFETY: each frame in the list stands for one pin of this pool, and this one has just left the list.
            Some(unsafe { Pin::from_raw(self.pool, first) })
        })
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.drain().for_each(drop);
    }
}
