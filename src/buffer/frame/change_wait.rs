//! What becomes of a page that is changed, in the [counts of dirty pages](super::dirty_counts): a wait for room before that, and a look
//! whether it is newly dirty at its end.
//!
//! A write guard looks at one flag, and at the state word, which it is about to change. The rest is done only where the pool has few frames that
//! are not dirty.

use std::task::{Poll, Waker};

use crate::{
    buffer::frame::{dirty_counts::RoomWait, frames::Frames, held_back::HeldBack, pin::Pin, state::State},
    error::Result,
    id::FileId,
    sync::{
        Arc,
        wait::{Drive, PollStep},
    },
};

/// One caller's wait for room for a change.
#[derive(Default)]
pub(crate) struct ChangeWait {
    room: RoomWait,
    place: HeldBack,
}

impl Frames {
    /// Notes that a page of the file has become dirty.
    #[inline(never)]
    pub(super) fn note_dirtied(&self, file: FileId) {
        self.dirty_counts.add(file);
        self.dirty_counts.note(&self.size, &self.file_paths);
    }

    /// Notes that pages of the file are clean.
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

    /// Returns whether a change of a clean page may have to wait for room.
    #[inline]
    pub(crate) fn is_short_of_room(&self) -> bool {
        self.dirty_counts.is_short()
    }
}

impl State {
    /// Returns whether the step from `before` to this makes a page dirty that was neither dirty nor being written.
    #[inline]
    pub(super) fn is_newly_dirty(self, before: Self) -> bool {
        self.is_dirty() && !before.is_dirty() && !before.is_writing()
    }
}

/// A wait for room for a change of a page in hand.
struct WaitForRoom<'a> {
    pin: &'a Pin,
    wait: ChangeWait,
}

impl PollStep for WaitForRoom<'_> {
    type Output = Result<()>;

    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<()>> {
        self.pin.poll_room(&mut self.wait, drive, waker)
    }

    fn is_sure_of_its_wake_up(&self) -> bool {
        false
    }
}

impl Pin {
    /// Returns whether a change of the page may have to wait for room.
    #[inline]
    fn wants_room(&self) -> bool {
        self.frames().is_short_of_room() && !self.frame().state.load().is_dirty()
    }

    /// Waits for room for a change of the page.
    #[inline]
    pub(crate) fn poll_room(&self, wait: &mut ChangeWait, drive: Drive, waker: &Waker) -> Poll<Result<()>> {
        if !self.wants_room() {
            return Poll::Ready(Ok(()));
        }
        self.poll_room_of_file(wait, drive, waker)
    }

    #[cold]
    fn poll_room_of_file(&self, wait: &mut ChangeWait, drive: Drive, waker: &Waker) -> Poll<Result<()>> {
        let (frames, file) = (self.keep_if(true), self.frame().page().file);
        frames.map_or(Poll::Ready(Ok(())), |frames| frames.poll_room(file, wait, drive, waker))
    }

    /// Sleeps until there is room for a change of the page.
    #[inline]
    pub(crate) fn wait_for_room(&self) -> Result<()> {
        if self.wants_room() { self.sleep_until_there_is_room() } else { Ok(()) }
    }

    #[cold]
    fn sleep_until_there_is_room(&self) -> Result<()> {
        WaitForRoom { pin: self, wait: ChangeWait::default() }.run_to_end()
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
                let refusal = self.frames().dirty_counts.refusal(self.frame().page().file);
                refusal.map_or(Ok(false), Err)
            }
        }
    }
}
