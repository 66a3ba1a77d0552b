//! What a storage promises, and how a broken promise is told.

use std::fmt;

macro_rules! promises {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a storage promises.
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum StoragePromise {
            $($(#[doc = $doc])+ $name,)+
        }

        impl StoragePromise {
            /// All of them, in the order in which they are listed.
            #[cfg(test)]
            pub(super) const ALL: &'static [Self] = &[$(Self::$name),+];

            fn text(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+),)+
                }
            }
        }
    };
}

promises! {
    /// A missing file that is opened without `create` is `NotFound`.
    MissingIsNotFound,
    /// A file that is created is there, and empty.
    CreatedIsEmpty,
    /// The identity of a file is the same at each opening, and another one than that of each other file, also of one that was removed and is still
    /// open.
    IdentityIsOfTheFile,
    /// A file that was removed by its name is `NotFound`; where it is still open, it has its bytes, or fails.
    RemovedIsGone,
    /// Each request is ended, and each other call returns.
    EndsEach,
    /// No call and no request fails where nothing is wrong; a request that is dropped has failed. A read or a write may end with `Interrupted`
    /// or `WouldBlock`, up to 32 times in a row; a sync and a call may not.
    FailsNever,
    /// Each request that is started from within the end of another is ended: requests are ended outside of the storage's locks.
    EndsOutsideItsLocks,
    /// The calls that start requests, and `version`, do not wait.
    StartsWithoutWaiting,
    /// What was written is read by all that is asked for after the write has ended.
    ReadsWhatWasWritten,
    /// Each offset is a place of its own, however far out, up to the length that the test lets a file have; a read at any offset behind
    /// the end finds nothing.
    OffsetsAreApart,
    /// The bytes of a read are in its memory when it ends.
    FillsBeforeItEnds,
    /// The memory of a request is left alone, and is not read, after it has ended.
    LeavesMemoryAlone,
    /// A read across the end of the file ends short, and one behind it with 0 bytes.
    StopsAtTheEnd,
    /// The length is that of all that was written or set.
    TellsTheLength,
    /// A file that grows, grows by zeros.
    GrowsByZeros,
    /// What was cut off never comes back.
    ForgetsWhatIsCut,
    /// Space that is reserved is zeros, and leaves what is there; or reserving is `Unsupported`.
    ReservesZeros,
    /// What was synced is there when the file is opened again: all writes that had ended when the sync was asked for, also those that ended
    /// during the sync before.
    KeepsWhatWasSynced,
    /// A sync with nothing to publish succeeds.
    SyncsNothing,
    /// The version, where there is one, grows with each sync that had something to publish, and is the same when the file is opened again.
    VersionGrows,
    /// The descriptor, where there is one, reads the same bytes.
    DescriptorIsTheFile,
    /// What a sync has reported is there after a crash, the length included: no write is lost, and nothing that was cut off is back.
    SyncedSurvivesCrash,
    /// With `Atomicity::Page`, and with `Atomicity::Sync`: each page is found old or new after a crash, and never in parts.
    PagesAreWhole,
    /// With `Atomicity::Sync`: a crash leaves all that one sync published, the last that was reported or the one under way, and nothing else.
    SyncsAreWhole,
    /// A pool on the storage has in each page what was last written there.
    ServesAPool,
}

impl fmt::Display for StoragePromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}:{}", self.text())
    }
}

/// A promise that a storage has broken, and how that was found.
///
/// Example: the [module](super).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BrokenPromise {
    /// Which one.
    pub promise: StoragePromise,
    /// What the storage was asked for.
    pub asked: String,
    /// What was found.
    pub found: String,
    /// The seed that asks for the same again.
    pub seed: u64,
}

impl fmt::Display for BrokenPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promise, asked, found, seed } = self;
        write!(f, "the storage breaks a promise. {promise} Asked for: {asked}. Found: {found}. (seed {seed})")
    }
}

impl std::error::Error for BrokenPromise {}

/// What was checked, and what could not be.
///
/// Example: the [module](super).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConformanceReport {
    /// The promises that were checked, and are kept.
    pub kept: Vec<StoragePromise>,
    /// The promises that could not be checked, and why.
    pub unchecked: Vec<(StoragePromise, &'static str)>,
    /// How many requests were made, beside those of a pool.
    pub requests: u64,
    /// The length of the longest file, in bytes: as far out was anything written. See [`longest_file_bytes`](super::Conformance::longest_file_bytes).
    pub longest_file: u64,
}
