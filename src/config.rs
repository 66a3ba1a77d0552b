//! What a pool can be told: options as typed values, checked once when the pool is built.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    codec::PageCodec,
    error::{Error, Result},
    id::PageSize,
    wal::Wal,
};

/// What to do about something the system may refuse.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// Fail where it is refused.
    Require,
    /// Use it where it is granted, else do without; the reason can be read from the stats.
    #[default]
    Prefer,
    /// Do not use it.
    Off,
}

/// How the io_uring method sets up its ring.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UringOptions {
    /// The most requests in flight at once, 1 to 4096; the completion queue always has room for all of them. 128 unless
    /// set: beyond what most devices gain from, below what makes the block layer wait for tags.
    pub queue_depth: u32,
    /// Whether the frames are registered with the ring. Refused where `RLIMIT_MEMLOCK` is too small.
    pub fixed_buffers: Fallback,
    /// Whether files are registered with the ring.
    pub fixed_files: Fallback,
}

impl Default for UringOptions {
    fn default() -> Self {
        Self { queue_depth: 128, fixed_buffers: Fallback::Prefer, fixed_files: Fallback::Prefer }
    }
}

impl UringOptions {
    /// Sets the most requests in flight.
    #[must_use]
    pub fn queue_depth(mut self, requests: u32) -> Self {
        self.queue_depth = requests;
        self
    }

    /// Sets whether frames are registered.
    #[must_use]
    pub fn fixed_buffers(mut self, fallback: Fallback) -> Self {
        self.fixed_buffers = fallback;
        self
    }

    /// Sets whether files are registered.
    #[must_use]
    pub fn fixed_files(mut self, fallback: Fallback) -> Self {
        self.fixed_files = fallback;
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if (1..=4096).contains(&self.queue_depth) {
            Ok(())
        } else {
            Err(Error::config(format!("queue_depth {}: choose 1 to 4096", self.queue_depth)))
        }
    }
}

/// How bytes move between frames and files. Every method gives the same results (C7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoMethod {
    /// The best that works here: io_uring, else worker threads, else sync. The stats tell which and why.
    #[default]
    Auto,
    /// One submission worker that owns an io_uring; an error where the system forbids it.
    Uring(UringOptions),
    /// Threads that call `pread` and `pwrite`.
    Worker {
        /// How many, 1 to 256.
        threads: u32,
    },
    /// Every transfer happens in the thread that asks for it: the reference the others are tested against.
    Sync,
}

impl IoMethod {
    /// The io_uring method with its defaults.
    #[must_use]
    pub fn uring() -> Self {
        Self::Uring(UringOptions::default())
    }

    /// The worker threads method with eight threads.
    #[must_use]
    pub fn worker() -> Self {
        Self::Worker { threads: Self::DEFAULT_THREADS }
    }

    pub(crate) const DEFAULT_THREADS: u32 = 8;

    pub(crate) fn validate(&self) -> Result<()> {
        match self {
            Self::Uring(options) => options.validate(),
            Self::Worker { threads } if !(1..=256).contains(threads) => {
                Err(Error::config(format!("{threads} worker threads: choose 1 to 256")))
            }
            _ => Ok(()),
        }
    }
}

/// What is done against torn pages: a power cut in the middle of a write may leave some sectors of a page old and others new.
///
/// An engine whose log holds the whole image of a page at its first change after a checkpoint, as PostgreSQL's does, needs
/// nothing. A checksum only finds a torn page; what is chosen here puts it right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TornPages {
    /// Nothing: the engine's log can restore a torn page, or pages are no larger than what the disk writes at once.
    #[default]
    Unprotected,
    /// Copies of the pages are made durable in an area of their own before the pages go to their places, and are put back
    /// where needed when a file is opened.
    ///
    /// Every file must have a [`tag`](OpenOptions::tag) of its own, under which it is known after a crash. Files must not be
    /// changed by others, or by a pool without the area, between a crash and the next opening.
    DoubleWrite(DoubleWriteArea),
    /// Pages are written atomically: no power cut tears such a write. A file for which the system has none that are as long
    /// as a page is refused; opened for reading only it never is.
    ///
    /// It takes direct I/O, Linux 6.13, a device that can, and a file system that lets it.
    Atomic,
    /// Each file as it can be: pages are written atomically where the system allows it, and copied first elsewhere.
    /// [`FileInfo`](crate::FileInfo) tells which and why.
    AtomicOrDoubleWrite(DoubleWriteArea),
}

impl TornPages {
    /// The area for copies, where one is wanted.
    pub(crate) fn area(&self) -> Option<&DoubleWriteArea> {
        match self {
            Self::DoubleWrite(area) | Self::AtomicOrDoubleWrite(area) => Some(area),
            Self::Unprotected | Self::Atomic => None,
        }
    }

    /// Whether files are to be written atomically that can be, or must be.
    pub(crate) fn atomic(&self) -> Fallback {
        match self {
            Self::Unprotected | Self::DoubleWrite(_) => Fallback::Off,
            Self::AtomicOrDoubleWrite(_) => Fallback::Prefer,
            Self::Atomic => Fallback::Require,
        }
    }
}

