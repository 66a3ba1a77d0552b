//! All frames of a pool: their memory, and all that a pin or a latch needs.
//!
//! [`Frames`] knows frames by their numbers. The [residency](crate::buffer::residency), which owns them, decides which page is in
//! which frame, and which page comes next; nothing here knows it. Pins keep the frames alive beyond it (see [`pin`](super::pin)).
//!
//! Lock order: a shard of the waiters, then state words. All other locks here are leaves.

use std::path::Path;

#[cfg(test)]
use crate::sync::uncontrolled;
use crate::{
    buffer::{
        frame::{
            admission::Admission,
            clean_list::CleanList,
            copy_room::CopyRoom,
            dirty_counts::DirtyCounts,
            frame_waiters::FrameWaiters,
            header::{Frame, FrameArrays},
            page_lsn::PageLsn,
            shadow::pages::ShadowPages,
            size::Size,
            slots::ReaderSlots,
            sparse_map::SparseMap,
            state::{AtomicState, State},
            ticker::Ticker,
            unlogged::UnloggedChanges,
            waiters::Waiters,
        },
        memory::{arena::Arena, prefetch::prefetch, process::Process},
    },
    error::{Error, Result},
    id::{FileId, FrameNo, Lsn, PageId, PageSize},
    observe::Counters,
    sync::{Arc, Mutex, waking::Wakers},
};

pub(crate) struct Frames {
    pub(super) arrays: FrameArrays,
    pub(crate) arena: Arena,
    pub(crate) page_size: PageSize,
    /// Where the first frame's bytes start in the arena; before them is room for copies.
    first_frame: usize,
    pub(crate) size: Size,
    pub(crate) process: Process,
    pub(crate) dirty_counts: DirtyCounts,
    pub(crate) slots: ReaderSlots,
    /// Waiters for a latch of one frame, or for the end of its I/O.
    pub(crate) waiters: Waiters,
    pub(crate) frame_waiters: FrameWaiters,
    /// Callers whose file has its [share](super::dirty_counts) of the frames.
    pub(crate) held_back: FrameWaiters,
    pub(crate) admission: Admission,
    pub(super) ticker: Mutex<Ticker>,
    pub(crate) clean_list: CleanList,
    pub(crate) copy_room: CopyRoom,
    pub(crate) shadow_pages: ShadowPages,
    /// Log positions of [changes that are being written](super::change), of pages that were changed again meanwhile.
    pub(crate) older_positions: SparseMap<FrameNo, Lsn>,
    /// What becomes of changes without a log position; nothing in a pool without a log.
    pub(crate) unlogged_rule: Option<UnloggedChanges>,
    /// Pages with such changes that must not be written. One is refused under its exclusive latch, and looked for under a share
    /// latch: so what a write-out is told stands until it has begun the write.
    pub(crate) unlogged: SparseMap<FrameNo, ()>,
    /// The paths of the open files, kept up to date by the file table. For errors: a pin knows its page by the number of its file
    /// alone, and a number says nothing to a user.
    pub(crate) file_paths: Arc<SparseMap<FileId, Arc<Path>>>,
    /// Where pages keep their LSN, if the options say so.
    pub(crate) page_lsn: Option<PageLsn>,
    pub(crate) counters: Arc<Counters>,
    /// How many times all frames were looked at.
    #[cfg(test)]
    pub(crate) sweeps: uncontrolled::AtomicU64,
}

impl Frames {
    /// Takes all memory: room for `copies` of pages, the frames' pages, and address space for all frames that there may be.
    pub(crate) fn new(
        size: Size,
        page_size: PageSize,
        copies: usize,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        let (frames, most) = (size.frames() as usize, size.most() as usize);
        let with_copies = |frames| (copies + frames) * page_size.bytes();
        // A page is lent to the device, or copied for it.
        let lent = |frames| if copies == 0 { frames } else { 0 };
        Ok(Self {
            arrays: FrameArrays::new(frames, most)?,
            arena: Arena::new(with_copies(frames), with_copies(most))?,
            page_size,
            first_frame: copies * page_size.bytes(),
            size,
            process: Process::current()?,
            dirty_counts: DirtyCounts::new(),
            slots: ReaderSlots::new(),
            waiters: Waiters::new(),
            frame_waiters: FrameWaiters::default(),
            held_back: FrameWaiters::default(),
            admission: Admission::default(),
            ticker: Mutex::default(),
            clean_list: CleanList::new(0),
            copy_room: CopyRoom::new(copies),
            shadow_pages: ShadowPages::new(page_size, lent(frames), lent(most))?,
            older_positions: SparseMap::default(),
            unlogged_rule: None,
            unlogged: SparseMap::default(),
            file_paths: Arc::default(),
            page_lsn: None,
            counters,
            #[cfg(test)]
            sweeps: uncontrolled::AtomicU64::new(0),
        })
    }

