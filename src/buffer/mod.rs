//! Memory and residency: which page is in which frame, and who may do what with it. Knows nothing of files and I/O.
//!
//! From the bottom up: a `mapping` is memory on huge pages; the [`arena`] holds the bytes; a [`state`] word says what a
//! [`header`] is; the page [`page_table`] finds a page's frame; [`waiters`] and [`frame_waiters`] are where threads and tasks sleep,
//! which a `ticker` looks after, and [`admission`] where calls that want many frames do;
//! [`spares`] are pages for bytes that are on their way to disk in another version, as [`lending`] rules it, and
//! [`extra_pages`] those that are wanted beyond them; the
//! [`replacement`] says which page gives up its frame; the [`pool`] puts them together, a `lookup` pins the frame of a page, and [`victims`] are taken from
//! it; a [`pin`] is the right to a frame, [`pin_list`] to several, a [`quarantine`] to the pages in them; [`mirrors`] are copies
//! of pages that all threads read; [`older_changes`] and [`unlogged`] changes are kept for the log's sake; a [`buffer_ring`] keeps a bulk read to a few; [`resizing`] is how frames come and go.
//! [`file_pages`] lists the frames that have pages of one file. `validate` looks at all of it, for tests.

mod file_pages;
pub(crate) mod frame;
mod lookup;
#[cfg(all(test, loom))]
mod loom_models;
pub(crate) mod memory;
pub(crate) mod mirrors;
pub(crate) mod page;
pub(crate) mod page_table;
pub(crate) mod pool;
pub(crate) mod quarantine;
pub(crate) mod replacement;
pub(crate) mod resizing;
pub(crate) mod supply;
mod ticker;
mod validate;
