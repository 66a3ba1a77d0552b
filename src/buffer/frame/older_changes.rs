//! Log positions of changes that are being written, of pages that were changed again meanwhile.
//!
//! A frame has one recLSN: the position of the first change that the disk does not have, also while that is written, since the write
//! may fail. A change of the page in that time begins anew: the frame takes the new position, and the older one is set aside here,
//! until a write of the page succeeds. Invariants:
//!
//! 1. the lowest of a frame's recLSN and what is set aside for it is no higher than the first change of the page that has not reached
//!    the disk. It is lower only if a write ends in the very moment in which a change sets its position aside, and until the next
//!    write of the page succeeds;
//! 2. a position is set aside only for a page that is dirty or becomes so, and goes with the page's next write that succeeds, or
//!    when the changes are thrown away. So there is none for a page that is clean.
//!
//! Lock order: the lock is a leaf, which no thread takes while nothing is set aside, but one that changes a page while it is written.

use std::collections::BTreeMap;

use crate::{
    id::{FrameNo, Lsn},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

#[derive(Default)]
pub(crate) struct OlderChanges {
    positions: Mutex<BTreeMap<FrameNo, Lsn>>,
    count: AtomicUsize,
}

impl OlderChanges {
    /// Keeps the frame's position, unless it has an older one already.
    pub(super) fn set_aside(&self, no: FrameNo, lsn: Lsn) {
        let mut positions = self.positions.lock();
        positions.entry(no).or_insert(lsn);
        self.count.store(positions.len(), Ordering::Relaxed);
    }

    /// Forgets the older changes of the page in this frame: they are on disk, or not wanted any more.
    #[inline]
    pub(crate) fn forget(&self, no: FrameNo) {
        // Positions that were set aside before this write began are seen here: the page's latch orders them.
        if self.count.load(Ordering::Relaxed) > 0 {
            let mut positions = self.positions.lock();
            positions.remove(&no);
            self.count.store(positions.len(), Ordering::Relaxed);
        }
    }

    /// Returns the lowest position of all. Ask after looking at the frames: what a frame no longer has is here, or on disk.
    pub(crate) fn lowest(&self) -> Option<Lsn> {
        self.positions.lock().values().copied().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{
        frame::{latch::Latch, pin::Pin},
        quarantine::Seizure,
        residency::Residency,
        small_pools::{page, pool_of, read},
    };

    fn pool_with_a_page() -> (Residency, Pin) {
        let pool = pool_of(1);
        let pin = read(&pool, page(0));
        (pool, pin)
    }

    fn change(pin: &Pin, lsn: u64) {
        pin.latch(Latch::Exclusive);
        pin.make_own();
        pin.note_change(Some(Lsn(lsn)));
        pin.unlatch_exclusive(true);
    }

    fn begin_write(pin: &Pin) -> Pin {
        pin.latch(Latch::Shared);
        assert!(pin.lend());
        pin.unlatch_shared();
        pin.again().unwrap()
    }

    /// Returns the position from which the log is needed for this page.
    fn needed_from(pin: &Pin) -> u64 {
        let own = pin.frame().rec_lsn();
        own.into_iter().chain(pin.frames().older_changes.lowest()).min().map_or(0, |lsn| lsn.0)
    }

    #[test]
    fn c8_the_log_is_needed_from_the_first_change_that_no_write_has_brought_to_disk() {
        let (_pool, pin) = pool_with_a_page();
        change(&pin, 7);
        change(&pin, 9);
        assert_eq!(needed_from(&pin), 7);
        let write = begin_write(&pin);
        assert_eq!(needed_from(&pin), 7, "on its way");
        change(&pin, 11);
        change(&pin, 12);
        assert_eq!(needed_from(&pin), 7, "the write may fail yet");
        write.end_write(true);
        assert_eq!(needed_from(&pin), 11);
        let write = begin_write(&pin);
        change(&pin, 13);
        write.end_write(false);
        assert_eq!(needed_from(&pin), 11, "it has failed");
        change(&pin, 14);
        let write = begin_write(&pin);
        change(&pin, 15);
        write.end_write(false);
        assert_eq!(needed_from(&pin), 11, "it has failed again");
        let write = begin_write(&pin);
        write.end_write(true);
        change(&pin, 16);
        assert_eq!(needed_from(&pin), 16);
    }

    #[test]
    fn changes_that_are_thrown_away_have_no_say() {
        let (pool, pin) = pool_with_a_page();
        change(&pin, 7);
        let write = begin_write(&pin);
        change(&pin, 8);
        write.end_write(false);
        let (no, page) = (pin.frame_no(), pin.frame().page());
        drop(pin);
        let mut seizure = Seizure::new(&pool);
        assert!(seizure.seize(no, page));
        assert_eq!(pool.older_changes.lowest(), Some(Lsn(7)));
        seizure.discard();
        assert_eq!(pool.older_changes.lowest(), None);
    }
}
