//! Frames: a page's bytes, and all that a pin or a latch on them needs. The [residency](super::residency) decides which page is in
//! which frame.
//!
//! [`frames`] is all of it as one object. Each frame has a [`state`] word, changed by pure transitions, and a [`header`]. A [`pin`] is
//! the right to a frame, in its word or in a [slot](slots) of a thread ([`bias`]); a [`latch`] is the right to its bytes, for which
//! [`waiters`] stand in line. [`shadow`] says where the bytes are while the device reads them. A [`change`] needs room
//! ([`dirty_counts`]), and leaves notes for the log. Callers that need frames stand in [`frame_waiters`], those that
//! need many in [`admission`]; [`clean_list`] has frames set aside for them, and the [`ticker`] looks after tasks in all lines.
//!
//! PostgreSQL's counterpart: `buf_internals.h`.

pub(crate) mod admission;
mod bias;
pub(crate) mod change;
pub(crate) mod clean_list;
pub(crate) mod copy_room;
pub(crate) mod dirty_counts;
pub(crate) mod frame_waiters;
pub(crate) mod frames;
pub(crate) mod header;
pub(crate) mod latch;
pub(crate) mod page_lsn;
pub(crate) mod pin;
pub(crate) mod shadow;
pub(crate) mod size;
pub(crate) mod slots;
pub(crate) mod sparse_map;
pub(crate) mod state;
mod ticker;
pub(crate) mod unlogged;
pub(crate) mod waiters;
