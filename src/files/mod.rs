//! What opens, changes and closes a file as a whole.
//!
//! [`extent`] grows and cuts files, [`vacate`] gets a file's pages out of the pool, which closing and cutting stand on.

pub(crate) mod close;
pub(crate) mod extent;
pub(crate) mod vacate;

use std::path::{Path, PathBuf};

use crate::{
    config::OpenOptions,
    error::{Error, Result},
    id::FileId,
    io::{disk::DirectRefused, file::File},
    shared::Shared,
};

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
    /// Why its requests go to threads beside the ring, under io_uring: what could block the one who submits them.
    pub aside_because: Option<String>,
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
            aside_because: file.may_block.as_ref().map(ToString::to_string),
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
