//! Claims: frames that one thread owns, on their way from one page to the next.
//!
//! Claim and unmap are the first two steps of a [replacement](super::residency). No thread can pin a claimed frame. One that has
//! lost its entry too is a [`ClaimedFrame`]. It gets its next page by [`map`](super::map), or becomes free when it is dropped.

use std::{fmt, mem};

use smallvec::SmallVec;

use crate::{
    buffer::{
        frame::state::{Phase, State},
        page_table::are_in_one_cluster,
        residency::Residency,
    },
    id::FrameNo,
    observe::Counter,
};

/// The most claims that are taken together.
pub(crate) const CLAIMS_MAX: usize = 32;

impl Residency {
    /// Takes this very frame from its page, if it is idle and clean, whatever its usage count. A free frame is not taken so: it
    /// is for the thread that takes the next free one.
    pub(crate) fn claim(&self, no: FrameNo) -> Option<ClaimedFrame<'_>> {
        self.try_claim(no, State::claim).then(|| self.claimed(no))
    }

    /// Claims this frame, if `claim` allows it. Its page is to be [evicted](Residency::evict_each) next.
    pub(super) fn try_claim(&self, no: FrameNo, claim: fn(State) -> Option<State>) -> bool {
        let claim = |state: State| if state.phase() == Phase::Free { None } else { claim(state) };
        self.claim_counted(no, claim)
    }

    /// Makes a value of the right to a frame that was just claimed: its page has lost it.
    pub(super) fn claimed(&self, no: FrameNo) -> ClaimedFrame<'_> {
        self.evict_each(&[no]);
        ClaimedFrame::new(self, no)
    }

    /// Takes the pages of frames that were just claimed out of the table, those of a cluster together.
    pub(super) fn evict_each(&self, frames: &[FrameNo]) {
        for &no in frames {
            self.drop_shadow(no);
        }
        self.counters.add(Counter::Evictions, frames.len() as u64);
        let page = |no: &FrameNo| self.frame(*no).page();
        let clusters = || frames.chunk_by(|one, next| are_in_one_cluster(page(one), page(next)));
        // The lines of all of them are loaded side by side: a removal, which locks, waits for its own.
        clusters().for_each(|frames| self.table.prefetch(page(&frames[0])));
        for frames in clusters() {
            self.table.lock(page(&frames[0])).remove(frames.iter().map(|no| (page(no), *no)));
        }
    }
}

/// A frame that one thread owns between two pages: no table leads to it. Given back, free, when dropped.
pub(crate) struct ClaimedFrame<'a> {
    pool: &'a Residency,
    frame: FrameNo,
}

impl<'a> ClaimedFrame<'a> {
    pub(crate) fn new(pool: &'a Residency, frame: FrameNo) -> Self {
        debug_assert_eq!(pool.frame(frame).state.load().phase(), Phase::Claimed);
        Self { pool, frame }
    }

    pub(crate) fn frame_no(&self) -> FrameNo {
        self.frame
    }

    /// Takes the frame, which has no page, out of service: it stays claimed until it is [called up](crate::buffer::resizing).
    pub(crate) fn retire(self) -> FrameNo {
        let no = self.frame;
        if !seeded!("retired_frame_given_back") {
            mem::forget(self);
        }
        no
    }

    /// Begins the read of the frame's next page. Two pins, the read's and one more, are the caller's to adopt.
    pub(crate) fn into_read(self, read_only: bool) {
        let begin = |s: State| s.begin_read(read_only).pin_again();
        let begun = self.pool.frame(self.frame).state.try_update(begin);
        debug_assert!(begun.is_ok(), "a frame with one pin has room for another");
        mem::forget(self);
    }
}

impl Drop for ClaimedFrame<'_> {
    fn drop(&mut self) {
        let let_go = || {
            self.pool.frame(self.frame).state.update(State::give_back);
        };
        self.pool.replacement.release(self.frame, let_go);
        if self.pool.frame_waiters.any() {
            self.pool.frame_waiters.wake_one();
        }
    }
}

impl fmt::Debug for ClaimedFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "claimed frame {}", self.frame.0)
    }
}

/// Frames that were claimed together, taken out in their order. Those that are left are given back when this is dropped.
pub(crate) struct ClaimedFrames<'a> {
    pool: &'a Residency,
    frames: SmallVec<[FrameNo; CLAIMS_MAX]>,
    /// How many of the first have been taken out.
    taken: usize,
}

impl<'a> ClaimedFrames<'a> {
    pub(crate) fn new(pool: &'a Residency) -> Self {
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

    /// Returns the numbers of those that are left.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = FrameNo> {
        self.frames[self.taken..].iter().copied()
    }

    /// Returns the number of the next.
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
    /// Frees the frames, the last first, so that the next thread that takes free frames gets them in this order.
    fn drop(&mut self) {
        while self.frames.len() > self.taken {
            drop(self.frames.pop().map(|frame| ClaimedFrame::new(self.pool, frame)));
        }
    }
}
