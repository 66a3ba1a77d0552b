//! What a pool can be told: options as typed values, checked once when the pool is built.

mod open_options;
mod torn_pages;

use std::{fmt, sync::Arc, time::Duration};

pub use open_options::OpenOptions;
pub use torn_pages::{DoubleWriteArea, TornPages};

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
    /// The most requests in flight at once, 1 to 4096; the completion queue always has room for all of them. One file gets
    /// three quarters of it, and so do reads that nobody waits for. 256 unless set: beyond what most devices gain from even
    /// by a single file.
    pub queue_depth: u32,
    /// Whether the frames are registered with the ring. Refused where `RLIMIT_MEMLOCK` is too small.
    pub fixed_buffers: Fallback,
    /// Whether files are registered with the ring.
    pub fixed_files: Fallback,
    /// Submission workers, 1 to 64, each with a ring of its own of `queue_depth`. One unless set, which serves a few hundred
    /// thousand requests a second; more are for machines with many cores and devices. Neighbours in a file are served by
    /// the same worker.
    pub workers: u32,
}

impl Default for UringOptions {
    fn default() -> Self {
        Self { queue_depth: 256, fixed_buffers: Fallback::Prefer, fixed_files: Fallback::Prefer, workers: 1 }
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

    /// Sets how many submission workers there are.
    #[must_use]
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if !(1..=4096).contains(&self.queue_depth) {
            return Err(Error::config(format!("queue_depth {}: choose 1 to 4096", self.queue_depth)));
        }
        if !(1..=64).contains(&self.workers) {
            return Err(Error::config(format!("{} submission workers: choose 1 to 64", self.workers)));
        }
        Ok(())
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
    ///
    /// A thread that needs a frame, and finds only dirty pages, writes some of them first, whatever files they are of. So does a task,
    /// in the thread that polls it, and a stream or prefetch. If the disk of one of these files does not answer, the thread waits for as
    /// long as the disk takes, also if the page that it wants is of another file. No
    /// [`disk_wait`](crate::Builder::disk_wait) ends a transfer. Threads that find their pages resident or a clean frame go on.
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

/// Whether a thread of the pool writes dirty pages before their frames are wanted, so that a fetch finds clean ones.
///
/// It sleeps until a fetch has taken a frame and few are left ready, writes what would be taken next, with its dirty
/// neighbours in the file that are not used either, and keeps more ready the more are wanted. What it cannot write it tries again later; whoever
/// needs a frame then writes for himself, and gets the error.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackgroundWriter {
    /// From 256 frames on: at least one of 128 frames is kept ready, at most one of 16.
    #[default]
    Auto,
    /// No such thread: a fetch that finds dirty victims only has them written.
    Off,
    /// So many frames are kept ready: `low` as a rule, up to `high` when many are wanted. 1 to the number of frames.
    Ready {
        /// The fewest.
        low: u32,
        /// The most: as far as pages that were not used have so many frames, or fetches have come by dirty ones beyond those.
        high: u32,
    },
}

impl BackgroundWriter {
    /// Below this many frames a share of them is too small to be worth a thread.
    const AUTO_FRAMES: u32 = 256;

