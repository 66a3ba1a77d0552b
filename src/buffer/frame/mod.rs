//! One frame: a page's bytes, and all that is known of them.
//!
//! * [`state`]: one atomic word for everything that may happen to a frame, changed by pure transitions;
//! * [`size`]: how many frames there are;
//! * [`header`]: the page, and the log positions of its changes;
//! * [`pin`], [`pin_list`]: the rights to a frame, and to several;
//! * [`slots`], [`bias`]: pins and share latches that are held outside the state word, since many threads read the page;
//! * [`latch`], [`waiters`]: the right to read or change the bytes, and the line of threads and tasks that wait for it or for an I/O;
//! * [`lending`]: where the bytes are while the device reads them; [`spares`], [`extra_pages`]: memory for changes made meanwhile;
//! * [`change`], [`older_changes`], [`unlogged`]: what is noted of a change, and kept for the log's sake.
//!
//! PostgreSQL's counterpart: `buf_internals.h`.

mod bias;
mod change;
pub(crate) mod extra_pages;
pub(crate) mod header;
pub(crate) mod latch;
pub(crate) mod lending;
pub(crate) mod older_changes;
pub(crate) mod pin;
pub(crate) mod pin_list;
pub(crate) mod size;
pub(crate) mod slots;
pub(crate) mod spares;
pub(crate) mod state;
pub(crate) mod unlogged;
pub(crate) mod waiters;
