//! How many reads of a file may begin before its share of the frames is looked at again (`runtime/demand_share`).

use crate::sync::{
    time::Instant,
    uncontrolled::{AtomicU64, Mutex, Ordering},
};

/// What the last look at a file's share has permitted. Reads are counted by the file's activity, as those of callers and those ahead.
#[derive(Debug, Default)]
pub(crate) struct ReadBudget {
    /// The count of reads at which the next look is due.
    look_at: AtomicU64,
    /// Reads that had ended by the last look.
    ended: AtomicU64,
    /// Until when the last look holds, if it has permitted none.
    refused_until: Mutex<Option<Instant>>,
}

impl ReadBudget {
    /// Returns how many more may begin without a look, where `begun` have.
    #[inline]
    pub(crate) fn left(&self, begun: u64) -> u64 {
        self.look_at.load(Ordering::Relaxed).saturating_sub(begun)
    }

    /// Returns whether a look has just permitted none.
    pub(crate) fn is_refused(&self, now: Instant) -> bool {
        self.refused_until.lock().is_some_and(|until| now < until)
    }

    /// Notes a look: of `begun` reads some have ended, and `more` may begin; if that is none, the look holds until then.
    pub(crate) fn grant(&self, begun: u64, ended: u64, more: u64, until: Instant) {
        self.ended.store(ended, Ordering::Relaxed);
        self.look_at.store(begun.saturating_add(more), Ordering::Relaxed);
        *self.refused_until.lock() = (more == 0).then_some(until);
    }

    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Has the next read look: the share has changed.
    pub(crate) fn reset(&self) {
        self.look_at.store(0, Ordering::Relaxed);
    }
}
