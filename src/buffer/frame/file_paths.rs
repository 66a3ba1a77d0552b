//! The paths of open files, for errors: a pin knows its page by the number of its file alone, and a number says nothing to a
//! user.
//!
//! Looked up only where an error is made. The file table (`runtime/file_table`) keeps it up to date. Lock order: the lock is a
//! leaf.

use std::path::Path;

use rustc_hash::FxHashMap;

use crate::{
    id::FileId,
    sync::{Arc, Mutex},
};

#[derive(Default)]
pub(crate) struct FilePaths(Mutex<FxHashMap<FileId, Arc<Path>>>);

impl FilePaths {
    /// Returns the path of the file as it was given, if it is open.
    #[cold]
    pub(crate) fn of(&self, file: FileId) -> Option<Arc<Path>> {
        self.0.lock().get(&file).cloned()
    }

    pub(crate) fn insert(&self, file: FileId, path: &Arc<Path>) {
        self.0.lock().insert(file, Arc::clone(path));
    }

    pub(crate) fn remove(&self, file: FileId) {
        self.0.lock().remove(&file);
    }
}
