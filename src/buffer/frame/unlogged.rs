//! Changes for which no log position was stated, in a pool with a log: most likely a call was forgotten.
//!
//! They are counted, and the first is reported as an event. In a pool that refuses them such a page is known here until its changes
//! are covered by an image of the whole page, or thrown away; meanwhile no write-out takes it. It is refused under its exclusive latch,
//! and looked for here under a share latch, so what a write-out is told stands until it has begun the write. Lock order: the lock is a
//! leaf, which no thread takes while no page is refused.

use std::{collections::BTreeSet, fmt};

use crate::{
    id::FrameNo,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What becomes of pages that are changed without a [log position](crate::PageWrite::set_lsn), in a pool with a [log](crate::Wal).
///
/// The pool cannot ask the log for a record that was not stated: after one forgotten call, a page may be on disk before its
/// record, or without one. State [`Lsn::UNLOGGED`](crate::Lsn::UNLOGGED) for a change that needs no record.
///
/// As text: `count`, `refuse`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnloggedChanges {
    /// They are written like others, and counted in [`Counts::unlogged_changes`](crate::stats::Counts::unlogged_changes), which
    /// an engine's tests should find to be 0. The first is reported as an event (feature `tracing`).
    #[default]
    Count,
    /// They are counted, and the page is not written: whatever would write it (a flush, a checkpoint, a close) ends in
    /// [`Error::UnloggedChange`](crate::Error::UnloggedChange), which names the page, and writes the other pages. The page stays
    /// dirty, and in its frame, even if it is changed with a position later. That ends when a record of [the whole
    /// page](crate::PageWrite::set_image_lsn) is stated, or its changes are thrown away. Meanwhile the background writer counts
    /// the page among its failures.
    Refuse,
}

impl fmt::Display for UnloggedChanges {
    /// Writes it as it is [read](std::str::FromStr): `count` or `refuse`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Count => "count",
            Self::Refuse => "refuse",
        })
    }
}

#[derive(Default)]
pub(crate) struct Unlogged {
    /// What becomes of them; nothing in a pool without a log.
    rule: Option<UnloggedChanges>,
    refused: Mutex<BTreeSet<FrameNo>>,
    count: AtomicUsize,
}

impl Unlogged {
    pub(crate) fn new(rule: Option<UnloggedChanges>) -> Self {
        Self { rule, ..Self::default() }
    }

    /// Returns whether the page in this frame must not be written. The caller has it latched.
    #[inline]
    pub(crate) fn refuses(&self, no: FrameNo) -> bool {
        self.count.load(Ordering::Relaxed) > 0 && self.refused.lock().contains(&no)
    }

    pub(super) fn rule(&self) -> Option<UnloggedChanges> {
        self.rule
    }

    /// Refuses to have the page in this frame written. The caller has it latched.
    pub(super) fn refuse(&self, no: FrameNo) {
        self.change(|refused| refused.insert(no));
    }

    /// Forgets the page in this frame: its changes are covered, or not wanted any more.
    pub(crate) fn forget(&self, no: FrameNo) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.change(|refused| refused.remove(&no));
        }
    }

    /// Holds the lock, as another thread may at any moment, with this page refused.
    #[cfg(test)]
    pub(crate) fn hold_with(&self, no: FrameNo) -> impl Sized {
        self.refuse(no);
        self.refused.lock()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<FrameNo>) -> bool) {
        let mut refused = self.refused.lock();
        change(&mut refused);
        self.count.store(refused.len(), Ordering::Relaxed);
    }
}
