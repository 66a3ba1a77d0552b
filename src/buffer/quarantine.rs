//! Dirty pages that are held back together until it is known whether their changes are still wanted.
//!
//! A thread that cuts a file throws changes away, but only if all of the cut can be made: a single page that is pinned stops it. So
//! the pages are first taken out of reach one by one, and keep all they have: frame, bytes, changes, and their entries in the table.
//! Then all changes are thrown away at once, or every page is put back as it was. A thread or task that needs to know which
//! [waits](Residency::wait_until_settled). A thread that seizes first ensures that no new page comes in, until the seizure has ended.

use crate::{
    buffer::{
        frame::{state::State, waiters::want::Want},
        residency::Residency,
    },
    id::{FrameNo, PageId},
    sync::waking::Wakers,
};

/// The pages held back by one thread. Put back when dropped.
pub(crate) struct Seizure<'a> {
    pool: &'a Residency,
    frames: Vec<FrameNo>,
}

impl<'a> Seizure<'a> {
    pub(crate) fn new(pool: &'a Residency) -> Self {
        Self { pool, frames: Vec::new() }
    }

    /// Takes the page out of reach, if it is in this frame, dirty, and idle. Returns whether it was.
    pub(crate) fn seize(&mut self, no: FrameNo, page: PageId) -> bool {
        let frame = self.pool.frame(no);
        if frame.state.try_update(State::seize).is_err() {
            return false;
        }
        // From here on the frame keeps its page.
        let is_it = frame.page() == page;
        if is_it {
            self.frames.push(no);
        } else {
            self.settle(no, State::put_back, &mut Wakers::new());
        }
        is_it
    }

    pub(crate) fn discard(mut self) {
        let mut wakers = Wakers::new();
        for no in std::mem::take(&mut self.frames) {
            self.pool.older_positions.remove(&no);
            self.pool.unlogged.remove(&no);
            self.settle(no, State::discard_changes, &mut wakers);
            self.pool.note_clean(self.pool.frame(no).page().file, 1);
            drop(self.pool.claimed(no));
        }
    }

    fn settle(&self, no: FrameNo, settle: fn(State) -> State, wakers: &mut Wakers) {
        let frame = self.pool.frame(no);
        if frame.state.update(settle).has_io_waiters() {
            self.pool.waiters.io_done(frame, &Ok(()), wakers);
        }
    }
}

impl Drop for Seizure<'_> {
    fn drop(&mut self) {
        let mut wakers = Wakers::new();
        self.frames.iter().for_each(|&no| self.settle(no, State::put_back, &mut wakers));
    }
}

impl Residency {
    pub(crate) fn wait_until_settled(&self, no: FrameNo) {
        self.waiters.wait(self.frame(no), Want::Settled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{
        frame::latch::Latch,
        lookup::NotPinned,
        residency::NotMapped,
        small_pools::{fill, page, pool_of, pool_with_room_for_ready, read},
    };

    /// Makes a pool whose first frames have these blocks, dirty.
    fn pool_with(frames: u32, blocks: u32) -> (Residency, Vec<FrameNo>) {
        let pool = pool_of(frames);
        let dirty = |block| {
            let own = read(&pool, page(block));
            assert!(own.try_latch(Latch::Exclusive));
            own.unlatch_exclusive(true);
            own.frame_no()
        };
        let frames = (0..blocks).map(dirty).collect();
        (pool, frames)
    }

    #[test]
    fn a_page_that_is_put_back_is_found_as_dirty_as_before_and_got_no_second_frame_meanwhile() {
        let (pool, frames) = pool_with(3, 2);
        let mut seizure = Seizure::new(&pool);
        assert!(seizure.seize(frames[0], page(0)) && seizure.seize(frames[1], page(1)));
        assert!(matches!(pool.lookup(page(0)), Err(NotPinned::Gone)));
        let claimed = pool.take_clean().unwrap();
        assert!(matches!(pool.map(claimed, page(0), false), Err(NotMapped::Seized)));
        drop(seizure);
        for (no, block) in frames.into_iter().zip(0..) {
            assert_eq!(pool.find(page(block), State::is_idle_dirty), Some(no));
        }
    }

    #[test]
    fn a_page_whose_changes_are_discarded_leaves_its_frame_free() {
        let (pool, frames) = pool_with(1, 1);
        let mut seizure = Seizure::new(&pool);
        assert!(seizure.seize(frames[0], page(0)));
        seizure.discard();
        assert!(!pool.is_mapped(page(0)));
        let claimed = pool.take_clean().unwrap();
        assert!(pool.map(claimed, page(0), false).is_ok());
    }

    /// Otherwise the list of those that are ready would give away a frame that the queue of free ones has as well.
    #[test]
    fn a_page_that_was_ready_and_is_discarded_leaves_its_frame_free_and_no_longer_ready() {
        let pool = pool_with_room_for_ready(2, 2);
        let no = fill(&pool, page(0));
        assert!(pool.set_aside(no));
        let changing = pool.pin_unused(no, page(0)).unwrap();
        assert!(changing.try_latch(Latch::Exclusive));
        changing.unlatch_exclusive(true);
        drop(changing);
        let mut seizure = Seizure::new(&pool);
        assert!(seizure.seize(no, page(0)));
        seizure.discard();
        let all: Vec<_> = (0..2).map(|_| pool.take_clean().unwrap()).collect();
        drop(all);
        assert_eq!((pool.free_frames(), pool.faults()), (2, Vec::new()));
    }

    #[test]
    fn the_page_of_another_is_left_alone() {
        let (pool, frames) = pool_with(1, 1);
        let mut seizure = Seizure::new(&pool);
        assert!(!seizure.seize(frames[0], page(7)));
        assert_eq!(pool.find(page(0), State::is_idle_dirty), Some(frames[0]));
        let pin = pool.pin_unused(frames[0], page(0)).unwrap();
        assert!(!seizure.seize(frames[0], page(0)));
        drop(pin);
    }

    #[test]
    fn a_waiter_for_a_seized_page_is_woken_whatever_becomes_of_it() {
        for is_discarded in [false, true] {
            let (pool, frames) = pool_with(1, 1);
            let mut seizure = Seizure::new(&pool);
            assert!(seizure.seize(frames[0], page(0)));
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| pool.wait_until_settled(frames[0]));
                while !pool.frame(frames[0]).state.load().has_io_waiters() {
                    std::thread::yield_now();
                }
                assert!(!waiting.is_finished());
                if is_discarded {
                    seizure.discard();
                } else {
                    drop(seizure);
                }
                waiting.join().unwrap();
            });
            assert!(!pool.frame(frames[0]).state.load().has_io_waiters());
        }
    }
}