    fn validate(self, frames: u32) -> Result<()> {
        match self {
            Self::Ready { low, high } if low == 0 || low > high || high > frames => {
                Err(Error::config(format!(
                    "a background writer that keeps {low} to {high} frames ready: choose 1 to {frames}, the lower first"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The bounds of what is kept ready in a pool of so many frames; `None` where there is no writer.
    pub(crate) fn marks(self, frames: u32) -> Option<Marks> {
        let marks = |low: u32, high: u32| Some(Marks { low: low as usize, high: high as usize });
        match self {
            Self::Auto if frames >= Self::AUTO_FRAMES => marks(frames / 128, frames / 16),
            Self::Auto | Self::Off => None,
            // A pool may have shrunk since they were set.
            Self::Ready { low, high } => marks(low.min(frames), high.min(frames)),
        }
    }
}

/// The bounds of what is kept ready, in frames.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) low: usize,
    pub(crate) high: usize,
}

/// How a single fetch behaves.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchOptions {
    /// The most to wait for a frame while all are pinned; the pool's own [limit](crate::Builder::frame_wait) unless set.
    pub frame_wait: Option<Duration>,
}

impl FetchOptions {
    /// As the pool was told.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the most to wait for a frame while all are pinned.
    #[must_use]
    pub fn frame_wait(mut self, wait: Duration) -> Self {
        self.frame_wait = Some(wait);
        self
    }
}

/// How a read stream behaves.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamOptions {
    /// The most pages to hold in advance; as many as 4 MiB have unless set. The stream finds out by itself how many of them
    /// pay. Never more than half of what the pool grants to look-ahead as a whole; and never so many that a page that was used
    /// would lose its frame to them, before pages that were not: a tenth of the frames is always there for those.
    ///
    /// They stay pinned until the stream hands them out or is dropped, also where it is not pulled. What the pool grants to all that look
    /// ahead is three quarters of its frames (and to one file three quarters of these, while others are open): so many of them a [`fetch_many`](crate::BufferPool::fetch_many) or a
    /// [`resize`](crate::BufferPool::resize) may have to do without.
    pub look_ahead: Option<u32>,
    /// The most bytes that one request covers, up to 1 MiB; as the pool was told unless set. A page is always allowed.
    pub combine_limit: Option<usize>,
    /// For a [bulk](Self::bulk) read, the bytes of the frames that it uses over and over, beside those that it looks ahead.
    pub ring: Option<usize>,
    /// The most to wait for a frame while all are pinned; the pool's own [limit](crate::Builder::frame_wait) unless set.
    pub frame_wait: Option<Duration>,
}

impl StreamOptions {
    /// The bytes of the ring of a bulk read, as in PostgreSQL.
    const RING: usize = 256 << 10;

    /// As the pool was told, and for pages that may be wanted again.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For a read of much that is not wanted again soon, as a scan of a large table: it keeps to a small ring of frames (an
    /// eighth of the pool at the most), so that the pages which others use stay where they are. Pages that it finds in the
    /// pool are used without being kept there any longer for it.
    ///
    /// A page that is changed leaves the ring: it is written as other dirty pages are, and another frame takes its place. So a scan that
    /// changes its pages leaves those alone that were used more than once, but takes the frames of pages that were used once.
    #[must_use]
    pub fn bulk(self) -> Self {
        self.ring(Self::RING)
    }

    /// The same with so many bytes of frames, beside those that are looked ahead.
    #[must_use]
    pub fn ring(mut self, bytes: usize) -> Self {
        self.ring = Some(bytes);
        self
    }

    /// Sets the most pages to hold in advance.
    #[must_use]
    pub fn look_ahead(mut self, pages: u32) -> Self {
        self.look_ahead = Some(pages);
        self
    }

    /// Sets the most bytes of a request.
    #[must_use]
    pub fn combine_limit(mut self, bytes: usize) -> Self {
        self.combine_limit = Some(bytes);
        self
    }

    /// Sets the most to wait for a frame while all are pinned.
    #[must_use]
    pub fn frame_wait(mut self, wait: Duration) -> Self {
        self.frame_wait = Some(wait);
        self
    }
}

/// How many reads that nobody waits for yet may be in flight. Reads that somebody waits for are not held back by it.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackgroundDepth {
    /// As many as the device gains from: beyond that, more in flight adds nothing to the throughput and only makes everybody
    /// wait longer. Found while reads go on, by comparing throughput at several depths.
    #[default]
    Adaptive,
    /// So many of one file, at least one, and of all files one more, so that a file that does not answer leaves that to the others; in
    /// any case no more than three quarters of what the I/O method can have in flight.
    AtMost(u32),
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

/// What becomes of pages that are changed without a [log position](crate::PageWrite::set_lsn), in a pool with a [log](crate::Wal).
///
/// The pool cannot ask the log for a record that it was not told of: one forgotten call, and a page may be on disk before its
/// record, or without one. A change that needs no record says so by [`Lsn::UNLOGGED`](crate::Lsn::UNLOGGED).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnloggedChanges {
    /// They are written like others, and counted in [`Counts::unlogged_changes`](crate::Counts::unlogged_changes), which an engine's
    /// tests should find to be 0. The first is told as an event (feature `tracing`).
    #[default]
    Count,
    /// They are counted, and the page is not written: whatever would write it (a flush, a checkpoint, a close) ends in
    /// [`Error::UnloggedChange`], which names the page, and writes the others. The page stays dirty, and in its frame, also when it is
    /// changed with a position later; until a record of
    /// [the whole page](crate::PageWrite::set_image_lsn) is stated, or its changes are thrown away. Meanwhile the background writer
    /// counts the page among its failures.
    Refuse,
}

/// A pool's options, checked.
#[derive(Clone)]
pub(crate) struct Config {
    /// How many frames there are at first.
    pub(crate) frames: u32,
    /// How many there may be in the end.
    pub(crate) frames_at_most: u32,
    pub(crate) page_size: PageSize,
    pub(crate) io_method: IoMethod,
    pub(crate) wal: Option<Arc<dyn Wal>>,
    pub(crate) unlogged_changes: UnloggedChanges,
    pub(crate) codec: Option<Arc<dyn PageCodec>>,
    pub(crate) torn_pages: TornPages,
    /// The most a fetch waits for pins.
    pub(crate) frame_wait: Duration,
    /// The most a fetch that needs a frame waits for a disk from which nothing comes back.
    pub(crate) disk_wait: Duration,
    /// The most pages that one request covers.
    pub(crate) combine_pages: usize,
    pub(crate) background_depth: BackgroundDepth,
    pub(crate) background_writer: BackgroundWriter,
}

/// How an I/O method orders requests, beyond its own options.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Scheduling {
    /// Bytes up to which requests that touch are joined.
    pub(crate) combine: usize,
    pub(crate) background: BackgroundDepth,
}

/// The largest request, in bytes.
pub(crate) const COMBINE_LIMIT_MAX: usize = 1 << 20;

/// The most spare pages: a frame's state word has so many names for them.
pub(crate) const SPARE_PAGES_MAX: usize = 254;

impl Config {
    /// The default limit of a request, as in PostgreSQL's `io_combine_limit`.
    pub(crate) const COMBINE_LIMIT: usize = 128 << 10;

