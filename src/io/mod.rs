//! Moving bytes between files and buffers.
//!
//! From the bottom up: a [`disk`] opens files; a [`file`] is one of them with its length, its unsynced writes and its
//! poison; a [`request`] is one transfer of a lease's buffers, listed while it is [`in_flight`]; a [`method`] gets requests
//! done. This layer knows no
//! frames, no pages and no pool: only the buffers a lease lends it.

pub(crate) mod atomic;
pub(crate) mod backlog;
mod buffers;
mod by_file;
mod crew;
pub(crate) mod disk;
pub(crate) mod file;
pub(crate) mod file_size;
mod growth;
pub(crate) mod in_flight;
pub(crate) mod inline;
mod knee;
pub(crate) mod ladder;
pub(crate) mod method;
pub(crate) mod os_disk;
pub(crate) mod plain;
mod queue;
pub(crate) mod request;
mod sleeper;
mod threads;
pub(crate) mod transfer;
#[cfg(all(feature = "uring", target_os = "linux", not(any(loom, shuttle))))]
mod uring;
pub(crate) mod zeros;

#[cfg(test)]
mod conformance;
#[cfg(all(test, feature = "uring", target_os = "linux", not(any(loom, shuttle))))]
mod hanging;
#[cfg(test)]
pub(crate) mod testing;
