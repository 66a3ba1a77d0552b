//! Moves bytes between files and buffers.
//!
//! From the bottom up: a [`storage`] opens files; a [`file`] is one of them, with its length, its unsynced writes and its poison; an
//! [`operation`] is one transfer of a lease's [`buffers`], listed while it is in flight, by the rule of [`transfer`]; a
//! [`backlog`] says which operation goes next; a [`method`] gets operations done. [`doublewrite`] keeps copies of pages that a
//! power cut may tear.
//!
//! This layer knows no frames and no pool: only the buffers that a lease lends it. PostgreSQL's counterpart: `aio.c`, `method_io_uring.c`,
//! `method_worker.c`, `method_sync.c`, `fd.c`.

pub(crate) mod aligned;
pub(crate) mod backlog;
pub(crate) mod buffers;
pub(crate) mod doublewrite;
pub(crate) mod file;
pub(crate) mod method;
pub(crate) mod operation;
pub(crate) mod options;
pub(crate) mod report;
pub(crate) mod storage;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod transfer;
