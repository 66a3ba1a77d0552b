//! What is kept beside each page: its state word and its name, and two log positions.
//!
//! State word and name are in an array of their own, 16 bytes a frame. A hit pins the frame and then checks by the name that it
//! has the right page, in the same cache line, which four frames share. Only the claimant of the frame writes the name, before
//! the state word leaves CLAIMED, so it is stable while a pin is held. The log positions are written under the exclusive latch.

#![allow(unsafe_code)]

use crate::{
    buffer::{
        frame::state::{AtomicState, Phase, State},
        memory::huge_slice::{HugeSlice, Zeroed},
    },
    error::Result,
    id::{FrameNo, Lsn, PageId},
    sync::atomic::{AtomicU64, Ordering, fence},
};

#[derive(Copy, Clone, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) no: FrameNo,
    pub(crate) state: &'a AtomicState,
    page: &'a AtomicU64,
    header: &'a FrameHeader,
}

/// What a hit reads.
#[derive(Debug, Default)]
pub(crate) struct StateAndName {
    state: AtomicState,
    page: AtomicU64,
}

/// What a hit does not read.
#[derive(Debug, Default)]
pub(crate) struct FrameHeader {
    /// Where the last record of the page ends.
    page_lsn: AtomicU64,
    /// One more than where the first record of the dirty changes begins, since a log may begin at 0. 0 where there is none.
    rec_lsn: AtomicU64,
}

// SAFETY: it is made of atomics, which have the bytes of their integers, and all of them begin as zero.
unsafe impl Zeroed for FrameHeader {}

// SAFETY: as above, and a free frame's state is zero.
unsafe impl Zeroed for StateAndName {}

pub(crate) struct FrameArrays {
    states: HugeSlice<StateAndName>,
    headers: HugeSlice<FrameHeader>,
}

impl FrameArrays {
    pub(crate) const BYTES_PER_FRAME: usize = size_of::<StateAndName>() + size_of::<FrameHeader>();

    /// Makes `most` free frames, of which the first `present` have their memory from the start.
    pub(crate) fn new(present: usize, most: usize) -> Result<Self> {
        Ok(Self { states: HugeSlice::zeroed(most, present)?, headers: HugeSlice::zeroed(most, present)? })
    }

    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    #[inline]
    pub(crate) fn get(&self, no: FrameNo) -> Frame<'_> {
        if no.index() >= self.states.len() {
            no_such_frame(no);
        }
        // SAFETY: there is such a state, and there are as many headers. One that is not looked at costs nothing so.
        unsafe { self.get_unchecked(no) }
    }

    #[inline]
    pub(crate) fn state(&self, no: FrameNo) -> &AtomicState {
        &self.states[no.index()].state
    }

    /// Returns the frame without checking that it exists.
    ///
    /// # Safety
    /// It exists.
    #[inline]
    pub(crate) unsafe fn get_unchecked(&self, no: FrameNo) -> Frame<'_> {
        // SAFETY: the caller's.
        let StateAndName { state, page } = unsafe { self.states.get_unchecked(no.index()) };
        // SAFETY: as above.
        let header = unsafe { self.headers.get_unchecked(no.index()) };
        Frame { no, state, page, header }
    }
}

/// Panics, in a function of its own, so that a caller that asks for a frame needs no stack for this.
#[cold]
fn no_such_frame(no: FrameNo) -> ! {
    panic!("no frame has the number {}", no.0);
}

