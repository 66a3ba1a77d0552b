//! What a storage says of a file that it has opened.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    BlockingFile, StorageFile,
    capabilities::{Atomicity, Capabilities},
    contained::Contained,
    os,
};
use crate::sync::Arc;

/// A file that a [`Storage`](super::Storage) has opened, and what the pool must know of it.
///
/// # Examples
/// [`Storage`](super::Storage) opens files whose transfers are calls, [`StorageFile`] one whose transfers end later. A storage that
/// keeps some files elsewhere passes the others on:
/// ```
/// use std::{io, path::Path};
/// use ringpool::{OpenOptions, PageSize, storage::{LocalFiles, Opened, Storage}};
///
/// #[derive(Debug)]
/// struct Tiers;
///
/// impl Storage for Tiers {
///     fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
///         if path.starts_with("remote") {
///             return Err(io::ErrorKind::NotFound.into());
///         }
///         LocalFiles.open(path, options, page_size) // Has a descriptor: a ring works on it.
///     }
///     fn sync_folder(&self, name: &Path) -> io::Result<()> {
///         LocalFiles.sync_folder(name)
///     }
///     fn may_remove(&self, name: &Path, identity: (u64, u64)) -> io::Result<bool> {
///         LocalFiles.may_remove(name, identity)
///     }
///     fn remove(&self, name: &Path) -> io::Result<()> {
///         LocalFiles.remove(name)
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Opened {
    pub(crate) disk: Box<dyn BlockingFile>,
    /// The same file, where its transfers end later.
    pub(crate) asynchronous: Option<Arc<dyn StorageFile>>,
    pub(crate) capabilities: Capabilities,
    /// The path of its name: absolute, and without symbolic links. `None` for a file that has no name any more.
    pub(crate) name: Option<PathBuf>,
    /// Device and inode: equal for two paths to one file.
    pub(crate) identity: (u64, u64),
    /// Whether other pools are kept from it, until it is [unlocked](BlockingFile::unlock) or dropped.
    pub(crate) lock: Result<(), WhyNot>,
    /// Whether another pool has it.
    pub(crate) is_in_use: bool,
    pub(crate) len: u64,
    /// Whether its length is fixed: a block device.
    pub(crate) has_fixed_size: bool,
    /// What offsets and lengths of transfers must be multiples of (1 for buffered I/O).
    pub(crate) offset_align: u32,
    /// Whether transfers bypass the system's page cache, and why not where that was preferred.
    pub(crate) direct: Result<(), WhyNot>,
    /// Whether a page can be written so that no power cut tears it, and why not.
    pub(crate) atomic_pages: Result<(), WhyNot>,
    /// Why starting a transfer could block the thread that starts it; `None` where the kernel takes it in without waiting.
    pub(crate) may_block: Option<String>,
}

/// Why each transfer of a file is a call, which may block.
pub(crate) const NO_DESCRIPTOR: &str = "the file has no descriptor";

/// Why pages of a storage are not written atomically, unless it has more to tell.
const NOT_ATOMIC: &str = "the storage says of no write that it is atomic";

