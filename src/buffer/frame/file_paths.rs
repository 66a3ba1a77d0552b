//! The paths of open files, for errors: a pin knows its page by the number of its file alone, and a number says nothing to a
//! user.
//!
//! Looked up only where an error is made. The file table (`runtime/file_table`) keeps it up to date. Lock order: the lock is a
//! leaf.

use std::path::Path;

use rustc_hash::FxHashMap;

use crate::{
    id::FileId,
    sync::{
        Arc, Mutex,
        uncontrolled::{AtomicUsize, Ordering},
    },
};

#[derive(Default)]
pub(crate) struct FilePaths {
    paths: Mutex<FxHashMap<FileId, Arc<Path>>>,
    count: AtomicUsize,
}

impl FilePaths {
    /// Returns the path of the file as it was given, if it is open.
    #[cold]
    pub(crate) fn of(&self, file: FileId) -> Option<Arc<Path>> {
        self.paths.lock().get(&file).cloned()
    }

    pub(crate) fn insert(&self, file: FileId, path: &Arc<Path>) {
        self.change(|paths| paths.insert(file, Arc::clone(path)));
    }

    pub(crate) fn remove(&self, file: FileId) {
        self.change(|paths| paths.remove(&file));
    }

    fn change(&self, change: impl FnOnce(&mut FxHashMap<FileId, Arc<Path>>) -> Option<Arc<Path>>) {
        let mut paths = self.paths.lock();
        change(&mut paths);
        self.count.store(paths.len(), Ordering::Relaxed);
    }

    /// Returns whether at most one file is open.
    #[inline]
    pub(crate) fn are_one_at_most(&self) -> bool {
        self.count.load(Ordering::Relaxed) <= 1
    }
}