impl Frame<'_> {
    /// Returns the page that the frame holds, or held last: for a caller that has a pin, or checks the state as well.
    #[inline]
    pub(crate) fn page(self) -> PageId {
        PageId::from_word(self.page.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn is_of(self, page: PageId) -> bool {
        self.page.load(Ordering::Relaxed) == page.to_word()
    }

    /// Returns page and state of one moment, for a caller without a pin; `None` where the frame has no page. If the frame changes
    /// its page meanwhile, one of its pages is shown, with a state that this page had, or one that was there between two stays of it.
    pub(crate) fn glance(self) -> Option<(PageId, State)> {
        loop {
            let before = self.page();
            // Pairs with the fence of the thread that named the page: the state is none from before that.
            fence(Ordering::Acquire);
            let state = self.state.load();
            if matches!(state.phase(), Phase::Free | Phase::Claimed) {
                return None;
            }
            // Nor is the page now one from before that state, whose load acquires. It changes only while the frame is claimed, so
            // each further look follows upon an I/O.
            if self.page() == before {
                return Some((before, state));
            }
        }
    }

    /// Names the page that the claimed frame is to hold.
    pub(crate) fn assign(self, page: PageId) {
        // A thread that sees the new page without a pin then sees that the frame was claimed: the claim's own release is not
        // enough, since later stores may be seen before it.
        fence(Ordering::Release);
        self.page.store(page.to_word(), Ordering::Relaxed);
        self.header.page_lsn.store(Lsn::UNLOGGED.0, Ordering::Relaxed);
        self.header.rec_lsn.store(0, Ordering::Relaxed);
    }

    /// Returns the highest log position whose change is in the page, as far as this pool was told.
    pub(crate) fn page_lsn(self) -> Lsn {
        Lsn(self.header.page_lsn.load(Ordering::Relaxed))
    }

    /// Returns where the first record begins of the changes that are dirty, or if there are none, of those that are being written
    /// (then an older position may be [set aside](super::change)). `None` where none of them has a record.
    pub(crate) fn rec_lsn(self) -> Option<Lsn> {
        // Pairs with the release of the thread that changed it: an older position that was set aside for it is seen.
        self.header.rec_lsn.load(Ordering::Acquire).checked_sub(1).map(Lsn)
    }

    /// Raises the page LSN to `lsn`, under the exclusive latch: the page carries the change of `lsn`.
    pub(crate) fn raise_lsn(self, lsn: Lsn) {
        self.set_lsn(self.page_lsn().max(lsn));
    }

    /// Sets the page LSN, under the exclusive latch, or as the end of a read: the page carries no later change.
    pub(crate) fn set_lsn(self, lsn: Lsn) {
        self.header.page_lsn.store(lsn.0, Ordering::Relaxed);
    }

    /// Notes a change, under the exclusive latch, before it is made known: `first` is where its first record begins, if it has
    /// one. While older changes are dirty their position stays, since it is the lower one.
    pub(crate) fn note_change(self, first: Option<Lsn>) {
        let is_dirty = self.state.load().is_dirty();
        if !is_dirty || self.rec_lsn().is_none() || seeded!("redo_from_the_last_change") {
            let one_higher = first.map_or(0, |Lsn(begin)| begin.saturating_add(1));
            self.header.rec_lsn.store(one_higher, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(loom))] // Whose atomics are larger.
    #[test]
    fn a_frame_is_small_enough_for_the_memory_goal() {
        assert_eq!(FrameArrays::BYTES_PER_FRAME, 32);
    }

    #[test]
    fn the_recovery_position_is_that_of_the_oldest_change_not_yet_on_disk() {
        let frames = FrameArrays::new(1, 1).unwrap();
        let frame = frames.get(FrameNo(0));
        frame.state.update(|s| s.claim().unwrap().begin_read(false).end_read(true));
        let change = |lsn| {
            frame.note_change(Some(Lsn(lsn)));
            frame.raise_lsn(Lsn(lsn));
            frame.state.update(|s| s.latch_exclusive().unwrap().unlatch_exclusive(true));
        };
        change(7);
        change(9);
        assert_eq!((frame.rec_lsn(), frame.page_lsn()), (Some(Lsn(7)), Lsn(9)));
        frame.state.update(|s| s.begin_write().unwrap());
        assert_eq!(frame.rec_lsn(), Some(Lsn(7)), "on its way");
        change(11);
        change(12);
        assert_eq!(frame.rec_lsn(), Some(Lsn(11)), "the first one that the write does not cover");
        frame.state.update(|s| s.end_write(true).begin_write().unwrap().end_write(true));
        change(13);
        assert_eq!((frame.rec_lsn(), frame.page_lsn()), (Some(Lsn(13)), Lsn(13)));
        frame.state.update(|s| s.begin_write().unwrap().end_write(true));
        frame.note_change(Some(Lsn(0)));
        assert_eq!(frame.rec_lsn(), Some(Lsn(0)), "a log may begin at 0");
        frame.note_change(None);
        assert_eq!(frame.rec_lsn(), None, "a change without a record");
    }
}

/// A frame that changes its page while another thread glances at it, under every schedule.
#[cfg(all(test, shuttle))]
mod model_check {
    use super::*;
    use crate::{id::FileId, sync::Arc};

    #[test]
    fn a_glance_never_shows_a_page_with_the_state_of_another() {
        let page = |block| PageId::new(FileId(0), block);
        let replace = move |frame: Frame<'_>, block: u32| {
            frame.state.update(|s| s.claim().unwrap());
            frame.assign(page(block));
            // Odd pages are read-only.
            frame.state.update(|s| s.begin_read(block % 2 == 1).end_read(true).unpin());
        };
        shuttle::check_random(
            move || {
                let frames = Arc::new(FrameArrays::new(1, 1).unwrap());
                let owner = shuttle::thread::spawn({
                    let frames = Arc::clone(&frames);
                    move || (1..4).for_each(|block| replace(frames.get(FrameNo(0)), block))
                });
                let frame = frames.get(FrameNo(0));
                for _ in 0..2 {
                    if let Some((page, state)) = frame.glance() {
                        assert_eq!(page.block.0 % 2 == 1, state.is_read_only(), "{page}: {state:?}");
                    }
                }
                owner.join().unwrap();
                assert_eq!(frame.glance().unwrap().0, page(3));
            },
            5000,
        );
    }
}
