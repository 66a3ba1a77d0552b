//! A change of a page: the wait for room before it, what is noted of it before it is made known, and its count at its end.
//!
//! **Room**: a clean page of a file that has its [share of dirty pages](super::dirty_counts) waits until one of them is written. A write guard
//! looks at one flag for that, and at the state word, which it is about to change.
//!
//! **Notes**, under the exclusive latch, for the next write-out: from where the log must be kept, and whether a call was forgotten.
//! A frame has one recLSN: the position of the first change that the disk does not have, also while that is written, since the write
//! may fail. A change of the page in that time begins anew: the frame takes the new position, and the older one is set aside in
//! [`Frames::older_positions`] until a write of the page succeeds. Invariants:
//!
//! 1. the lowest of a frame's recLSN and what is set aside for it is no higher than the first change of the page that has not reached
//!    the disk. It is lower only if a write ends in the very moment in which a change sets its position aside, and until the next
//!    write of the page succeeds;
//! 2. a position is set aside only for a page that is dirty or becomes so, and goes with the page's next write that succeeds, or
//!    when the changes are thrown away. So there is none for a page that is clean.

use std::task::{Poll, Waker};

use crate::{
    buffer::frame::{
        dirty_counts::RoomWait, frame_waiters::WakerPlace, frames::Frames, pin::Pin,
        unlogged::UnloggedChanges,
    },
    error::Result,
    events,
    id::{FileId, Lsn},
    observe::Counter,
    sync::{Arc, wait::Drive},
};

/// A place among the callers that are [held back](Frames::held_back), and woken now and then; left when this is dropped.
#[derive(Default)]
pub(crate) struct HeldBack(Option<(Arc<Frames>, WakerPlace)>);

impl HeldBack {
    /// Gets in line for one wake-up. A thread must also look by itself.
    pub(crate) fn enlist(&mut self, frames: &Arc<Frames>, drive: Drive, waker: &Waker) {
        let mut place = self.0.take().map(|(_, place)| place);
        frames.held_back.enlist(&mut place, waker);
        self.0 = place.map(|place| (Arc::clone(frames), place));
        if drive == Drive::Task {
            frames.look_after(waker);
        }
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        if let Some((frames, place)) = self.0.take()
            && frames.process.is_current()
        {
            frames.held_back.leave(&place);
        }
    }
}

/// One caller's wait for room for a change.
#[derive(Default)]
pub(crate) struct ChangeWait {
    room: RoomWait,
    place: HeldBack,
}

impl Frames {
    #[inline(never)]
    pub(super) fn note_dirtied(&self, file: FileId) {
        self.dirty_counts.add(file);
        self.note_dirty_count();
    }

    pub(crate) fn note_clean(&self, file: FileId, pages: usize) {
        if pages > 0 {
            self.dirty_counts.take_off(file, pages);
            self.note_dirty_count();
        }
    }

    fn note_dirty_count(&self) {
        self.dirty_counts.note(self.size.frames() as usize, || self.has_one_file_at_most());
    }

    /// Returns whether the file has so many dirty pages that no clean one of it may become dirty.
    pub(crate) fn is_full_of_changes(&self, file: FileId) -> bool {
        self.dirty_counts.is_full(file, self.size.frames() as usize, self.has_one_file_at_most())
    }

    pub(crate) fn poll_room(
        self: &Arc<Self>,
        file: FileId,
        wait: &mut ChangeWait,
        drive: Drive,
        waker: &Waker,
    ) -> Poll<Result<()>> {
        let maker = self.is_full_of_changes(file).then(|| self.dirty_counts.maker()).flatten();
        let polled = maker.map_or(Poll::Ready(Ok(())), |maker| maker.poll_room(file, &mut wait.room, waker));
        if polled.is_pending() {
            wait.place.enlist(self, drive, waker);
        }
        polled
    }
}

impl Pin {
    #[inline]
    pub(crate) fn wants_room(&self) -> bool {
        self.frames().dirty_counts.is_short() && !self.frame().state.load().is_dirty()
    }

    #[inline]
    pub(crate) fn poll_room(&self, wait: &mut ChangeWait, drive: Drive, waker: &Waker) -> Poll<Result<()>> {
        // The frames are kept while files are looked at: only where there is a shortage.
        match self.keep_if(self.wants_room()) {
            Some(frames) => frames.poll_room(self.frame().page().file, wait, drive, waker),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Returns whether there is room for a change of the page now; an error where its file refuses writes.
    #[inline]
    pub(crate) fn has_room(&self) -> Result<bool> {
        if self.wants_room() { self.ask_for_room() } else { Ok(true) }
    }

    #[cold]
    fn ask_for_room(&self) -> Result<bool> {
        match self.poll_room(&mut ChangeWait::default(), Drive::Task, Waker::noop()) {
            Poll::Ready(room) => room.map(|()| true),
            // The write that was begun by this tells whether that has changed.
            Poll::Pending => {
                self.frames().dirty_counts.refusal(self.frame().page().file).map_or(Ok(false), Err)
            }
        }
    }

    pub(crate) fn note_change(&self, first: Option<Lsn>) {
        let frame = self.frame();
        let state = frame.state.load();
        if state.is_writing()
            && !state.is_dirty()
            && let Some(older) = frame.rec_lsn()
            && !seeded!("older_change_forgotten")
        {
            let no = self.frame_no();
            self.frames().older_positions.change(|positions| {
                positions.entry(no).or_insert(older);
            });
        }
        // A write that fails meanwhile makes the page dirty, with the position that it has then.
        frame.note_change(first);
    }

    #[cold]
    pub(crate) fn note_unlogged_change(&self) {
        let frames = self.frames();
        let Some(rule) = frames.unlogged_rule else { return };
        if frames.counters.get(Counter::UnloggedChanges) == 0 {
            events::unlogged_change(&frames.counters.pool, self.frame().page());
        }
        frames.counters.add(Counter::UnloggedChanges, 1);
        if rule == UnloggedChanges::Refuse && !seeded!("unlogged_change_written") {
            frames.unlogged.insert(self.frame_no(), ());
        }
    }

    pub(crate) fn note_image(&self) {
        // In a process that was forked another thread may have the lock for ever.
        if self.frames().process.is_current() {
            self.frames().unlogged.remove(&self.frame_no());
        }
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
        own.into_iter().chain(pin.frames().lowest_older_position()).min().map_or(0, |lsn| lsn.0)
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
        assert_eq!(pool.lowest_older_position(), Some(Lsn(7)));
        seizure.discard();
        assert_eq!(pool.lowest_older_position(), None);
    }
}
