//! A test of a storage of your own: whether it keeps what the [seam](crate::storage) promises to a pool.
//!
//! [`Conformance::run`] opens files of the storage, asks as a pool does, compares what it finds with a model, and puts a small pool
//! on it. It returns what was checked, or the first [promise](StoragePromise) that is broken: what was asked for, and what was found. A request
//! that is never ended, and a call that never returns, are such a result too, after a [bounded wait](Conformance::patience).
//!
//! What a storage does after a crash cannot be seen without one: [`Conformance::after_crash`] takes a closure that makes one. That a
//! request is ended once needs no check: its type allows no second end.
//!
//! ```
//! use ringpool::{storage::LocalFiles, testing::conformance::Conformance};
//!
//! let folder = tempfile::tempdir()?;
//! let report = Conformance::new(LocalFiles, folder.path()).rounds(20).run()?;
//! println!("{} promises kept after {} requests", report.kept.len(), report.requests);
//! for (promise, why) in report.unchecked {
//!     println!("not checked: {promise} {why}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checker;
mod crashes;
mod durability;
mod far;
mod lengths;
mod names;
mod promise;
mod stamp;
mod system;
mod tested_file;
mod transfers;
mod whole_pool;

#[cfg(test)]
mod tests;

use std::{fmt, path::Path};

use self::checker::{CheckSettings, Checker};
pub use self::promise::{BrokenPromise, ConformanceReport, StoragePromise};
use crate::{
    PageSize,
    io::storage::Storage,
    sync::{Arc, time::Duration},
};

type CrashHook = Box<dyn FnMut() -> Arc<dyn Storage> + Send>;

/// A test of a storage.
///
/// # Examples
/// A disk whose power can be cut:
/// ```
/// use std::time::Duration;
/// use ringpool::{PageSize, testing::{Later, SimDisk, conformance::Conformance}};
///
/// let mut disk = SimDisk::new();
/// Conformance::new(Later::new(disk.clone(), 1), "files")
///     .seed(7)
///     .page_size(PageSize::MIN)
///     .rounds(20)
///     .patience(Duration::from_secs(30))
///     .longest_file_bytes(1 << 20)
///     .after_crash(move || {
///         disk = disk.after_power_cut(1);
///         Later::new(disk.clone(), 1)
///     })
///     .run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it checks nothing until it is run"]
pub struct Conformance {
    storage: Arc<dyn Storage>,
    settings: CheckSettings,
    crash: Option<CrashHook>,
}

impl Conformance {
    /// Makes a test of a storage by files of the folder `folder`, which must have none yet that begin with `conformance-`. They are removed at
    /// the end, where the storage can do that. Example: [`Conformance`].
    pub fn new(storage: impl Storage, folder: impl AsRef<Path>) -> Self {
        let settings = CheckSettings {
            folder: folder.as_ref().to_owned(),
            seed: 0,
            page_size: PageSize::DEFAULT,
            rounds: 100,
            patience: Duration::from_secs(10),
            longest_file: None,
        };
        Self { storage: Arc::new(storage), settings, crash: None }
    }

    /// Sets the seed, which decides all that is left to chance, but not the order in which threads run. Default: 0.
    /// Example: [`Conformance`].
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Sets the page size. Default: 8 KiB. Example: [`Conformance`].
    pub fn page_size(mut self, page_size: PageSize) -> Self {
        self.settings.page_size = page_size;
        self
    }

    /// Sets how often each check asks at random. Default: 100, which is some thousands of requests. At least 1. Example: [`Conformance`].
    pub fn rounds(mut self, rounds: u32) -> Self {
        self.settings.rounds = rounds.max(1);
        self
    }

    /// Sets how long a request may take until it counts as never ended. A call that does not return ends the test after twice that.
    /// Default: 10 s. Example: [`Conformance`].
    pub fn patience(mut self, patience: Duration) -> Self {
        self.settings.patience = patience;
        self
    }

    /// Sets how long a file may become, in bytes: a few pages are written far out, and nothing between them. Default: as long as that is
    /// cheap. A file is not made longer when the last step took an eighth of the [patience](Self::patience), or the process has taken
    /// 128 MiB more memory, or the storage has said that it is [too long](crate::storage::BlockingFile::write_at).
    /// [`longest_file`](ConformanceReport::longest_file) tells how long it was.
    /// Example: [`Conformance`].
    pub fn longest_file_bytes(mut self, bytes: u64) -> Self {
        self.settings.longest_file = Some(bytes);
        self
    }

    /// Sets how to make a crash: the closure makes the storage as it is found after one, while requests may be under way. The test goes
    /// on with that storage. Default: none, and the promises of crashes are not checked. Example: [`Conformance`].
    pub fn after_crash<S: Storage>(mut self, mut crash: impl FnMut() -> S + Send + 'static) -> Self {
        self.crash = Some(Box::new(move || Arc::new(crash())));
        self
    }

    /// Runs all checks.
    ///
    /// A call that does not return leaves its thread behind, and the files. Example: [`Conformance`].
    ///
    /// # Errors
    /// The first promise that is found to be broken.
    pub fn run(self) -> Result<ConformanceReport, BrokenPromise> {
        let crash = self.crash;
        Checker::new(self.storage, self.settings).run(|checker| {
            names::check(checker)?;
            transfers::check(checker)?;
            lengths::check(checker)?;
            far::check(checker)?;
            durability::check(checker)?;
            crashes::check(checker, crash)?;
            whole_pool::check(checker)
        })
    }
}

impl fmt::Debug for Conformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conformance")
            .field("storage", &self.storage)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
