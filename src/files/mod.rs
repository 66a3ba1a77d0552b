//! The open files of a pool, and what changes a file as a whole.
//!
//! The table gives out ids and never gives one twice. [`extent`] grows and cuts files, [`vacate`] gets a file's pages out
//! of the pool, which closing and cutting stand on.

pub(crate) mod close;
pub(crate) mod extent;
pub(crate) mod vacate;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use crate::{
    config::OpenOptions,
    error::{Error, Result},
    id::FileId,
    io::{disk::DirectRefused, file::File},
    shared::Shared,
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

    /// Adds what `open` makes of the next id, unless the same file is open already.
    fn add(&self, path: &Path, open: impl FnOnce(FileId) -> Result<File>) -> Result<Arc<File>> {
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
        let file = Arc::new(file);
        table.next = next;
        table.files.insert(id, Arc::clone(&file));
        Ok(file)
    }

    fn remove(&self, id: FileId) {
        self.0.lock().files.remove(&id);
    }
}

/// What is known of an open file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileInfo {
    /// The path it was opened by.
    pub path: PathBuf,
    /// Its length in blocks; a last block that is not whole counts.
    pub blocks: u32,
    /// Whether it was opened for reading only.
    pub read_only: bool,
    /// Whether transfers bypass the system's page cache.
    pub direct: bool,
    /// Why they do not, where that was preferred.
    pub buffered_because: Option<String>,
}

impl FileInfo {
    pub(crate) fn of(file: &File) -> Self {
        let buffered_because = match &file.direct {
            Err(DirectRefused::Unsupported(reason)) => Some(reason.clone()),
            _ => None,
        };
        Self {
            path: file.path.clone(),
            blocks: file.blocks(),
            read_only: file.read_only,
            direct: file.direct.is_ok(),
            buffered_because,
        }
    }
}

/// Opens a file, and grows it where the options say so.
pub(crate) fn open(shared: &Shared, path: &Path, options: &OpenOptions) -> Result<FileId> {
    shared.check_open()?;
    if options.read_only && (options.create || options.initial_blocks > 0) {
        return Err(Error::config("a file opened for reading only can be neither created nor grown"));
    }
    let open = |id| File::open(&*shared.disk, id, path, options, shared.config.page_size);
    let file = shared.files.add(path, open)?;
    let grown = file.lock_size().grow(options.initial_blocks, &shared.counters);
    grown.inspect_err(|_| shared.files.remove(file.id))?;
    Ok(file.id)
}
