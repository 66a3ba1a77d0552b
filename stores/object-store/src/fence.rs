//! The errors that say that a file is another writer's now, or that a version is gone: [`Fenced`], [`VersionGone`].
//!
//! Both come inside an [`io::Error`]: [`Fenced::of`] and [`VersionGone::of`] find them there.

use std::io;

/// Another writer has opened the file, or it was removed. Nothing that this writer wrote since its last sync is in the file, or will be.
///
/// A writer to which this happened gets it from each later write and sync. Its engine has to open the file anew, which fences the other writer in turn,
/// or to stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file} was opened by another writer, or removed: this writer's epoch is {epoch}, the file's is {owner:?}"
)]
#[non_exhaustive]
pub struct Fenced {
    /// The file's name.
    pub file: String,
    /// The epoch of this writer.
    pub epoch: u64,
    /// The epoch of the file's owner. `None` when the file was removed.
    pub owner: Option<u64>,
}

impl Fenced {
    /// Finds it in an error.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<Fenced> for io::Error {
    fn from(fenced: Fenced) -> Self {
        Self::other(fenced)
    }
}

/// A version of a file is not kept, or not any more.
///
/// A reader that has a version open gets this only when it was not heard of for longer than [`Settings::pin_lifetime`](crate::Settings::pin_lifetime).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version {version} of {file} is not kept: {kept:?} are")]
#[non_exhaustive]
pub struct VersionGone {
    /// The file's name.
    pub file: String,
    /// The version that was asked for.
    pub version: u64,
    /// The versions that a reader can open.
    pub kept: std::ops::RangeInclusive<u64>,
}

impl VersionGone {
    /// Finds it in an error.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<VersionGone> for io::Error {
    fn from(gone: VersionGone) -> Self {
        Self::new(io::ErrorKind::NotFound, gone)
    }
}
