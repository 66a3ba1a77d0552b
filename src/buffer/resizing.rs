//! How frames come into service and go out of it, while other threads work with the other frames.
//!
//! Frames come and go at the end of their numbers. A frame that is not in service is *retired*: it holds no page, no queue of the
//! replacement has it, and it stays CLAIMED, so no thread gets it whatever list still names it. (One that never served was not even
//! touched.) Below the end of a pool that shrinks there are frames that are *to go*: their pages are found, used and written as before,
//! but they get no new ones.
//!
//! ```text
//!                 frames that serve            frames to go          retired
//!   0 ──────────────────────────────── frames ───────────── extent ─────────────── most
//! ```
//!
//! Invariants: 1. a frame with a page, a pin or an I/O is below the [`extent`](super::frame::size::Size::extent), which is raised before
//! the first frame behind it is handed out, and lowered when the last one is retired; 2. the memory of a frame that is not retired
//! is there, and registered. One thread at a time changes the size. Lock order: as in [`residency`](super::residency).

use crate::{
    buffer::{
        frame::state::State,
        residency::{ClaimedFrame, Residency},
    },
    id::FrameNo,
};

/// The frames that are to go, owned by one thread. Dropped before all are retired, it puts them back into service.
pub(crate) struct Retirement<'a> {
    pool: &'a Residency,
    /// How many frames are to stay.
    frames: u32,
    /// The last first.
    left: Vec<FrameNo>,
    retired: Vec<FrameNo>,
}

impl Residency {
    pub(super) fn serves(&self, no: FrameNo) -> bool {
        no.0 < self.size.frames()
    }

    /// Brings more frames into service. Their memory is there, and registered.
    pub(crate) fn call_up(&self, frames: u32) {
        let before = self.size.extent();
        for no in before..frames {
            // Frames that served before are claimed since they were retired.
            let _ = self.frame(FrameNo(no)).state.try_update(State::claim);
        }
        self.size.extend(frames);
        self.keep_to(frames);
        self.hand_out((before..frames).rev().map(FrameNo));
    }

    fn keep_to(&self, frames: u32) {
        self.size.keep_to(frames);
        self.replacement.resize(frames as usize);
        self.read_ahead_quota.resize(frames);
    }

    /// Frees claimed frames, for threads that need one. Those that come last are taken first, so the last by number come first.
    fn hand_out(&self, frames: impl Iterator<Item = FrameNo>) {
        frames.for_each(|no| drop(ClaimedFrame::new(self, no)));
    }
}

impl<'a> Retirement<'a> {
    pub(crate) fn begin(pool: &'a Residency, frames: u32) -> Self {
        pool.keep_to(frames);
        let left = (frames..pool.size.extent()).rev().map(FrameNo).collect();
        Self { pool, frames, left, retired: Vec::new() }
    }

    /// Retires the frames that are idle and have no changes. Returns how many that were.
    pub(crate) fn retire_idle(&mut self) -> usize {
        let before = self.retired.len();
        let Self { pool, left, retired, .. } = self;
        // Free or not, no other thread has them any more.
        left.retain(|&no| {
            let is_had = pool.claim_counted(no, State::claim);
            if is_had {
                let claimed = pool.claimed(no);
                let given_back = seeded!("retired_frame_given_back");
                retired.push(if given_back { claimed.frame_no() } else { claimed.keep() });
            }
            !is_had
        });
        retired.len() - before
    }

    pub(crate) fn left(&self) -> &[FrameNo] {
        &self.left
    }

    /// Ends the retirement: all are retired, and no thread uses their memory.
    pub(crate) fn complete(self) {
        assert!(self.left.is_empty(), "{} frames are still in use", self.left.len());
        self.pool.size.end_at(self.frames);
    }
}

