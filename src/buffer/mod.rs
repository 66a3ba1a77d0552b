//! Keeps pages in frames: which page is in which frame, and how a frame passes from one page to the next. Knows nothing of files and I/O.
//!
//! From the bottom up:
//!
//! * [`memory`]: the bytes of all frames, on huge pages, in chunks that a ring can register;
//! * [`frame`]: what keeps a page's bytes: frames with their state words and headers, pins, latches, lines of waiters. It knows
//!   no page table and no replacement;
//! * [`page_table`]: finds a page's frame; [`replacement`]: says which page gives up its frame;
//! * [`residency`]: which page is where: owns frames, table and replacement; how a frame loses its page and gets the next. A
//!   [`lookup`] finds and pins a page;
//! * [`supply`]: gives frames to pages that have none;
//! * [`page`]: pages as callers hold them.
//!
//! Beside them: [`quarantine`] holds dirty pages back until it is known whether their changes are wanted,
//! [`resizing`] is how frames come and go, `file_pages` lists the frames of one file, `validate` checks
//! the invariants of all of it. PostgreSQL's counterpart: `bufmgr.c`, `buf_table.c`, `freelist.c`, `buf_init.c`.

mod file_pages;
pub(crate) mod frame;
pub(crate) mod lookup;
#[cfg(all(test, loom))]
mod loom_models;
pub(crate) mod memory;
pub(crate) mod page;
pub(crate) mod page_table;
pub(crate) mod quarantine;
pub(crate) mod replacement;
pub(crate) mod residency;
pub(crate) mod resizing;
#[cfg(test)]
pub(crate) mod small_pools;
pub(crate) mod supply;
mod validate;
