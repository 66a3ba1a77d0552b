//! What becomes of a frame that is let go of while callers wait for one.

use crate::{
    buffer::frame::{frames::Frames, state::State},
    id::FrameNo,
    sync::waking::Wakers,
};

impl Frames {
    /// Returns whether callers wait for frames and the background writer works for them: a fetch that has just come takes none of
    /// those frames.
    pub(crate) fn are_spoken_for(&self) -> bool {
        self.frame_waiters.any() && self.clean_list.is_kept()
    }

    /// Sets this frame aside, if it is a victim, and clean, and there is room for one more. Returns whether it did.
    pub(crate) fn set_aside(&self, no: FrameNo) -> bool {
        let state = &self.frame(no).state;
        if state.try_update(State::make_ready).is_err() {
            return false;
        }
        let there_was_room = self.clean_list.push(no);
        if !there_was_room {
            state.update(State::no_longer_ready);
        }
        there_was_room
    }

    /// Sets a frame aside that was let go of while callers wait for one, if it is a victim and clean, and wakes the first in
    /// line. A dirty one is left to the background writer, if there is one: a waiter that was woken for it would lose its turn
    /// for nothing.
    #[cold]
    pub(super) fn hand_on(&self, no: FrameNo, wakers: &mut Wakers) {
        let is_set_aside = !seeded!("freed_frame_not_handed_on") && self.set_aside(no);
        let clean_list = &self.clean_list;
        if !is_set_aside && self.frame(no).state.load().is_dirty() && clean_list.is_kept() {
            // Otherwise the writer that is woken would believe that there is still nothing to find.
            self.frame_waiters.note_relief();
            clean_list.call();
        } else {
            self.frame_waiters.wake_one_with(wakers);
        }
    }
}
