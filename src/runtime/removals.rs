//! Names whose removal may be undone by a crash.
//!
//! A removal is durable when the folder is synced. If that fails, the file is gone nevertheless, for the pool and for every other
//! process, until the next crash. So the name is kept here, and no checkpoint succeeds before its folder is synced.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, IoOp, Result},
    io::storage::Storage,
    sync::{Arc, Mutex},
};

/// The removals whose folders could not be synced since. No folder is synced with the lock held: one that does not answer must not
/// delay removals from other folders.
#[derive(Debug, Default)]
pub(crate) struct Removals(Mutex<Vec<Arc<PathBuf>>>);

impl Removals {
    /// Makes the removal of this name durable. If that fails, the next checkpoint tries again.
    pub(crate) fn make_durable(&self, storage: &dyn Storage, name: &Path) -> Result<()> {
        storage.sync_folder(name).map_err(|source| {
            if !seeded!("removal_not_kept_in_mind") {
                self.0.lock().push(Arc::new(name.to_owned()));
            }
            failed(name, source)
        })
    }

    /// Syncs the folders of all removals that are not durable.
    ///
    /// # Errors
    /// The first failure. All the others were tried.
    pub(crate) fn retry(&self, storage: &dyn Storage) -> Result<()> {
        let tried = self.0.lock().clone();
        let mut outcome = Ok(());
        for name in tried {
            match storage.sync_folder(&name) {
                // A removal of the same name that has failed since is another one.
                Ok(()) => self.0.lock().retain(|other| !Arc::ptr_eq(other, &name)),
                Err(source) => outcome = outcome.and(Err(failed(&name, source))),
            }
        }
        outcome
    }
}

fn failed(name: &Path, source: io::Error) -> Error {
    Error::File { op: IoOp::SyncFolder, path: name.into(), source: Arc::new(source) }
}
