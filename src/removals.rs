//! Names that were removed, and may be back after a crash.
//!
//! A removal is durable when the folder is synced. Should that fail, the file is gone all the same, for the pool and for every
//! other process, until the next crash. So the name is kept here, and no checkpoint is through before its folder is synced.

use std::path::{Path, PathBuf};

use crate::{
    error::{Error, IoOp, Result},
    io::disk::Disk,
    sync::{Arc, Mutex},
};

/// The names that were removed from folders which were not synced since. The lock is held across those syncs, and no other is
/// taken under it.
#[derive(Debug, Default)]
pub(crate) struct Removals(Mutex<Vec<PathBuf>>);

impl Removals {
    pub(crate) fn add(&self, name: &Path) {
        self.0.lock().push(name.to_owned());
    }

    /// Syncs the folders. Where that fails, the next call tries it again.
    pub(crate) fn make_durable(&self, disk: &dyn Disk) -> Result<()> {
        let mut names = self.0.lock();
        let mut first_error = None;
        names.retain(|name| {
            let Err(source) = disk.sync_folder(name) else { return false };
            let (op, path, source) = (IoOp::SyncFolder, name.clone(), Arc::new(source));
            first_error.get_or_insert(Error::File { op, path, source });
            !seeded!("removal_not_kept_in_mind")
        });
        first_error.map_or(Ok(()), Err)
    }
}
