//! Copies of pages, in the [room](super::copy_room) for them, which a codec seals and the device reads in place of the frames.

#![allow(unsafe_code)]

use std::{ptr::NonNull, slice};

use crate::buffer::frame::{copy_room::CopyRun, frames::Frames, pin::Pin};

impl Frames {
    /// Returns where in the arena the run's bytes start.
    pub(crate) fn run_offset(&self, run: &CopyRun) -> usize {
        run.first() * self.page_size().bytes()
    }

    /// Returns page `index` of the run, for a codec to seal.
    pub(crate) fn copy_mut<'a>(&'a self, run: &'a mut CopyRun, index: usize) -> &'a mut [u8] {
        // SAFETY: no other has the run's pages, it is borrowed mutably, and the arena is initialised memory.
        unsafe { slice::from_raw_parts_mut(self.copy_address(run, index).as_ptr(), self.page_size().bytes()) }
    }

    fn copy_address(&self, run: &CopyRun, index: usize) -> NonNull<u8> {
        assert!(index < run.pages());
        self.arena().at(self.run_offset(run) + index * self.page_size().bytes())
    }
}

impl Pin {
    /// Copies the bytes into page `index` of the run. The caller holds a latch through this pin.
    pub(crate) fn copy_to(&self, run: &mut CopyRun, index: usize) {
        let frames = self.frames();
        // SAFETY: a latch is held, so no thread changes the frame's bytes; the run is borrowed mutably and no other has its
        // pages.
        unsafe { frames.copy_page(frames.address_of(self.frame_no()), frames.copy_address(run, index)) };
    }
}
