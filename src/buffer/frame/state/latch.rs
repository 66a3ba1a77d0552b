//! Content latches: the rights to read and to change a frame's bytes.

use super::{BIASED, DIRTY, EXCLUSIVE, LATCH_WAITERS, LATCHES, SHARE, SHARES, SHARES_MAX, State};

impl State {
    /// Takes a share latch for a newcomer: not past waiters in line.
    #[inline]
    pub(crate) fn latch_shared(self) -> Option<Self> {
        (!self.has(LATCH_WAITERS)).then(|| self.hand_over_shared()).flatten()
    }

    pub(crate) fn latch_exclusive(self) -> Option<Self> {
        (!self.has(LATCH_WAITERS)).then(|| self.hand_over_exclusive()).flatten()
    }

    /// Takes a share latch for the waiter whose turn it is.
    #[inline]
    pub(crate) fn hand_over_shared(self) -> Option<Self> {
        debug_assert!(self.may_be_pinned());
        (!self.has(EXCLUSIVE) && self.0 & SHARES < SHARES_MAX).then(|| Self(self.0 + SHARE))
    }

    pub(crate) fn hand_over_exclusive(self) -> Option<Self> {
        debug_assert!(self.may_be_pinned());
        (!self.has(LATCHES | BIASED)).then(|| self.with(EXCLUSIVE))
    }

    /// Ends a read, with the exclusive latch for the thread that has put the bytes there, which shows them by its release.
    pub(crate) fn end_read_latched(self) -> Self {
        let read = self.end_read(true);
        if seeded!("overwritten_page_shown_early") {
            return read;
        }
        read.hand_over_exclusive().unwrap_or_else(|| panic!("latched while it was read: {self:?}"))
    }

    #[inline]
    pub(crate) fn unlatch_shared(self) -> Self {
        if !self.has(SHARES) {
            self.is_not_held();
        }
        Self(self.0 - SHARE)
    }

    /// Releases the exclusive latch and, in the same step, makes the changes known.
    pub(crate) fn unlatch_exclusive(self, changed: bool) -> Self {
        assert!(self.has(EXCLUSIVE), "released an exclusive latch that no thread held: {self:?}");
        let changed = changed && !seeded!("change_without_dirt");
        self.without(EXCLUSIVE).with(if changed { DIRTY } else { 0 })
    }

    /// Changes the exclusive latch into a share latch, without a gap for another writer.
    pub(crate) fn downgrade(self, changed: bool) -> Self {
        Self(self.unlatch_exclusive(changed).0 + SHARE)
    }
}
