//! A small ring of frames that a bulk read uses over and over, so that it does not evict all other pages (PostgreSQL: access
//! strategies, `freelist.c`).
//!
//! The ring has numbers of frames, and no rights to them: a frame in it is like any other, may be found and used by all threads,
//! and may be taken by any sweep. When its turn comes again the bulk read reuses it only if no other thread seems to use it:
//! unpinned, clean, not used since and not expected to be used. Otherwise a victim of the sweep takes its place in the ring. A page
//! that a bulk read brings in is in the small queue like any other, but leaves no ghost when its frame is reused.
//!
//! A dirty frame is not reused, as `BAS_BULKWRITE` does by waiting for its write: nothing that reads ahead waits here, and the scan
//! would be past the ring long before a batch of it is written.

use crate::{
    buffer::residency::{CLAIMS_MAX, ClaimedFrames, Residency},
    id::FrameNo,
};

pub(crate) struct BufferRing {
    frames: Vec<FrameNo>,
    size: usize,
    /// The place whose turn it is.
    hand: usize,
}

impl BufferRing {
    pub(crate) fn new(size: usize) -> Self {
        Self { frames: Vec::with_capacity(size), size, hand: 0 }
    }

    /// Claims the frames whose turn it is, at most `wanted`, as far as they can be reused. [Keep](Self::keep) other frames in place
    /// of the ones that cannot.
    pub(crate) fn claim<'a>(&mut self, pool: &'a Residency, wanted: usize, claimed: &mut ClaimedFrames<'a>) {
        if self.frames.len() < self.size {
            return;
        }
        let most = wanted.min(CLAIMS_MAX).min(self.size);
        let in_turn = (0..most).map(|at| self.frames[(self.hand + at) % self.size]);
        let taken = pool.take_back_each(in_turn, claimed);
        self.hand = (self.hand + taken) % self.size;
    }

    /// Returns the number of victims for which there is a place now.
    pub(crate) fn vacancies(&self) -> usize {
        (self.size - self.frames.len()).max(1)
    }

    pub(crate) fn keep(&mut self, no: FrameNo) {
        if self.frames.len() < self.size {
            self.frames.push(no);
            return;
        }
        self.frames[self.hand] = no;
        self.hand = (self.hand + 1) % self.size;
    }
}