    #[inline]
    pub(crate) fn frame(&self, no: FrameNo) -> Frame<'_> {
        self.arrays.get(no)
    }

    #[inline]
    pub(crate) fn state_of(&self, no: FrameNo) -> &AtomicState {
        self.arrays.state(no)
    }

    /// Returns the number, if a frame has it: it may come from another pool.
    #[inline]
    pub(crate) fn checked(&self, no: FrameNo) -> Option<FrameNo> {
        (no.index() < self.arrays.len() && self.process.is_current()).then_some(no)
    }

    /// Returns every frame with its number, those that are about to go included.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (FrameNo, Frame<'_>)> {
        #[cfg(test)]
        self.sweeps.fetch_add(1, uncontrolled::Ordering::Relaxed);
        (0..self.size.extent()).map(|no| (FrameNo(no), self.frame(FrameNo(no))))
    }

    /// Returns the bytes of memory for pages: those of all frames, and in a pool that can be resized, what is left of a step.
    pub(crate) fn page_memory(&self) -> usize {
        self.arena.present_bytes() - self.first_frame
    }

    pub(crate) fn chunks_for(&self, frames: u32) -> usize {
        self.arena.chunks_for(self.offset_of(FrameNo(frames)))
    }

    pub(crate) fn overhead(&self) -> usize {
        let (frames, copies) = (self.size.highest() as usize, self.first_frame);
        let parts = self.clean_list.memory() + self.shadow_pages.memory(frames) + self.dirty_counts.memory();
        frames * FrameArrays::BYTES_PER_FRAME + parts + copies
    }

    /// Returns the path of the file as it was given, if it is open.
    #[cold]
    pub(crate) fn path_of(&self, file: FileId) -> Option<Arc<Path>> {
        self.file_paths.get(&file)
    }

    #[inline]
    pub(crate) fn has_one_file_at_most(&self) -> bool {
        self.file_paths.len() <= 1
    }

    /// Returns the lowest position that is set aside. Ask after looking at the frames: what a frame no longer has is here, or on disk.
    pub(crate) fn lowest_older_position(&self) -> Option<Lsn> {
        self.older_positions.change(|positions| positions.values().min().copied())
    }

    pub(crate) fn too_many_pins(&self, page: PageId) -> Error {
        Error::TooManyPins { page, path: self.path_of(page.file) }
    }

    /// Has the processor load the frame's first bytes, which a caller that finds the page reads next, if the state allows it.
    #[inline(always)]
    pub(crate) fn prefetch_bytes(&self, no: FrameNo) {
        prefetch(self.arena.base().as_ptr().wrapping_add(self.offset_of(no)));
    }

    /// Returns where in the arena the frame is: there the device finds the page, for reading and for writing.
    #[inline]
    pub(crate) fn offset_of(&self, no: FrameNo) -> usize {
        self.first_frame + no.index() * self.page_size.bytes()
    }

    /// Sets this frame aside, if it is a victim, and clean, and there is room for one more. Returns whether it did.
    pub(crate) fn set_aside(&self, no: FrameNo) -> bool {
        let state = &self.frame(no).state;
        if state.try_update(State::make_ready).is_err() {
            return false;
        }
        let has_room = self.clean_list.push(no);
        if !has_room {
            state.update(State::no_longer_ready);
        }
        has_room
    }

    /// Sets a frame aside that was let go of while callers wait for one, or wakes the first in line. A dirty one is left to the background
    /// writer, if there is one: a waiter that was woken for it would lose its turn for nothing.
    #[cold]
    pub(super) fn hand_on(&self, no: FrameNo, wakers: &mut Wakers) {
        let is_set_aside = !seeded!("freed_frame_not_handed_on") && self.set_aside(no);
        let clean_list = &self.clean_list;
        if !is_set_aside && self.frame(no).state.load().is_dirty() && clean_list.is_kept() {
            // Otherwise the writer that is woken would believe that there is still nothing to find.
            self.frame_waiters.note_relief();
            clean_list.call();
        } else {
            self.frame_waiters.wake_one_with(wakers);
        }
    }
}
