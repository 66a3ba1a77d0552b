//! What all operations share: the open files, jobs and turns, the end of a pool, and calls into the engine's code.

pub(crate) mod completion;
#[cfg_attr(not(all(feature = "uring", target_os = "linux", not(any(loom, shuttle)))), allow(dead_code))]
pub(crate) mod config;
pub(crate) mod file_table;
pub(crate) mod jobs;
pub(crate) mod lease;
pub(crate) mod quiesce;
pub(crate) mod removals;
pub(crate) mod shared;
pub(crate) mod write_backoff;
