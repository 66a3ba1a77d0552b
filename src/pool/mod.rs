//! Memory and residency: which page is in which frame, and who may do what with it. Knows nothing of files and I/O.
//!
//! From the bottom up: a `mapping` is memory on huge pages; the [`arena`] holds the bytes; a [`state`] word says what a
//! [`frame`] is; the page [`table`] finds a page's frame; [`waiters`] and [`starvation`] are where threads and tasks sleep,
//! which a `ticker` looks after, and [`admission`] where calls that want many frames do;
//! [`spares`] are pages for bytes that are on their way to disk in another version, as [`lending`] rules it, and
//! [`extra_pages`] those that are wanted beyond them; the
//! [`replacement`] says which page gives up its frame; the [`frame_pool`] puts them together, a `lookup` pins the frame of a page, and [`victims`] are taken from
//! it; a [`handle`] is the right to a frame, [`pins`] to several, a [`seizure`] to the pages in them; [`mirrors`] are copies
//! of pages that all threads read; [`older_changes`] and [`unlogged`] changes are kept for the log's sake; a [`buffer_ring`] keeps a bulk read to a few; [`resizing`] is how frames come and go.
//! [`file_pages`] lists the frames that have pages of one file. `validate` looks at all of it, for tests.

pub(crate) mod admission;
pub(crate) mod arena;
pub(crate) mod buffer_ring;
mod extra_pages;
mod file_pages;
pub(crate) mod frame;
pub(crate) mod frame_pool;
pub(crate) mod handle;
mod huge_slice;
pub(crate) mod latch;
pub(crate) mod lending;
pub(crate) mod look_ahead;
mod lookup;
#[cfg(all(test, loom))]
mod loom_models;
mod mapping;
pub(crate) mod mirrors;
pub(crate) mod older_changes;
pub(crate) mod pins;
pub(crate) mod process;
pub(crate) mod ready;
pub(crate) mod replacement;
pub(crate) mod resizing;
pub(crate) mod seizure;
pub(crate) mod shortage;
pub(crate) mod spares;
pub(crate) mod sparing;
pub(crate) mod starvation;
pub(crate) mod state;
pub(crate) mod table;
mod ticker;
pub(crate) mod unlogged;
mod validate;
pub(crate) mod victims;
pub(crate) mod waiters;
