//! A buffer manager for storage engines: a page cache whose frames are io_uring's registered buffers.
//!
//! A [`BufferPool`] keeps fixed-size pages of files in a fixed set of frames. Pages are **pinned** to use them, and **latched** to
//! read or change their bytes. The pool writes them back in sorted batches, behind the engine's log. It starts reads ahead, as
//! batches. All of it works from plain threads and from tasks of any async runtime.
//!
//! ```
//! use std::num::NonZeroU32;
//! use ringpool::{BufferPool, CheckpointOptions, OpenOptions, PageId, Shutdown, StreamOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("pages");
//! let pool = BufferPool::builder().frames(256).page_size(8192).build()?;
//! let file = pool.open_file(&path, OpenOptions::new().create(true))?;
//! pool.extend(file, NonZeroU32::new(100).unwrap()).wait()?;
//!
//! // Pin, latch, change. Touching the bytes marks the page dirty; there is nothing to forget.
//! let mut page = pool.write(PageId::new(file, 7)).wait()?;
//! page[..5].copy_from_slice(b"hello");
//! drop(page);
//!
//! // Start reads ahead, then use the pages as they come.
//! pool.prefetch(file.pages(10..20_u32));
//! for block in 10..20_u32 {
//!     let page = pool.read(PageId::new(file, block)).wait()?;
//!     assert_eq!(page[0], 0);
//! }
//!
//! // Or let a stream find out how far ahead that pays.
//! for page in pool.read_stream(file.pages((0..100_u32).rev()), StreamOptions::new()) {
//!     assert_eq!(page?.read().len(), 8192);
//! }
//!
//! // Every wait has two forms: `.wait()` on a thread, `.await` in a task.
//! pollster::block_on(async {
//!     let page = pool.read(PageId::new(file, 7)).await?;
//!     assert_eq!(&page[..5], b"hello");
//!     drop(page);
//!     pool.checkpoint(CheckpointOptions::new()).await
//! })?;
//! println!("{}", pool.stats());
//! pool.shutdown(Shutdown::Flush)?;
//! # Ok(())
//! # }
//! ```
//!
//! The [`guide`] leads from a first engine to logs, torn pages, async engines and the choice of sizes.
//!
//! # What is promised
//!
//! * **C1** A pinned page never shows bytes that were not its own latest bytes.
//! * **C2** A failed read is reported to every caller that waits for it, and nothing of it stays cached.
//! * **C3** A failed write leaves the page dirty and resident.
//! * **C4** A failed sync is sticky: no later sync or checkpoint reports success for that file until it is reopened.
//! * **C5** Memory and descriptors belong to the pool until the kernel has answered, whatever is dropped meanwhile.
//! * **C6** No unbounded wait, spin or queue. With all frames pinned a fetch ends in [`Error::AllPinned`]. With a disk that does
//!   not answer it ends in [`Error::NoFrame`].
//! * **C7** Every I/O method gives the same results; which is in use, and why, is in the [`Stats`](stats::Stats).
//! * **C8** With a [`Wal`], no page reaches the disk before the log is durable up to its LSN.
//! * **C9** With a [`PageCodec`], a torn, flipped or misplaced page is an error, never data.
//! * **C10** What callers do (panic in a waker, an iterator, a codec or a log; forget a guard or a future; leave a task unpolled;
//!   fork; send signals) harms no other caller. What the pool asks of wakers is below.
//!
//! What a latch cannot promise: a thread that waits for a page, while it holds a latch that the page's holder waits for, is in a
//! deadlock. Latch pages in one order, hold latches briefly, and never hold one across an `.await` of another page.
//!
//! What the pool asks of a task's [`Waker`](std::task::Waker): that it returns soon, as every executor's does. The pool's own
//! threads call it, among them the submission worker, through which all reads and writes of an io_uring pool go: a waker that
//! sleeps delays them all, and one that waits for a page of the same pool waits for ever. A waker may panic, and may own or drop
//! pins and pools.
//!
//! What the pool leaves to its process: a write beyond `RLIMIT_FSIZE` raises `SIGXFSZ`, which ends a process that does not ignore
//! it. If the process ignores that signal, such a write or extension is an error (`EFBIG`), like that of a full disk.
//!
//! If the system gives no thread, the calling thread does the work (C7). The standard library makes one exception: it ends the
//! whole process if it can start a thread, but has no memory for the stack on which that thread handles signals. The pool starts
//! threads when it is built, and on demand: so leave some memory free under a limit of the address space (`RLIMIT_AS`).
//!
//! # Where things are
//!
//! The root has what nearly every engine names. The other items are in modules by subject: [`options`], [`stats`], [`pending`]
//! (what to wait for), [`report`] (what operations return when they are done), [`stream`], `testing`, and the [`guide`].
//!
//! # Features
//!
//! | feature | gives |
//! |---|---|
//! | `uring` (default) | the io_uring method, on Linux; without it the pool uses worker threads |
//! | `crc32c` | [`Crc32c`](PageCodec), a codec that seals pages with a checksum seeded by their address |
//! | `tracing` | [spans and events](#spans-and-events) for what an operator should know |
//! | `metrics` | `Stats::publish` and `FileStats::publish`: snapshots as counters and gauges of the `metrics` facade, by pool and by file |
//! | `testing` | a simulated disk with faults and crash images, for an engine's own tests; a disk that does nothing; a kit that tests a storage |
//!
//! No feature changes what the others do. `unsafe` is confined to a few modules, each block with its reason.
#![doc = include_str!("events.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::unwrap_used)]

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!(
    "ringpool builds for Linux, and with its worker and sync methods for macOS; not for this system"
);

