//! Moving bytes between files and buffers.
//!
//! From the bottom up: a [`disk`] opens files; a [`file`] is one of them with its length, its unsynced writes and its
//! poison; a [`request`] is one transfer of a lease's buffers, listed while it is [`in_flight`]; a [`method`] gets requests
//! done. This layer knows no
//! frames, no pages and no pool: only the buffers a lease lends it.

pub(crate) mod aligned;
pub(crate) mod backlog;
pub(crate) mod buffers;
mod by_file;
pub(crate) mod disk;
pub(crate) mod doublewrite;
pub(crate) mod file;
pub(crate) mod in_flight;
pub(crate) mod method;
pub(crate) mod options;
pub(crate) mod report;
pub(crate) mod request;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod transfer;
