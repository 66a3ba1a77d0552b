//! The bias towards readers: whether share latches may be held in slots of threads, beside those that the word counts.

use super::{
    AHEAD, BIASED, CLAIMED, COUNTING, DIRTY, EXCLUSIVE, HALF_THE_PINS, HALF_THE_SHARES, LATCH_WAITERS,
    LATCHES, PIN, SHADOWED, SHARE, State, USAGE, VALID, WRITING,
};

impl State {
    pub(crate) const fn is_biased(self) -> bool {
        self.has(BIASED)
    }

    /// Returns whether a reader that comes now takes a slot. A page whose usage count is not full is used by the word. A page
    /// that a waiting thread wants to change is not read past that thread.
    #[inline]
    pub(crate) const fn takes_slots(self) -> bool {
        self.0 & (BIASED | USAGE | LATCH_WAITERS) == BIASED | USAGE
    }

    /// Returns the word of a page that is used again, biased from now on where that pays: its usage count is full, and nothing is
    /// there for which the bias had to go at once. So a page that is changed is not biased again before it was written.
    #[inline]
    pub(super) const fn biased_if_hot(self) -> Self {
        const LOOK: u64 = VALID
            | USAGE
            | CLAIMED
            | EXCLUSIVE
            | LATCH_WAITERS
            | AHEAD
            | DIRTY
            | WRITING
            | SHADOWED
            | COUNTING
            | HALF_THE_PINS
            | HALF_THE_SHARES;
        if self.0 & LOOK == VALID | USAGE { self.with(BIASED) } else { self }
    }

    /// Revokes the bias, and takes a pin and a share latch for the thread that does so: while it counts what slots hold, no
    /// exclusive latch and no claim gets in. `None` where there is no bias.
    pub(crate) fn revoke_bias(self) -> Option<Self> {
        let revoked =
            if seeded!("bias_revoked_without_a_latch") { Self(self.0 + PIN) } else { self.counted(true) };
        self.is_biased().then(|| revoked.without(BIASED).with(COUNTING))
    }

    pub(crate) fn all_counted(self) -> Self {
        self.without(COUNTING)
    }

    /// Returns whether a frame that refuses a step would allow it without the bias.
    pub(crate) fn refuses_for_bias(self, step: impl Fn(Self) -> Option<Self>) -> bool {
        self.is_biased() && step(self.without(BIASED)).is_some()
    }

    pub(crate) const fn refuses_writer_for_bias(self) -> bool {
        self.0 & (BIASED | LATCHES | LATCH_WAITERS) == BIASED
    }

    /// Counts a pin, and a share latch where it is `latched`, that a slot holds. The word has room for all that slots can hold.
    pub(crate) fn counted(self, latched: bool) -> Self {
        Self(self.0 + PIN + if latched { SHARE } else { 0 })
    }
}
