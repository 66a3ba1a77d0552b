//! Keeps pages in frames: which page is in which frame, and how a frame passes from one page to the next. Knows nothing of files and I/O.
//!
//! From the bottom up:
//!
//! * [`memory`]: the bytes of all frames, on huge pages, in chunks that a ring can register;
//! * [`frame`]: one frame, with its state word, header, pins, latches, waiters, and where its bytes are;
//! * [`page_table`]: finds a page's frame; a `lookup` pins it;
//! * [`replacement`]: says which page gives up its frame;
//! * [`supply`]: gives frames to pages that have none, in order of arrival, each caller within its share;
//! * [`pool`]: puts these together: maps and unmaps pages;
//! * [`page`]: pages as callers hold them.
//!
//! Beside them: [`quarantine`] holds dirty pages back until it is known whether their changes are wanted,
//! [`resizing`] is how frames come and go, `file_pages` lists the frames of one file, a `ticker` looks after tasks, `validate` checks
//! the invariants of all of it. PostgreSQL's counterpart: `bufmgr.c`, `buf_table.c`, `freelist.c`, `buf_init.c`.

mod file_pages;
pub(crate) mod frame;
mod lookup;
#[cfg(all(test, loom))]
mod loom_models;
pub(crate) mod memory;
pub(crate) mod page;
pub(crate) mod page_table;
pub(crate) mod pool;
pub(crate) mod quarantine;
pub(crate) mod replacement;
pub(crate) mod resizing;
#[cfg(test)]
pub(crate) mod small_pools;
pub(crate) mod supply;
mod ticker;
mod validate;
