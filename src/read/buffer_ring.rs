//! A small ring of frames that a bulk read uses over and over, so that it does not sweep all other pages out.
//!
//! The idea is PostgreSQL's access strategies (`freelist.c`). The ring holds numbers, no rights: a frame in it is like any
//! other, may be found and used by all, and may be taken by any sweep. When its turn comes again it is reused only if
//! it looks as if only the bulk read had a use for it: unpinned, clean, not used since and not expected to be used.
//! Otherwise a victim of the sweep takes its place in the ring. A page that is read so is in the small queue like any other, but is
//! not remembered when its frame is reused.
//!
//! A dirty frame is not reused, as PostgreSQL's `BAS_BULKWRITE` does it: there the scan waits for its own writes. Here nothing that reads
//! ahead waits, so the scan would be past the ring long before a batch of it is written; it takes victims instead.

use crate::{
    buffer::{
        claim::{CLAIMS_MAX, ClaimedFrames},
        residency::Residency,
    },
    id::FrameNo,
};

pub(crate) struct BufferRing {
    frames: Vec<FrameNo>,
    size: usize,
    /// The place whose turn it is.
    hand: usize,
}

impl BufferRing {
    /// An empty ring that grows to `size` frames.
    pub(crate) fn new(size: usize) -> Self {
        Self { frames: Vec::with_capacity(size), size, hand: 0 }
    }

    /// Claims the frames whose turn it is, up to so many, as far as they can be reused; else their successors are to be
    /// [kept](Self::keep).
    pub(crate) fn claim(&mut self, pool: &Residency, wanted: usize, claimed: &mut ClaimedFrames<'_>) {
        if self.frames.len() < self.size {
            return;
        }
        let most = wanted.min(CLAIMS_MAX).min(self.size);
        let in_turn = (0..most).map(|at| self.frames[(self.hand + at) % self.size]);
        let taken = pool.take_back_each(in_turn, claimed);
        self.hand = (self.hand + taken) % self.size;
    }

    /// Returns for how many victims there is a place now.
    pub(crate) fn vacancies(&self) -> usize {
        (self.size - self.frames.len()).max(1)
    }

    /// Takes a frame in, at the place whose turn it is.
    pub(crate) fn keep(&mut self, no: FrameNo) {
        if self.frames.len() < self.size {
            self.frames.push(no);
            return;
        }
        self.frames[self.hand] = no;
        self.hand = (self.hand + 1) % self.size;
    }
}
