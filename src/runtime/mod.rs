//! What all operations share.
//!
//! [`shared`] puts a pool's parts together, by its [`config`]; [`file_table`] has the open files, [`removals`] the names that were
//! removed from folders not synced yet; [`operation`] defines how reads and writes of frames begin and end; a [`completion`] is an
//! operation with both ways to wait, [`jobs`] the threads that run it for tasks; [`demand_share`] is what reads of one file may have of the
//! frames.

pub(crate) mod completion;
#[cfg_attr(not(all(feature = "uring", target_os = "linux", not(any(loom, shuttle)))), allow(dead_code))]
pub(crate) mod config;
pub(crate) mod demand_share;
pub(crate) mod file_table;
pub(crate) mod jobs;
pub(crate) mod operation;
pub(crate) mod removals;
pub(crate) mod shared;
