//! What a waiter waits for, as rules on the state word.

use crate::buffer::frame::state::{Phase, State};

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    ReadDone,
    WriteDone,
    /// What becomes of a page that is [seized](crate::buffer::quarantine).
    Settled,
    Shared,
    Exclusive,
}

impl Want {
    pub(super) const fn is_latch(self) -> bool {
        matches!(self, Self::Shared | Self::Exclusive)
    }

    /// Returns whether there is something to wait for; for a latch, whether a newcomer could not have it at once.
    pub(super) fn must_wait(self, state: State) -> bool {
        match self {
            Self::ReadDone => state.phase() == Phase::Reading,
            Self::WriteDone => state.is_writing(),
            Self::Settled => state.is_seized(),
            Self::Shared => state.latch_shared().is_none(),
            Self::Exclusive => state.latch_exclusive().is_none(),
        }
    }

    pub(crate) fn latched(self, state: State) -> Option<State> {
        match self {
            Self::Exclusive => state.hand_over_exclusive(),
            _ => state.hand_over_shared(),
        }
    }

    pub(super) fn unlatched(self, state: State) -> State {
        match self {
            Self::Exclusive => state.unlatch_exclusive(false),
            _ => state.unlatch_shared(),
        }
    }

    pub(super) fn announce(self, state: State) -> State {
        if self.is_latch() { state.set_latch_waiters(true) } else { state.set_io_waiters(true) }
    }
}
