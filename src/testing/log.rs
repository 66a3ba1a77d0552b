//! What happened on a disk, in order.

use std::path::{Path, PathBuf};

use super::fault::Op;

/// The beginning or the end of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The operation's number: what its beginning and its end have in common.
    pub number: u64,
    /// What was asked for.
    pub op: Op,
    /// The file's path.
    pub path: PathBuf,
    /// The first byte; 0 for a sync.
    pub offset: u64,
    /// How many bytes were to be transferred; 0 for a sync.
    pub len: usize,
    /// Whether this is its beginning or its end.
    pub moment: Moment,
}

/// A moment in the life of an operation.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Moment {
    /// It was asked for. It may be [held](super::SimDisk::hold) before it goes on.
    Begin,
    /// It is over: the bytes that were transferred, or the number of the error.
    End(Result<usize, i32>),
}

impl Event {
    /// Returns whether this event is the beginning of an operation of this kind on this file.
    /// Example: [`SimDisk::log`](super::SimDisk::log).
    #[must_use]
    pub fn begins(&self, op: Op, path: impl AsRef<Path>) -> bool {
        self.op == op && self.path == path.as_ref() && self.moment == Moment::Begin
    }

    /// Returns whether this event is the successful end of an operation of this kind on this file.
    /// Example: [`SimDisk::log`](super::SimDisk::log).
    #[must_use]
    pub fn succeeds(&self, op: Op, path: impl AsRef<Path>) -> bool {
        self.op == op && self.path == path.as_ref() && matches!(self.moment, Moment::End(Ok(_)))
    }
}