/// The file in which copies of pages go first. See [`TornPages`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DoubleWriteArea {
    /// Where it is; made where there is none. One pool uses it at a time.
    pub path: PathBuf,
    /// How large it is; 32 MiB unless set, and never less than what the largest batch needs. Each time half of it is full, files
    /// are synced.
    pub bytes: usize,
}

impl DoubleWriteArea {
    /// An area of 32 MiB.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), bytes: 32 << 20 }
    }

    /// Sets how large it is.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }
}

/// How a file is opened: an existing file, read and written, bypassing the system's page cache where that works, unless
/// told otherwise.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Create the file where there is none.
    pub create: bool,
    /// Open for reading only: write guards are refused.
    pub read_only: bool,
    /// Bypass the system's page cache (`O_DIRECT`).
    pub direct: Fallback,
    /// Grow the file to at least this many blocks, zeroed, before it is used.
    pub initial_blocks: u32,
    /// Zero so many blocks ahead on disk whenever the file grows, so that most extensions need no I/O; none unless set.
    ///
    /// They count as blocks of the file once they are handed out. Closing the file gives the rest back; after a crash they
    /// are blocks like others, all zero.
    pub grow_by: u32,
    /// The engine's own lasting number for the file, which the page codec and the protection from
    /// [torn pages](TornPages) know it by: a [`FileId`](crate::FileId) is given anew each time a file is opened.
    pub tag: u64,
}

impl OpenOptions {
    /// An existing file, read and written, direct where that works.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Create the file where there is none.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Open for reading only.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether to bypass the system's page cache.
    #[must_use]
    pub fn direct(mut self, direct: Fallback) -> Self {
        self.direct = direct;
        self
    }

    /// Grow the file to at least this many blocks.
    #[must_use]
    pub fn initial_blocks(mut self, blocks: u32) -> Self {
        self.initial_blocks = blocks;
        self
    }

    /// Zero so many blocks ahead on disk whenever the file grows.
    #[must_use]
    pub fn grow_by(mut self, blocks: u32) -> Self {
        self.grow_by = blocks;
        self
    }

    /// The engine's own lasting number for the file.
    #[must_use]
    pub fn tag(mut self, tag: u64) -> Self {
        self.tag = tag;
        self
    }
}

/// How a single fetch behaves.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchOptions {
    /// The most to wait for a frame, where all are pinned or busy; the pool's own limit unless set.
    pub frame_wait: Option<Duration>,
}

impl FetchOptions {
    /// As the pool was told.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the most to wait for a frame.
    #[must_use]
    pub fn frame_wait(mut self, wait: Duration) -> Self {
        self.frame_wait = Some(wait);
        self
    }
}

/// What becomes of dirty pages when a pool is shut down.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shutdown {
    /// Write and sync everything first.
    Flush,
    /// Throw them away; they are counted in the report.
    Discard,
}

/// A pool's options, checked.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) frames: u32,
    pub(crate) page_size: PageSize,
    pub(crate) io_method: IoMethod,
    pub(crate) wal: Option<Arc<dyn Wal>>,
    pub(crate) codec: Option<Arc<dyn PageCodec>>,
    pub(crate) torn_pages: TornPages,
    /// The most a fetch waits for a frame.
    pub(crate) frame_wait: Duration,
    /// The most pages that one request covers.
    pub(crate) combine_pages: usize,
}

/// The largest request, in bytes.
pub(crate) const COMBINE_LIMIT_MAX: usize = 1 << 20;

/// The most pages of staging.
pub(crate) const STAGING_PAGES_MAX: usize = 512;

impl Config {
    /// The default limit of a request, as in PostgreSQL's `io_combine_limit`.
    pub(crate) const COMBINE_LIMIT: usize = 128 << 10;

    /// How long a fetch waits for a frame unless told otherwise.
    pub(crate) const FRAME_WAIT: Duration = Duration::from_secs(1);

    pub(crate) fn validate(&self) -> Result<()> {
        if self.frames == 0 {
            return Err(Error::config("a pool needs at least one frame: set frames or memory"));
        }
        self.io_method.validate()
    }

    /// Pages of staging: one for each 256 frames, so that with the headers and the page table it stays below a hundredth of
    /// the page memory (8 KiB pages); but room for a queue of single pages where the pool has that many, and never
    /// more than a few full requests need.
    pub(crate) fn staging_pages(&self) -> usize {
        let frames = self.frames as usize;
        (frames / 256).max(64.min(frames / 4)).clamp(1, STAGING_PAGES_MAX)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("frames", &self.frames)
            .field("page_size", &self.page_size)
            .field("io_method", &self.io_method)
            .field("wal", &self.wal.is_some())
            .field("codec", &self.codec.is_some())
            .field("torn_pages", &self.torn_pages)
            .field("frame_wait", &self.frame_wait)
            .field("combine_pages", &self.combine_pages)
            .finish()
    }
}
