//! What the guard of a changed page notes before the change is made known: from where the log must be kept, and whether a call
//! was forgotten.
//!
//! The caller holds the exclusive latch. [`older_changes`](super::older_changes) and [`unlogged`](super::unlogged) keep what is
//! noted here for the next write-out.

use crate::{
    buffer::frame::{pin::Pin, unlogged::UnloggedChanges},
    events,
    id::Lsn,
    observe::Counter,
};

impl Pin {
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

    /// Notes a change without a log position.
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

    /// Notes that a log record holds the whole page.
    pub(crate) fn note_image(&self) {
        // In a process that was forked another thread may have the lock for ever.
        if self.frames().process.is_current() {
            self.frames().unlogged.forget(self.frame_no());
        }
    }
}
