//! The line of callers that are held back because their file has its share of the frames, for [dirty pages](super::dirty_counts) or
//! for reads under way. Each is woken now and then, and looks again.

use std::task::Waker;

use crate::{
    buffer::frame::{frame_waiters::WakerPlace, frames::Frames},
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
