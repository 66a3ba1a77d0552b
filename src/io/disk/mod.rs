//! The interface to the file system: what the pool asks of a disk.
//!
//! A [`Disk`] opens files; a [`DiskFile`] transfers, sizes and syncs one. Every I/O method ends in these calls, except io_uring,
//! which works on the descriptor when there is one. A simulated disk has no descriptor; the same methods reach it by plain calls.

pub(crate) mod os;

use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut},
    os::fd::RawFd,
    path::{Path, PathBuf},
};

use crate::{
    id::PageSize,
    io::file::{atomic_writes::NotAtomic, open_options::OpenOptions},
};

/// A file system.
pub(crate) trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Opens (or creates) the file at `path` for transfers of whole pages, from and to memory aligned to the page size.
    /// A missing file without `options.create` is [`io::ErrorKind::NotFound`].
    /// One that is created exists after a crash only if its [folder is synced](Self::sync_folder).
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened>;

    /// Makes the names in the folder of this [name](Opened::name) durable: a sync of a file does not promise that for its own
    /// name. A folder that is gone has no names.
    fn sync_folder(&self, name: &Path) -> io::Result<()>;

    /// Returns whether the name may be removed to remove the file of this identity: whether it is that file's name, and not
    /// another file's or no file's. An error for what is never removed, a device.
    fn may_remove(&self, name: &Path, identity: (u64, u64)) -> io::Result<bool>;

    /// Removes the name; durably only when its [folder is synced](Self::sync_folder). A file that is open there stays usable
    /// until it is closed.
    fn remove(&self, name: &Path) -> io::Result<()>;
}

/// The result of opening a file.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: Box<dyn DiskFile>,
    /// The path of its name: absolute, and without symbolic links. `None` for a file that has no name any more.
    pub(crate) name: Option<PathBuf>,
    /// Device and inode: equal for two paths to one file.
    pub(crate) identity: (u64, u64),
    /// Whether other pools are kept from it.
    pub(crate) lock: Lock,
    /// The length in bytes.
    pub(crate) len: u64,
    /// Whether its length is fixed: a block device.
    pub(crate) has_fixed_size: bool,
    /// What offsets and lengths of transfers must be multiples of (1 for buffered I/O).
    pub(crate) offset_align: u32,
    /// Whether transfers bypass the system's page cache, and why not where that was preferred.
    pub(crate) direct: Result<(), DirectRefused>,
    /// How many pages one write can have that no power cut tears, or why there is no such write.
    pub(crate) atomic_pages: Result<u32, NotAtomic>,
}

#[cfg(any(test, feature = "testing"))]
impl Opened {
    /// Makes a buffered file without a name, for a disk that has no more to tell of it.
    pub(crate) fn buffered(file: Box<dyn DiskFile>, identity: (u64, u64), len: u64) -> Self {
        Self {
            file,
            name: None,
            identity,
            lock: Lock::NotAsked,
            len,
            has_fixed_size: false,
            offset_align: 1,
            direct: Err(DirectRefused::NotAsked),
            atomic_pages: Err(NotAtomic::NotAsked),
        }
    }
}

/// Whether other pools are kept from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Until the file is [unlocked](DiskFile::unlock), or dropped.
    Held,
    /// `OpenOptions` said so, or the disk has no other pools.
    NotAsked,
    /// The file system cannot; the text says why.
    Unsupported(String),
    /// Another pool has it.
    InUse,
}

/// Why a file is buffered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DirectRefused {
    /// `OpenOptions` said so.
    NotAsked,
    /// The file system or the page size does not allow it; the text says which.
    Unsupported(String),
}

/// One open file. Offsets are absolute: nothing moves a cursor.
pub(crate) trait DiskFile: Send + Sync + fmt::Debug + 'static {
    /// Reads like `preadv(2)`: may be short; 0 is the end of the file.
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize>;
    /// Writes like `pwritev(2)`: may be short.
    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    /// Writes like `pwritev2(2)` with `RWF_ATOMIC`: all or nothing, whatever happens. For as many pages as
    /// [`atomic_pages`](Opened::atomic_pages) allows, and at a multiple of their length; a file without needs none.
    fn write_atomically_at(&self, _buffers: &[IoSlice<'_>], _offset: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Makes what was written durable, with the metadata needed to read it back (`fdatasync(2)`).
    fn sync_data(&self) -> io::Result<()>;
    /// Returns the length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or grows the file (`ftruncate(2)`).
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves space for a range, growing the file; `Unsupported` where the file system cannot.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Lets other pools open the file, before it is dropped: the kernel or a worker may hold it for a little longer.
    fn unlock(&self) {}
    /// Returns the descriptor, where there is one.
    fn raw_fd(&self) -> Option<RawFd>;
    /// Returns why starting a transfer could block the thread that starts it; `None` where the kernel takes it in without
    /// waiting. Found out once, at open.
    fn may_block(&self) -> Option<MayBlock> {
        self.raw_fd().is_none().then_some(MayBlock::NoDescriptor)
    }
}

/// Why a transfer of a file could block the thread that starts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MayBlock {
    /// It has no descriptor: each transfer is a call.
    NoDescriptor,
    /// The file system depends on another machine or another process.
    Remote(&'static str),
    /// The file system cannot say "not now".
    NoNowait,
}

impl fmt::Display for MayBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDescriptor => f.write_str("the file has no descriptor"),
            Self::Remote(kind) => write!(f, "{kind} may keep a request waiting without limit"),
            Self::NoNowait => {
                f.write_str("the file system does not know RWF_NOWAIT, so a request may wait for it")
            }
        }
    }
}
