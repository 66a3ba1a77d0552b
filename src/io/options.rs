//! Options of the I/O methods, and how they order requests.

use crate::error::{Error, Result};

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

/// The most reads ahead that one ring has in flight, unless told otherwise.
pub(crate) const BACKGROUND_DEPTH: u32 = 128;

/// How an I/O method orders requests, beyond its own options.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Scheduling {
    /// Bytes up to which requests that touch are joined.
    pub(crate) combine: usize,
    /// Reads ahead that one ring has in flight.
    pub(crate) background: usize,
}

/// The largest request, in bytes.
pub(crate) const COMBINE_LIMIT_MAX: usize = 1 << 20;