impl Drop for Retirement<'_> {
    fn drop(&mut self) {
        let extent = self.pool.size.extent();
        if extent > self.frames {
            self.pool.keep_to(extent);
            self.pool.hand_out(self.retired.drain(..));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{
        frame::{latch::Latch, pin::Pin},
        small_pools::{page, read_into, resizable_pool},
    };

    fn pool_of(frames: u32, most: u32) -> Residency {
        resizable_pool(frames, most, most as usize)
    }

    fn read(pool: &Residency, block: u32) -> Option<Pin> {
        read_into(pool, page(block), || {})
    }

    fn resident(pool: &Residency) -> Vec<u32> {
        pool.frames.iter().filter_map(|(_, frame)| frame.glance()).map(|(page, _)| page.block.0).collect()
    }

    /// Shrinks a pool in which the frames that go are unused.
    fn shrink(pool: &Residency, frames: u32) {
        let mut retirement = Retirement::begin(pool, frames);
        retirement.retire_idle();
        retirement.complete();
    }

    #[test]
    fn frames_that_come_are_taken_in_their_order_and_those_that_go_are_never_taken() {
        let pool = pool_of(2, 5);
        (0..2).for_each(|block| drop(read(&pool, block)));
        pool.call_up(5);
        (2..5).for_each(|block| drop(read(&pool, block)));
        assert_eq!(resident(&pool), [0, 1, 2, 3, 4]);
        shrink(&pool, 1);
        assert_eq!((pool.size.frames(), resident(&pool)), (1, vec![0]));
        assert_eq!(pool.faults(), Vec::<String>::new());
        (5..9).for_each(|block| drop(read(&pool, block)));
        assert_eq!(resident(&pool), [8]);
        pool.call_up(5);
        (10..14).for_each(|block| drop(read(&pool, block)));
        assert_eq!(resident(&pool), [8, 10, 11, 12, 13]);
        assert_eq!(pool.faults(), Vec::<String>::new());
    }

    #[test]
    fn a_frame_that_is_to_go_keeps_its_page_but_gets_no_other() {
        let pool = pool_of(3, 4);
        let pins: Vec<_> = (0..3).map(|block| read(&pool, block).unwrap()).collect();
        let mut retirement = Retirement::begin(&pool, 1);
        assert_eq!((retirement.retire_idle(), retirement.left()), (0, &[2, 1].map(FrameNo)[..]));
        assert!(pool.lookup(page(1)).is_ok(), "it is found as before");
        drop(pins);
        // Whatever names it: it was set aside before it was to go, or kept in a ring.
        assert!(pool.frame(FrameNo(1)).state.try_update(State::forget_uses).is_ok());
        assert!(pool.set_aside(FrameNo(1)) && pool.set_aside(FrameNo(2)));
        let taken = read(&pool, 7).unwrap();
        assert_eq!(taken.frame_no(), FrameNo(0));
        assert!(read(&pool, 8).is_none());
        assert_eq!((retirement.retire_idle(), retirement.left()), (2, &[][..]));
        retirement.complete();
        assert_eq!(resident(&pool), [7]);
    }

    #[test]
    fn frames_that_cannot_go_are_put_back_with_all_they_had() {
        let pool = pool_of(3, 3);
        let pins: Vec<_> = (0..3).map(|block| read(&pool, block).unwrap()).collect();
        assert!(pins[1].try_latch(Latch::Exclusive));
        pins[1].unlatch_exclusive(true);
        let mut retirement = Retirement::begin(&pool, 1);
        drop(pins);
        assert_eq!((retirement.retire_idle(), retirement.left()), (1, &[FrameNo(1)][..]), "it is dirty");
        drop(retirement);
        assert_eq!(pool.size.frames(), 3);
        assert_eq!(pool.find(page(1), State::is_idle_dirty), Some(FrameNo(1)));
        assert_eq!(read(&pool, 5).unwrap().frame_no(), FrameNo(2), "what was retired is free");
        assert_eq!(pool.faults(), Vec::<String>::new());
    }

    #[test]
    fn a_frame_that_is_given_back_after_it_was_to_go_does_not_come_back() {
        let pool = pool_of(2, 2);
        (0..2).for_each(|block| drop(read(&pool, block)));
        let late = pool.claim(FrameNo(1)).unwrap();
        let mut retirement = Retirement::begin(&pool, 1);
        assert_eq!(retirement.retire_idle(), 0);
        drop(late);
        assert_eq!(retirement.retire_idle(), 1);
        pool.replacement.release(FrameNo(1), || ());
        pool.replacement.renew(FrameNo(1), true, |no| pool.frame(no));
        retirement.complete();
        assert_eq!((0..4).map(|block| read(&pool, block).unwrap().frame_no().0).max(), Some(0));
    }
}
