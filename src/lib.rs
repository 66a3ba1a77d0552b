//! ringpool
mod buffer_pool;
mod builder;
mod codec;
mod completion;
mod config;
mod error;
mod events;
mod files;
mod id;
mod io;
mod lease;
mod page;
mod pool;
mod read;
mod service;
mod shared;
mod stats;
mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod wait;
mod wal;
mod write;

pub use buffer_pool::{BufferPool, ShutdownError};
pub use builder::Builder;
#[cfg(feature = "crc32c")]
pub use codec::Crc32c;
pub use codec::{PageAddress, PageCodec};
pub use completion::Completion;
pub use config::{Fallback, FetchOptions, IoMethod, OpenOptions, Shutdown, UringOptions};
pub use error::{Error, IoOp, Result};
pub use files::{extent::Extended, vacate::Evicted};
pub use id::{BlockNo, FileId, Lsn, PageId, PageSize};
pub use page::{PageRead, PageWrite, PinnedPage};
pub use read::{fetch::Fetch, prefetch::Prefetch};
pub use stats::{Counts, FrameStats, MethodKind, MethodReport, Registration, Stats};
pub use wal::Wal;
pub use write::checkpoint::{CheckpointOptions, CheckpointReport, FlushReport};
