//! How a file is opened.

use std::num::NonZeroU32;

use crate::{error::ConfigError, io::options::Fallback};

/// How a file is opened: an existing file, read and written, bypassing the system's page cache where that works, and locked
/// against other pools, unless told otherwise.
///
/// # Examples
/// ```
/// use std::num::NonZeroU32;
/// use ringpool::{BufferPool, OpenOptions, options::Fallback};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("table");
/// let pool = BufferPool::builder().frames(16).build()?;
/// let table = OpenOptions::new()
///     .create(true)
///     .durable_name(true)
///     .mode(0o640)
///     .tag(7)
///     .initial_blocks(8)
///     .grow_by_blocks(64)
///     .sparse(true)
///     .page_lsn(false)
///     .max_in_flight(NonZeroU32::new(32).unwrap());
/// let file = pool.open_file(&path, table)?;
/// assert_eq!(pool.blocks(file)?, 8);
/// pool.close_file(file).wait()?;
///
/// // As a backup reads it: past no page cache, and beside a pool that writes it.
/// let backup = OpenOptions::new().read_only(true).direct(Fallback::Off).lock(Fallback::Off);
/// let file = pool.open_file(&path, backup)?;
/// assert!(pool.file_info(file)?.read_only);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct OpenOptions {
    /// Whether the file is created where there is none.
    ///
    /// Where the path is a symbolic link to a file that is missing, that file is created. A file that is opened for writing has a
    /// [durable name](Self::durable_name), whether it was created now or before.
    pub create: bool,
    /// Whether the file's name is made durable. If so, its folder is synced each time the file is opened for writing, and when the
    /// file is [removed](crate::BufferPool::drop_file). It is, unless set otherwise.
    ///
    /// If not, the pool syncs no folder for this file: after a power cut the file may be missing, or be there again. Choose this
    /// for files that no recovery needs, such as those of a sort, and where the engine syncs the folder itself at the right time.
    pub durable_name: bool,
    /// The permissions of a file that is created, less those that the process's umask takes: 0o600 unless set, so that only its
    /// owner can read the data. Must be within 0o777 and include 0o600. A file that exists keeps its own.
    pub mode: u32,
    /// Whether the file is opened for reading only: write guards are refused.
    pub read_only: bool,
    /// Whether other pools, of this process and of others, are kept from opening the file while it is open here; opened for
    /// [reading only](Self::read_only), from opening it for writing. They get [`Error::InUse`](crate::Error::InUse).
    ///
    /// It is an advisory lock of the open file (`flock(2)`), which ends with it, however the process ends. It does not keep out
    /// programs that ask for no such lock, nor, for a block device, those that open it by another device node.
    /// [`FileInfo`](crate::report::FileInfo) tells where the file system has none.
    pub lock: Fallback,
    /// Whether transfers bypass the system's page cache (`O_DIRECT`).
    pub direct: Fallback,
    /// The least number of blocks: the file is grown to them, zeroed, before it is used; 0 unless set.
    pub initial_blocks: u32,
    /// How many blocks are zeroed ahead on disk whenever the file grows, so that most extensions need no I/O; none unless set.
    ///
    /// They count as blocks of the file once an extension has got them. Closing the file gives unused ones back; after a crash
    /// they are blocks like others, all zero.
    pub grow_by_blocks: u32,
    /// Whether pages of zeros are taken for new ones that were never written, and not shown to the [codec](crate::PageCodec). Not
    /// unless set: then a page that has become zeros is an error if the codec has a checksum.
    ///
    /// For files with holes, files and devices that were filled with zeros by another program, and recovery: blocks that were
    /// added after the last sync of the file may be zeros after a crash. An engine that knows the length of the file as of that
    /// sync can [cut](crate::BufferPool::truncate) it to that instead.
    pub sparse: bool,
    /// Whether the file's pages keep their LSN where the [pool was told](crate::Builder::page_lsn). They do, unless set
    /// otherwise, for a file that has other bytes there. Of such a page the pool knows only records that were stated since it was
    /// read.
    pub page_lsn: bool,
    /// The engine's own lasting number for the file, by which the page codec and the protection from [torn
    /// pages](crate::options::TornPages) know it: a [`FileId`](crate::FileId) is given anew each time a file is opened.
    ///
    /// **Without tags of their own, pages of two files can be exchanged on disk, and no checksum tells.** So two open files of a
    /// pool with a codec cannot have the same one ([`Error::TagTaken`](crate::Error::TagTaken); a file without a tag has 0), and
    /// with a doublewrite area each file must be given one. The pool does not know the files that are not open: the engine must
    /// give each a number of its own, for ever.
    pub tag: Option<u64>,
    /// The most reads and writes of pages that the pool has in flight for the file, from all threads. Unless set, three quarters
    /// of what the I/O method can have in flight, so that a file that does not answer never takes all of it; but one, where the
    /// method can have only one ([one worker thread](crate::IoMethod::Worker), or a queue depth of 1). A thread that waits
    /// for one missing page, and one that finds the method's queue full, make their transfers beside that.
    ///
    /// If it is set, no transfer bypasses it: such a thread hands its request over too, which costs it two wake-ups, and with
    /// [`IoMethod::Sync`](crate::IoMethod::Sync) it waits for its turn. The limit of the method itself holds in any case. Syncs
    /// and changes of the file's length are not counted. If the system takes the ring away from the pool
    /// ([`Stats::method`](crate::stats::Stats::method) tells), requests in that ring stay in flight until they end, beside those
    /// that are begun elsewhere.
    pub max_in_flight: Option<NonZeroU32>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            create: false,
            durable_name: true,
            mode: 0o600,
            read_only: false,
            lock: Fallback::Prefer,
            direct: Fallback::Prefer,
            initial_blocks: 0,
            grow_by_blocks: 0,
            sparse: false,
            page_lsn: true,
            tag: None,
            max_in_flight: None,
        }
    }
}

