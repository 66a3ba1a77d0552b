//! Keeps pages in frames: which page is in which frame, and how a frame passes from one page to the next. Knows nothing of files and I/O.
//!
//! From the bottom up: [`memory`], the bytes of all frames; [`frame`], what keeps a page's bytes, with pins, latches and waiters;
//! [`page_table`], which finds a page's frame; [`replacement`], which says whose turn it is to give up a page; [`residency`], which
//! owns all of these, and [`lookup`], which finds and pins a page in it; [`supply`], frames for pages that have none; [`page`], pages
//! as callers hold them. Imports go downwards only.
//!
//! PostgreSQL's counterpart: `bufmgr.c`, `buf_table.c`, `freelist.c`, `buf_init.c`.

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
