//! The log of a pool under test: positions only, since nothing is ever redone from it.
//!
//! It holds the pool to what an engine relies on: no page is written before the log is flushed up to the page's last change, and
//! the redo LSN of checkpoints follows the end of the log, however hot a page is, so that the log can be cut.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use ringpool::{CheckpointReport, Lsn, Wal};

use crate::worker::Difference;

/// Positions in a log that is durable as soon as it is flushed.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Positions>);

#[derive(Default)]
struct Positions {
    end: AtomicU64,
    flushed: AtomicU64,
}

impl Log {
    /// Appends a record. The caller holds the write guard of the page that the record changes.
    pub(crate) fn append(&self) -> Lsn {
        Lsn(self.0.end.fetch_add(1, SeqCst) + 1)
    }

    /// Returns the position of the last record.
    pub(crate) fn end(&self) -> Lsn {
        Lsn(self.0.end.load(SeqCst))
    }
}

impl Wal for Log {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(self.0.flushed.load(SeqCst))
    }

    fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
        if up_to > self.end() {
            return Err(io::Error::other("asked to flush past the end of the log"));
        }
        Ok(Lsn(self.0.flushed.fetch_max(up_to.0, SeqCst).max(up_to.0)))
    }
}

/// The checkpoints of one thread, each with the end that the log had when it began.
#[derive(Default)]
pub(crate) struct Checkpoints {
    last_begun_at: Option<Lsn>,
}

impl Checkpoints {
    /// Compares the redo LSN of a checkpoint with where the checkpoint before it began: every change up to there was written by
    /// this one at the latest.
    pub(crate) fn follow(&mut self, begun_at: Lsn, report: &CheckpointReport) -> Result<(), Difference> {
        let before = self.last_begun_at.replace(begun_at);
        match (report.redo_lsn, before) {
            (Some(redo), Some(before)) if redo <= before => Err(format!(
                "the redo LSN is {redo} after a checkpoint, although the log ended at {before} when the one before it began"
            )),
            _ => Ok(()),
        }
    }
}