impl OpenOptions {
    /// Makes options for an existing file, read and written, direct where that works. Example: [`OpenOptions`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the file is created where there is none. Example: [`OpenOptions`].
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets whether the file's name is made durable when it is opened and when it is removed. Example: [`OpenOptions`].
    pub fn durable_name(mut self, durable: bool) -> Self {
        self.durable_name = durable;
        self
    }

    /// Sets the permissions of a file that is created. Example: [`OpenOptions`].
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Sets whether the file is opened for reading only. Example: [`OpenOptions`].
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Sets whether other pools are kept from opening the file. Example: [`OpenOptions`].
    pub fn lock(mut self, lock: Fallback) -> Self {
        self.lock = lock;
        self
    }

    /// Sets whether transfers bypass the system's page cache. Example: [`OpenOptions`].
    pub fn direct(mut self, direct: Fallback) -> Self {
        self.direct = direct;
        self
    }

    /// Sets the least number of blocks, to which the file is grown before it is used. Example: [`OpenOptions`].
    pub fn initial_blocks(mut self, blocks: u32) -> Self {
        self.initial_blocks = blocks;
        self
    }

    /// Sets how many blocks are zeroed ahead on disk whenever the file grows. Example: [`OpenOptions`].
    pub fn grow_by_blocks(mut self, blocks: u32) -> Self {
        self.grow_by_blocks = blocks;
        self
    }

    /// Sets whether pages of zeros are taken for new ones. Example: [`OpenOptions`].
    pub fn sparse(mut self, sparse: bool) -> Self {
        self.sparse = sparse;
        self
    }

    /// Sets whether the file's pages keep their LSN where the pool was told. Example: [`OpenOptions`].
    pub fn page_lsn(mut self, page_lsn: bool) -> Self {
        self.page_lsn = page_lsn;
        self
    }

    /// Sets the engine's own lasting number for the file. Example: [`OpenOptions`].
    pub fn tag(mut self, tag: u64) -> Self {
        self.tag = Some(tag);
        self
    }

    /// Sets the most reads and writes of pages in flight for the file. Example: [`OpenOptions`].
    pub fn max_in_flight(mut self, requests: NonZeroU32) -> Self {
        self.max_in_flight = Some(requests);
        self
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.read_only && (self.create || self.initial_blocks > 0 || self.grow_by_blocks > 0) {
            let advice = "a file opened for reading only can be neither created nor grown: leave out create, initial_blocks and grow_by_blocks";
            return Err(ConfigError::new("read_only", true, advice));
        }
        if self.mode & !0o777 != 0 || self.mode & 0o600 != 0o600 {
            let (mode, advice) =
                (format!("{:#o}", self.mode), "choose permissions of 0o777, with 0o600 for the owner");
            return Err(ConfigError::new("mode", mode, advice));
        }
        Ok(())
    }
}
