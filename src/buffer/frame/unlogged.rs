//! What becomes of changes for which no log position was stated, in a pool with a log: most likely a call was forgotten.

use std::fmt;

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
