//! Residency: which page is in which frame, and how a frame passes from one page to the next.
//!
//! Owns the [frames](super::frame::frames), and adds page table, replacement and supply. Knows nothing of files and I/O: a page
//! is a number, and a caller begins and ends a read. The order of a replacement is what keeps a page from having two frames, and
//! a frame from having two pages:
//!
//! 1. [claim](super::claim) the frame (state word; no thread can pin it from here on);
//! 2. unmap its old page (partition lock);
//! 3. under the lock of its new page's partition: unless that has got a frame meanwhile, name it, [map](super::map) it and begin the read.
//!
//! A [seizure](super::quarantine) stops after a step like 1: its pages keep their frames and entries, and are out of reach.
//!
//! It lives as long as the pool and its reads under way, which hold it; the frames live on for pins that are held longer.
//!
//! Lock order: a partition of the table, then state words; a shard of the replacement, then state words; never both.

use std::ops::Deref;

use crate::{
    buffer::{
        frame::{frames::Frames, pin::FramesHandle},
        page_table::PageTable,
        replacement::Replacement,
        supply::{read_ahead_quota::ReadAheadQuota, shortage::Findings},
    },
    error::Result,
};

pub(crate) struct Residency {
    pub(crate) frames: FramesHandle,
    pub(super) table: PageTable,
    pub(super) replacement: Replacement,
    /// What fetches found out about the lack of frames.
    pub(crate) findings: Findings,
    pub(crate) read_ahead_quota: ReadAheadQuota,
}

impl Residency {
    /// Makes a residency of frames of which none has a page.
    pub(crate) fn new(frames: Frames) -> Result<Self> {
        let (present, most) = (frames.size.frames(), frames.size.most() as usize);
        Ok(Self {
            table: PageTable::new(present as usize, most)?,
            replacement: Replacement::new(present as usize, most)?,
            findings: Findings::default(),
            read_ahead_quota: ReadAheadQuota::new(present),
            frames: FramesHandle::new(frames),
        })
    }

    /// Returns the bytes that the pool takes beside the pages.
    pub(crate) fn overhead(&self) -> usize {
        let parts = self.table.memory() + self.replacement.memory() + self.read_ahead_quota.memory();
        self.frames.overhead() + parts
    }
}

/// Gives access to all that its frames can do, so that callers name one thing.
impl Deref for Residency {
    type Target = FramesHandle;

    #[inline]
    fn deref(&self) -> &FramesHandle {
        &self.frames
    }
}