// First, for the macro of the seeded bugs.
#[macro_use]
mod sync;

mod codec;
mod error;
mod events;
mod files;
mod id;
// Some of it is used by the ring alone.
mod api;
mod buffer;
#[cfg_attr(not(all(feature = "uring", target_os = "linux", not(any(loom, shuttle)))), allow(dead_code))]
mod io;
mod observe;
mod read;
mod runtime;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod wal;
mod write;

#[cfg(feature = "crc32c")]
pub use self::codec::Crc32c;
pub use self::{
    api::{
        buffer_pool::{BufferPool, ShutdownError},
        builder::Builder,
        shutdown::Shutdown,
    },
    buffer::{
        frame::page_lsn::PageLsn,
        page::{OwnedPageRead, OwnedPageWrite, PageAt, PageHint, PageRead, PageWrite, PinnedPage},
    },
    codec::PageCodec,
    error::{Callback, ConfigError, Error, ErrorKind, IoOp, Result},
    id::{BlockNo, FileId, FilePages, LogRecord, Lsn, PageAddress, PageId, PageSize},
    io::{file::open_options::OpenOptions, options::IoMethod},
    read::options::StreamOptions,
    runtime::completion::Completion,
    wal::Wal,
    write::{
        checkpoint::{CheckpointOptions, CheckpointReport},
        durable_lsn::DurableLsn,
    },
};

/// Options that few engines set, beside those at the root: of [`BufferPool::builder`], [`OpenOptions`] and [`IoMethod`].
pub mod options {
    pub use crate::{
        buffer::frame::unlogged::UnloggedChanges,
        io::{
            doublewrite::options::{DoubleWriteArea, TornPages},
            options::{Fallback, UringOptions},
        },
        runtime::config::BackgroundWriter,
    };
}

/// Where files are kept: the system's files, or a storage of your own, given to [`Builder::storage`].
///
/// A storage whose transfers are calls implements [`Storage`](storage::Storage) and [`BlockingFile`](storage::BlockingFile); one whose
/// transfers end later, such as an object store, [`Storage`](storage::Storage) and [`StorageFile`](storage::StorageFile). The kit
#[cfg_attr(feature = "testing", doc = "[`testing::conformance`] tests both.")]
#[cfg_attr(not(feature = "testing"), doc = "`testing::conformance` tests both.")]
pub mod storage {
    pub use crate::io::storage::{
        BlockingFile, Storage, StorageFile,
        capabilities::{Atomicity, Capabilities},
        opened::Opened,
        os::LocalFiles,
        request::{ReadRequest, SyncRequest, WriteRequest},
    };
}

/// What a pool did and what it holds: [`BufferPool::stats`], [`in_flight`](BufferPool::in_flight) and [`residency`](BufferPool::residency).
pub mod stats {
    pub use crate::{
        api::{
            file_stats::{FileCounts, FileStats},
            insight::Resident,
            snapshot::{FrameStats, Stats},
        },
        io::{
            operation::table::{InFlight, Stage},
            report::{MethodKind, MethodReport, Registration},
        },
        observe::{Counts, Histogram, Latencies, Latency},
    };
}

/// The values that methods of a [`BufferPool`] return, to wait for or to await, beside [`Completion`].
pub mod pending {
    pub use crate::{
        api::tasks::ShuttingDown,
        read::{
            fetch::Fetch,
            latched::{ReadPage, WritePage},
            many::{Arrivals, FetchMany, NextArrival, ReadMany},
            overwrite::Overwrite,
        },
        write::durable_lsn::LogWait,
    };
}

/// What operations report when they are done, beside [`CheckpointReport`].
pub mod report {
    pub use crate::{
        api::resize::ResizeReport,
        files::{FileInfo, TornPageGuard, drop_pages::Evicted, extent::Extended},
        read::{prefetch::Prefetch, warm_up::WarmUp},
        write::flush::FlushReport,
    };
}

/// Pages in the order of an iterator, read ahead: [`BufferPool::read_stream`].
pub mod stream {
    pub use crate::read::stream::{NextPage, ReadStream, item::StreamItem};
}

#[doc = include_str!("guide.md")]
pub mod guide {}

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
