//! The errors that a caller acts on: [`Fenced`], a file is another writer's now; [`VersionGone`], a version is not kept; [`InvalidName`].
//!
//! Each comes inside an [`io::Error`], and that inside an error of the pool: [`Fenced::of`] and its like find them there.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of the longest key of an object that S3 and its like take.
pub(crate) const MOST_KEY_BYTES: usize = 1024;

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
    /// The epoch of the file's owner, which is higher. `None` when the file was removed, also where another file has its name now.
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

/// No file of a store can have this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// The name is empty.
    #[error("a file in an object store has a name of at least one byte")]
    Empty,
    /// The name is no text.
    #[error("the name of a file in an object store is UTF-8, and {} is not", file.display())]
    NotUtf8 {
        /// The name.
        file: PathBuf,
    },
    /// The keys of the file's objects would be too long: the prefix, the name (of which some characters, such as `/`, take three bytes each), and
    /// up to 72 bytes more. What a store adds of its own, such as a `PrefixStore`, is not counted.
    #[error(
        "the name {file:?} is too long for an object store: with its prefix and what names an object, a key would have {key_bytes} bytes, and the \
         limit is {MOST_KEY_BYTES}"
    )]
    TooLong {
        /// The name.
        file: String,
        /// Bytes of the longest key. The limit is 1,024, as that of S3.
        key_bytes: usize,
    },
}

impl InvalidName {
    /// Finds it in an error, be it of this package or of a pool, or among the causes of that.
    pub fn of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        cause(error)
    }
}

impl From<InvalidName> for io::Error {
    fn from(invalid: InvalidName) -> Self {
        Self::new(io::ErrorKind::InvalidInput, invalid)
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
