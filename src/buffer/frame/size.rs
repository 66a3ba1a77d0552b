//! How many frames there are: those that get pages, those that have pages, and those that may be added. [`resizing`](crate::buffer::resizing)
//! changes these numbers, in its order.

use crate::sync::atomic::{AtomicU32, Ordering};

pub(crate) struct Size {
    most: u32,
    frames: AtomicU32,
    extent: AtomicU32,
    /// The most that there have been so far.
    highest: AtomicU32,
}

impl Size {
    pub(crate) fn new(frames: u32, most: u32) -> Self {
        assert!(0 < frames && frames <= most, "{frames} frames of {most}");
        Self {
            most,
            frames: AtomicU32::new(frames),
            extent: AtomicU32::new(frames),
            highest: AtomicU32::new(frames),
        }
    }

    /// Returns how many frames get pages.
    pub(crate) fn frames(&self) -> u32 {
        self.frames.load(Ordering::Relaxed)
    }

    pub(crate) fn most(&self) -> u32 {
        self.most
    }

    /// Returns the number behind which no frame has a page, a pin or an I/O: a walk over all frames ends there.
    pub(crate) fn extent(&self) -> u32 {
        self.extent.load(Ordering::Acquire)
    }

    /// Returns the number behind which no frame was ever touched.
    pub(crate) fn highest(&self) -> u32 {
        self.highest.load(Ordering::Relaxed)
    }

    pub(crate) fn keep_to(&self, frames: u32) {
        self.frames.store(frames, Ordering::Relaxed);
    }

    /// Raises the extent: the frames up to this number may be touched from here on.
    pub(crate) fn extend(&self, frames: u32) {
        self.highest.fetch_max(frames, Ordering::Relaxed);
        if !seeded!("frames_come_unknown") {
            self.extent.store(frames, Ordering::Release);
        }
    }

    /// Lowers the extent: the frames from this number on are retired.
    pub(crate) fn end_at(&self, frames: u32) {
        self.extent.store(frames, Ordering::Release);
    }
}
