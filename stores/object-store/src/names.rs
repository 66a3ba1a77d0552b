//! Names the objects of a file: [`ObjectId`] and [`Names`].
//!
//! A file has one object that changes, `head`. All others are written once, and lie in a folder that is named after the file's identity, a random
//! number of its creation: those of a removed file are never taken for those of a new one at the same path. An [`ObjectId`] is the epoch of the
//! writer that put the object and a number of that writer's own, so no name is ever used twice.

use std::io;

use crate::errors::{InvalidName, MOST_KEY_BYTES};
use object_store::path::{Path, PathPart};

/// What tells one file from another that had the same path before: random, from its creation on.
pub(crate) type Identity = u128;

const NUMBER_BITS: u32 = 40;
const LAST_EPOCH: u64 = (1 << (64 - NUMBER_BITS)) - 1;

/// Names an immutable object of a file: the writer's epoch in the upper 24 bits, its number in the lower 40.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectId(pub(crate) u64);

impl ObjectId {
    pub(crate) fn first(epoch: u64) -> Self {
        debug_assert!(epoch <= LAST_EPOCH);
        Self(epoch << NUMBER_BITS)
    }

    /// Returns the next of the same epoch, of which there are 2^40.
    pub(crate) fn next(self) -> Self {
        debug_assert_eq!(Self(self.0 + 1).epoch(), self.epoch());
        Self(self.0 + 1)
    }

    pub(crate) fn epoch(self) -> u64 {
        self.0 >> NUMBER_BITS
    }

    fn number(self) -> u64 {
        self.0 & ((1 << NUMBER_BITS) - 1)
    }
}

/// Returns the epoch after `epoch`.
///
/// # Errors
///
/// All 2^24 epochs were used.
pub(crate) fn next_epoch(epoch: u64) -> io::Result<u64> {
    if epoch >= LAST_EPOCH {
        return Err(io::Error::other("the file was opened for writing too often: all 2^24 epochs are used"));
    }
    Ok(epoch + 1)
}

/// The places of one file's objects.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    folder: Path,
}

impl Names {
    /// Names the objects of the file `file` under `prefix`. The file's path is one part of their names, with its slashes escaped.
    ///
    /// # Errors
    ///
    /// The name is empty, or so long that a store would refuse the longest key of an object.
    pub(crate) fn new(prefix: &Path, file: &str) -> Result<Self, InvalidName> {
        if file.is_empty() {
            return Err(InvalidName::Empty);
        }
        let names = Self { folder: prefix.clone().join(PathPart::from(file)) };
        let [object, pin] = [names.object(0, ObjectId(0)), names.pin(0, 0, 0)];
        let key_bytes = object.as_ref().len().max(pin.as_ref().len());
        if key_bytes > MOST_KEY_BYTES {
            return Err(InvalidName::TooLong { file: file.to_owned(), key_bytes });
        }
        Ok(names)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn head(&self) -> Path {
        self.folder.clone().join("head")
    }

    fn of_identity(&self, identity: Identity) -> Path {
        self.folder.clone().join(format!("{identity:032x}"))
    }

    pub(crate) fn objects(&self, identity: Identity) -> Path {
        self.of_identity(identity).join("objects")
    }

    pub(crate) fn object(&self, identity: Identity, id: ObjectId) -> Path {
        self.objects(identity).join(format!("{:06x}-{:010x}", id.epoch(), id.number()))
    }

    /// Reads the name of an object back. `None` for a name that no writer gives.
    pub(crate) fn id_of(path: &Path) -> Option<ObjectId> {
        let (epoch, number) = path.filename()?.split_once('-')?;
        let (epoch, number) = (u64::from_str_radix(epoch, 16).ok()?, u64::from_str_radix(number, 16).ok()?);
        (epoch <= LAST_EPOCH && number < 1 << NUMBER_BITS).then_some(ObjectId(epoch << NUMBER_BITS | number))
    }

    pub(crate) fn pins(&self, identity: Identity) -> Path {
        self.of_identity(identity).join("pins")
    }

    pub(crate) fn pin(&self, identity: Identity, version: u64, reader: u64) -> Path {
        self.pins(identity).join(format!("{version:016x}-{reader:016x}"))
    }

    /// Reads back which version a pin is for.
    pub(crate) fn pinned_version(path: &Path) -> Option<u64> {
        u64::from_str_radix(path.filename()?.split_once('-')?.0, 16).ok()
    }
}

/// Returns a number that no other call returns, here or elsewhere.
pub(crate) fn unique() -> io::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u128::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let names = Names::new(&Path::from("some/prefix"), "a/b c").unwrap();
        let id = ObjectId::first(0xabc).next().next();
        let path = names.object(7, id);
        assert_eq!(
            path.as_ref(),
            "some/prefix/a%2Fb c/00000000000000000000000000000007/objects/000abc-0000000002"
        );
        assert_eq!(Names::id_of(&path), Some(id));
        assert_eq!(id.epoch(), 0xabc);
        assert_eq!(Names::pinned_version(&names.pin(7, 0x1234, 5)), Some(0x1234));
        assert_eq!(Names::id_of(&names.head()), None);
    }

    #[test]
    fn a_name_is_as_long_as_the_longest_key_allows_and_not_empty() {
        let prefix = Path::from("some/prefix");
        assert_eq!(Names::new(&prefix, "").unwrap_err(), InvalidName::Empty);
        let rest = MOST_KEY_BYTES - "some/prefix/".len() - "/".len() - 32 - "/pins/".len() - 33;
        let longest = "n".repeat(rest);
        let names = Names::new(&prefix, &longest).unwrap();
        let keys = [
            names.head(),
            names.object(u128::MAX, ObjectId(u64::MAX)),
            names.pin(u128::MAX, u64::MAX, u64::MAX),
        ];
        assert_eq!(keys.map(|key| key.as_ref().len()).into_iter().max(), Some(MOST_KEY_BYTES));
        let error = Names::new(&prefix, &(longest + "n")).unwrap_err();
        assert!(matches!(error, InvalidName::TooLong { key_bytes: 1025, .. }), "{error:?}");
        assert!(error.to_string().contains("1025") && error.to_string().contains("1024"), "{error}");
        // A slash takes three bytes of the key.
        let slashes = Names::new(&prefix, &"/".repeat(rest / 3 + 1)).unwrap_err();
        assert!(matches!(slashes, InvalidName::TooLong { .. }), "{slashes:?}");
    }

    #[test]
    fn the_last_epoch_has_no_next() {
        assert_eq!(next_epoch(1).unwrap(), 2);
        assert!(next_epoch(LAST_EPOCH).is_err());
    }
}
