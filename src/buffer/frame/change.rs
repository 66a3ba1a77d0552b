//! A change of a page: the wait for room before it, what is noted of it before it is made known, and its count at its end.
//!
//! **Room**: a clean page of a file that has its [share of dirty pages](super::dirty_counts) waits until one of them is written. A write guard
//! looks at one flag for that, and at the state word, which it is about to change.
//!
//! **Notes**, under the exclusive latch: from where the log must be kept, and whether a call was forgotten.
//! [`older_changes`](super::older_changes) and [`unlogged`](super::unlogged) keep that for the next write-out.

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
        self.dirty_counts.note(&self.size, &self.file_paths);
    }

    pub(crate) fn note_clean(&self, file: FileId, pages: usize) {
        if pages > 0 {
            self.dirty_counts.take_off(file, pages);
            self.dirty_counts.note(&self.size, &self.file_paths);
        }
    }

    /// Returns whether the file has so many dirty pages that no clean one of it may become dirty.
    pub(crate) fn is_full_of_changes(&self, file: FileId) -> bool {
        self.dirty_counts.is_full(file, self.size.frames() as usize, self.file_paths.are_one_at_most())
    }

    /// Waits for room for a change of a clean page of this file.
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
    /// Returns whether a change of the page may have to wait for room.
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

    /// Notes where the first record of a change begins, if it has one.
    pub(crate) fn note_change(&self, first: Option<Lsn>) {
        let frame = self.frame();
        let state = frame.state.load();
        if state.is_writing()
            && !state.is_dirty()
            && let Some(older) = frame.rec_lsn()
            && !seeded!("older_change_forgotten")
        {
            self.frames().older_changes.set_aside(self.frame_no(), older);
        }
        // A write that fails meanwhile makes the page dirty, with the position that it has then.
        frame.note_change(first);
    }

    #[cold]
    pub(crate) fn note_unlogged_change(&self) {
        let frames = self.frames();
        let Some(rule) = frames.unlogged.rule() else { return };
        if frames.counters.get(Counter::UnloggedChanges) == 0 {
            events::unlogged_change(&frames.counters.pool, self.frame().page());
        }
        frames.counters.add(Counter::UnloggedChanges, 1);
        if rule == UnloggedChanges::Refuse && !seeded!("unlogged_change_written") {
            frames.unlogged.refuse(self.frame_no());
        }
    }

    pub(crate) fn note_image(&self) {
        // In a process that was forked another thread may have the lock for ever.
        if self.frames().process.is_current() {
            self.frames().unlogged.forget(self.frame_no());
        }
    }
}
