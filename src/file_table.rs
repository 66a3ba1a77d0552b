//! The open files of a pool, by id. An id is never given twice, so a stale frame can never match a later file.

use std::{
    collections::{HashMap, hash_map::Values},
    path::Path,
};

use crate::{
    error::{Error, Result},
    id::FileId,
    io::file::File,
    sync::{Arc, Mutex},
};

/// Open files by id. Its lock is level 2 of the lock order's short locks: taken alone, never across I/O but that of opening.
pub(crate) struct FileTable(Mutex<Table>);

struct Table {
    /// Those on their way out included: nobody finds them by their id, but their last changes are still written, and should
    /// the close fail, they are open as before.
    files: HashMap<FileId, Arc<File>>,
    next: u32,
}

impl FileTable {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Table { files: HashMap::new(), next: 0 }))
    }

    /// The file, for those who write its pages out: also while it is being closed.
    pub(crate) fn for_write_out(&self, id: FileId) -> Option<Arc<File>> {
        self.0.lock().files.get(&id).cloned()
    }

    /// The open file, or an error that says that it is not.
    pub(crate) fn open_file(&self, id: FileId) -> Result<Arc<File>> {
        self.for_write_out(id).filter(|file| !file.is_closed()).ok_or(Error::NotOpen { file: id })
    }

    /// Every file that may have to be synced, in the order in which they were opened.
    pub(crate) fn all(&self) -> Vec<Arc<File>> {
        let mut all: Vec<_> = self.0.lock().files.values().cloned().collect();
        all.sort_unstable_by_key(|file| file.id);
        all
    }

    /// Adds what `open` makes of the next id, unless the same file is open already. `admit` has the last word, given the
    /// other files.
    pub(crate) fn add(
        &self,
        path: &Path,
        open: impl FnOnce(FileId) -> Result<File>,
        admit: impl FnOnce(&File, Values<'_, FileId, Arc<File>>) -> Result<()>,
    ) -> Result<Arc<File>> {
        let mut table = self.0.lock();
        let id = FileId(table.next);
        let next = table.next.checked_add(1);
        let next = next.ok_or_else(|| {
            Error::config("a pool opens at most 2^32 - 1 files in its life: build a new pool")
        })?;
        let file = open(id)?;
        if let Some(other) = table.files.values().find(|other| other.identity == file.identity) {
            return Err(Error::AlreadyOpen { path: path.to_owned(), file: other.id });
        }
        admit(&file, table.files.values())?;
        let file = Arc::new(file);
        table.next = next;
        table.files.insert(id, Arc::clone(&file));
        Ok(file)
    }

    pub(crate) fn remove(&self, id: FileId) {
        self.0.lock().files.remove(&id);
    }
}
