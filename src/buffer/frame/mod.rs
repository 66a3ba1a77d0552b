//! Frames: a page's bytes, and all that a pin or a latch on them needs. The [residency](super::residency) decides which page is
//! in which frame.
//!
//! * [`frames`]: all frames of a pool as one object; [`size`]: how many there are;
//! * [`state`]: one atomic word for everything that may happen to a frame, changed by pure transitions;
//! * [`header`]: the page, and the log positions of its changes; [`page_lsn`]: the one that a page keeps in its bytes;
//! * [`pin`]: the right to a frame, and to several;
//! * [`slots`], [`bias`]: pins and share latches that are held outside the state word, since many threads read the page;
//! * [`latch`], [`waiters`]: the right to read or change the bytes, and the line of threads and tasks that wait for it or for an I/O;
//! * [`shadow`]: where the bytes are while the device reads them, and memory for changes made meanwhile; [`copy_room`]: memory
//!   for what a codec seals for the device;
//! * [`change`]: the room for a change, and what is noted of it; [`older_changes`], [`unlogged`]: what is kept of that for the log's sake;
//! * [`frame_waiters`], [`admission`]: the lines of those that wait for any frame, and for many; [`clean_list`]: frames set aside
//!   for them; [`ticker`]: the thread that looks after tasks in all lines;
//! * [`dirty_counts`]: how many dirty pages each file has, and how many it may have;
//! * [`file_paths`]: how errors name the files of pages.
//!
//! PostgreSQL's counterpart: `buf_internals.h`.

pub(crate) mod admission;
mod bias;
pub(crate) mod change;
pub(crate) mod clean_list;
pub(crate) mod copy_room;
pub(crate) mod dirty_counts;
pub(crate) mod file_paths;
pub(crate) mod frame_waiters;
pub(crate) mod frames;
pub(crate) mod header;
pub(crate) mod latch;
pub(crate) mod older_changes;
pub(crate) mod page_lsn;
pub(crate) mod pin;
pub(crate) mod shadow;
pub(crate) mod size;
pub(crate) mod slots;
pub(crate) mod state;
mod ticker;
pub(crate) mod unlogged;
pub(crate) mod waiters;
