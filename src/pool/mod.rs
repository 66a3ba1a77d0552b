//! Memory and residency: which page is in which frame, and who may do what with it. Knows nothing of files and I/O.
//!
//! From the bottom up: the [`arena`] holds the bytes; a [`state`] word says what a [`frame`] is; the page [`table`] finds a
//! page's frame; [`waiters`] and [`starvation`] are where threads and tasks sleep; the [`frame_pool`] puts them together;
//! a [`handle`] is the right to a frame.

pub(crate) mod arena;
pub(crate) mod frame;
pub(crate) mod frame_pool;
pub(crate) mod handle;
pub(crate) mod latch;
pub(crate) mod starvation;
pub(crate) mod state;
pub(crate) mod table;
pub(crate) mod waiters;
