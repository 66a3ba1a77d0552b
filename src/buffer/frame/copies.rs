//! Copies of pages, in the [room](super::copy_room) for them, which a codec seals and the device reads in place of the frames.

#![allow(unsafe_code)]

use std::{ptr::NonNull, slice};

use crate::{
    buffer::frame::{copy_room::CopyRun, frames::Frames, pin::Pin},
    sync::waking::Wakers,
};

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

    /// Gives back all pages of the run but the first `pages`. That wakes the first that waits for a frame, if it could have no
    /// victim written for want of room: nothing else may tell it, since users may have the frames that were written.
    pub(crate) fn shrink_run(&self, run: &mut CopyRun, pages: usize, wakers: &mut Wakers) {
        if self.copy_room.shrink(run, pages) && !seeded!("room_given_back_in_silence") {
            self.frame_waiters.wake_one_with(wakers);
        }
    }

    /// Gives back the run, as [`shrink_run`](Self::shrink_run) does.
    pub(crate) fn give_back_run(&self, mut run: CopyRun, wakers: &mut Wakers) {
        self.shrink_run(&mut run, 0, wakers);
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
