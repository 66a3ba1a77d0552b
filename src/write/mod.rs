//! From dirty frames to durable files.
//!
//! [`write_out`] writes dirty pages, in sorted runs, behind the log; [`checkpoint`] and [`flush`] decide which pages, and sync their
//! files; [`background_writer`] keeps frames clean before they are wanted. [`durable_lsn`] is for the engine's
//! log: how far it is durable, and the line of threads and tasks that wait for it.

pub(crate) mod background_writer;
pub(crate) mod checkpoint;
mod clean_target;
pub(crate) mod durable_lsn;
pub(crate) mod flush;
pub(crate) mod room_for_changes;
mod schedule;
pub(crate) mod write_out;
