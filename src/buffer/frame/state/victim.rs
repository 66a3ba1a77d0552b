//! What a frame is to a search for a victim, and what the search leaves behind.

use super::{AHEAD, CLAIMED, LATCHES, Phase, READING, READY, State, USAGE, USED, WRITING};

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Pinned, latched, in an I/O, or set aside for a fetch: left alone.
    Busy,
    /// Used since its page came in, or since its turn last came.
    Used,
    /// Read ahead of its use: spared once.
    Expected,
    /// Would be a victim if it were clean.
    Dirty,
    Evictable,
}

impl State {
    /// Returns what becomes of it when its turn has come to give up its page. Slots are not looked at: a BIASED victim may be
    /// held in one, which its claim finds out; from then on the word knows.
    pub(crate) fn verdict(self) -> Verdict {
        if self.pins() > 0 || self.has(LATCHES | READING | WRITING | CLAIMED | READY) {
            Verdict::Busy
        } else if self.usage() > 0 {
            Verdict::Used
        } else if self.has(AHEAD) {
            Verdict::Expected
        } else if self.is_dirty() {
            Verdict::Dirty
        } else {
            Verdict::Evictable
        }
    }

    /// Returns whether it is being written, and is a victim when that is over unless it is used meanwhile.
    pub(crate) fn is_unused_at_disk(self) -> bool {
        // A write has a pin of its own.
        self.has(WRITING) && self.pins() <= 1 && self.usage() == 0
    }

    /// Halves the usage count of a page that is spared for it.
    pub(crate) fn age(self) -> Option<Self> {
        let left = self.usage() / 2;
        (self.verdict() == Verdict::Used).then(|| Self(self.without(USAGE).0 + left * USED))
    }

    /// Forgets all uses: they were one burst.
    pub(crate) fn forget_uses(self) -> Option<Self> {
        (self.usage() > 0).then(|| self.without(USAGE))
    }

    /// Clears the mark of a page read ahead: its use has not come so far.
    pub(crate) fn expect_no_longer(self) -> Option<Self> {
        (self.verdict() == Verdict::Expected).then(|| self.without(AHEAD))
    }

    /// Takes back the use of a pin that was meant for another page: no use of this one. (`pinned` is what `before` became then.
    /// What other threads did since stays.)
    pub(crate) fn take_back_use(self, before: Self, pinned: Self) -> Self {
        let was_counted = pinned.usage() > before.usage() && self.usage() > 0;
        let was_expected = before.has(AHEAD) && self.phase() != Phase::Free;
        let state = if was_counted { Self(self.0 - USED) } else { self };
        if was_expected { state.with(AHEAD) } else { state }
    }

    /// Sets a victim aside for the first fetch that takes it; it keeps its page until then. `None` for a frame that has no page
    /// by now: that one is taken from the free ones, and counted there.
    pub(crate) fn make_ready(self) -> Option<Self> {
        let has_page = self.phase() != Phase::Free || seeded!("free_frame_set_aside");
        (self.verdict() == Verdict::Evictable && has_page).then(|| self.with(READY))
    }

    /// Takes what was set aside, unless it was used since.
    pub(crate) fn claim_ready(self) -> Option<Self> {
        self.has(READY).then(|| self.claim_unused()).flatten()
    }

    pub(crate) fn no_longer_ready(self) -> Self {
        self.without(READY)
    }
}