    /// How long a fetch waits for a frame unless told otherwise.
    pub(crate) const FRAME_WAIT: Duration = Duration::from_secs(1);

    /// How long a fetch that needs a frame waits for a disk from which nothing comes back, unless told otherwise.
    pub(crate) const DISK_WAIT: Duration = Duration::from_secs(60);

    pub(crate) fn scheduling(&self) -> Scheduling {
        Scheduling { combine: self.combine_pages * self.page_size.bytes(), background: self.background_depth }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.frames == 0 {
            return Err(Error::config("a pool needs at least one frame: set frames or memory"));
        }
        if self.frames_at_most < self.frames {
            let (frames, most) = (self.frames, self.frames_at_most);
            return Err(Error::config(format!(
                "{frames} frames, and {most} at most: choose at least as many"
            )));
        }
        if self.unlogged_changes == UnloggedChanges::Refuse && self.wal.is_none() {
            return Err(Error::config("unlogged_changes: a pool without a log cannot refuse them: set wal"));
        }
        self.background_writer.validate(self.frames)?;
        self.io_method.validate()
    }

    /// Spare pages: one for each 400 frames that there may be, so that with all else beside the pages they stay below a hundredth
    /// of the page memory (8 KiB pages, 64 MiB and more); but room for a run of sealed pages where the pool has that many frames.
    pub(crate) fn spare_pages(&self) -> usize {
        let frames = self.frames_at_most as usize;
        (frames / 400).max(16.min(frames / 4)).clamp(1, SPARE_PAGES_MAX)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("frames", &self.frames)
            .field("frames_at_most", &self.frames_at_most)
            .field("page_size", &self.page_size)
            .field("io_method", &self.io_method)
            .field("wal", &self.wal.is_some())
            .field("unlogged_changes", &self.unlogged_changes)
            .field("codec", &self.codec.is_some())
            .field("torn_pages", &self.torn_pages)
            .field("frame_wait", &self.frame_wait)
            .field("disk_wait", &self.disk_wait)
            .field("combine_pages", &self.combine_pages)
            .field("background_depth", &self.background_depth)
            .field("background_writer", &self.background_writer)
            .finish()
    }
}