impl Opened {
    /// Makes the description of a file whose transfers are calls. Calls [`BlockingFile::len`], and
    /// [`BlockingFile::descriptor`]. Example: [`Storage`](super::Storage).
    ///
    /// `identity` is any two numbers. It is equal for two paths to one file, at each opening. It differs from that of every other file that
    /// is there, and of every file that was removed and is still open. Then it may be used again, as a file system does with its
    /// inodes. It is compared within one pool, and need not be the same after a restart.
    ///
    /// # Errors
    /// Those of [`BlockingFile::len`].
    pub fn blocking(file: impl BlockingFile, identity: (u64, u64)) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Self::buffered(Box::new(Contained::new(file)), identity, len))
    }

    /// Makes the description of a file whose transfers end later. `identity` is as for [`blocking`](Self::blocking). Calls
    /// [`StorageFile::len`]. Example: [`StorageFile`].
    ///
    /// # Errors
    /// Those of [`StorageFile::len`].
    pub fn asynchronous(file: Arc<dyn StorageFile>, identity: (u64, u64)) -> io::Result<Self> {
        let len = file.len()?;
        let calls = Box::new(Contained::new(Arc::clone(&file)));
        let requests = Arc::new(Contained::new(file));
        Ok(Self { asynchronous: Some(requests), ..Self::buffered(calls, identity, len) })
    }

    /// Makes a buffered file without a name, for a storage that has no more to tell of it.
    pub(crate) fn buffered(file: Box<dyn BlockingFile>, identity: (u64, u64), len: u64) -> Self {
        Self {
            may_block: file.descriptor().map_or_else(|| Some(NO_DESCRIPTOR.to_owned()), os::may_block),
            disk: file,
            asynchronous: None,
            capabilities: Capabilities::new(),
            name: None,
            identity,
            lock: Err(WhyNot::NotAsked),
            is_in_use: false,
            len,
            has_fixed_size: false,
            offset_align: 1,
            direct: Err(WhyNot::NotAsked),
            atomic_pages: Err(WhyNot::Unsupported(NOT_ATOMIC.to_owned())),
        }
    }

    /// Sets what the file can do. Default: [`Capabilities::new`]. Example: [`StorageFile`].
    #[must_use]
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Sets the file's name, by which it is [removed](super::Storage::remove) and whose folder is
    /// [synced](super::Storage::sync_folder). Default: none, and the file cannot be removed.
    ///
    /// ```
    /// use std::io;
    /// use ringpool::storage::{BlockingFile, Opened};
    ///
    /// fn opened(file: impl BlockingFile, number: u64) -> io::Result<Opened> {
    ///     Ok(Opened::blocking(file, (7, number))?.name("table"))
    /// }
    /// ```
    #[must_use]
    pub fn name(mut self, name: impl AsRef<Path>) -> Self {
        self.name = Some(name.as_ref().to_owned());
        self
    }

    /// Marks the file as one that another pool has: opening is tried again for half a second, and then ends in
    /// [`Error::InUse`](crate::Error::InUse).
    ///
    /// ```
    /// use std::io;
    /// use ringpool::storage::{BlockingFile, Opened};
    ///
    /// fn opened(file: impl BlockingFile, is_mine: bool) -> io::Result<Opened> {
    ///     let opened = Opened::blocking(file, (7, 1))?;
    ///     Ok(if is_mine { opened } else { opened.in_use() })
    /// }
    /// ```
    #[must_use]
    pub fn in_use(mut self) -> Self {
        self.is_in_use = true;
        self
    }

    /// Returns whether a power cut may tear a page of the file that is written by a plain write.
    pub(crate) fn tears_pages(&self) -> bool {
        self.capabilities.atomicity == Atomicity::Nothing
    }
}

/// Why a file goes without something that it might have: direct transfers, writes that no power cut tears, a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WhyNot {
    /// The options did not ask for it.
    NotAsked,
    /// The text says what is missing.
    Unsupported(String),
}

impl WhyNot {
    /// Returns what is missing where something was asked for and cannot be had.
    pub(crate) fn missing(asked: &Result<(), Self>) -> Option<String> {
        match asked {
            Err(Self::Unsupported(reason)) => Some(reason.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{BufferPool, Error, OpenOptions, io::tests::support::FakeDisk, options::TornPages};

    #[test]
    fn a_storage_that_says_of_no_write_that_it_is_atomic_is_refused_where_pages_must_not_tear() {
        let builder = BufferPool::builder().frames(8).page_size(512).torn_pages(TornPages::Atomic);
        let pool = builder.storage(FakeDisk::stamped(8 * 512)).build().unwrap();
        let error = pool.open_file("data", OpenOptions::new().durable_name(false)).unwrap_err();
        assert!(matches!(error, Error::Config(_)) && error.to_string().contains("of no write"), "{error}");
    }
}
