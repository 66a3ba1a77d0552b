//! Why a frame cannot be had: a user has it, or the disk.
//!
//! A wait for frames is bounded by what is wrong, not by what is slow. A pin that stays is wrong; a disk that takes its time is not,
//! as long as something comes back from it. So who waits must know which of the two it is.

use crate::pool::state::{Phase, State};

/// In which hands a frame is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A user, or several, with pins on it.
    User,
    /// The disk: it is being read, or written without being used meanwhile.
    Disk,
    /// Neither: its page may be dirty.
    Nobody,
}

impl Holder {
    pub(crate) fn of(state: State) -> Self {
        match state.phase() {
            // Whatever pins it has wait for the read.
            Phase::Reading => Self::Disk,
            // A write has a pin of its own.
            _ if state.is_writing() && state.pins() <= 1 => Self::Disk,
            _ if state.pins() > 0 => Self::User,
            _ => Self::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_counts_as_the_disks_unless_a_user_has_the_page_as_well() {
        let reading = State::FREE.claim().unwrap().begin_read(false);
        let read = reading.end_read(true);
        let written = read.latch_exclusive().unwrap().unlatch_exclusive(true).unpin();
        let writing = written.pin().unwrap().begin_write().unwrap();
        let holders = [
            (State::FREE, Holder::Nobody),
            (reading, Holder::Disk),
            (reading.pin().unwrap(), Holder::Disk),
            (read, Holder::User),
            (written, Holder::Nobody),
            (writing, Holder::Disk),
            (writing.pin().unwrap(), Holder::User),
        ];
        for (state, holder) in holders {
            assert_eq!(Holder::of(state), holder, "{state:?}");
        }
    }
}
