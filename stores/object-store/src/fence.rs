//! The errors that say that a file is another writer's now, or that a version is gone: [`Fenced`], [`VersionGone`].
//!
//! Both come inside an [`io::Error`], and that inside an error of the pool: [`Fenced::of`] and [`VersionGone::of`] find them there.

use std::error::Error;
use std::io;
use std::sync::Arc;

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
    /// Finds it in an error, be it of this package or of a pool, or among the causes of that.
    pub fn of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        cause(error)
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
    /// Finds it in an error, be it of this package or of a pool, or among the causes of that.
    pub fn of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        cause(error)
    }
}

impl From<VersionGone> for io::Error {
    fn from(gone: VersionGone) -> Self {
        Self::new(io::ErrorKind::NotFound, gone)
    }
}

/// Finds an error of one type among an error and its causes. What an [`io::Error`] wraps is not among its causes, so it is looked at as well.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error
            .downcast_ref::<io::Error>()
            .or_else(|| Some(error.downcast_ref::<Arc<io::Error>>()?.as_ref()));
        let wrapped = io.and_then(|io| io.get_ref()?.downcast_ref());
        if let Some(found) = error.downcast_ref().or(wrapped) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_found_in_all_that_wraps_it() {
        let fenced = Fenced { file: "table".into(), epoch: 1, owner: None };
        assert_eq!(Fenced::of(&fenced), Some(&fenced));
        let error = io::Error::from(fenced.clone());
        assert_eq!(Fenced::of(&error), Some(&fenced));
        assert_eq!(Fenced::of(&Arc::new(error)), Some(&fenced));
        assert_eq!(Fenced::of(&io::Error::other("of another kind")), None);
        assert_eq!(VersionGone::of(&fenced), None);
    }
}
