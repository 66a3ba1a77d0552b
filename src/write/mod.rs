//! From dirty frames to durable files.
//!
//! [`write_out`] gets copies of dirty pages on their way, in sorted runs, behind the log; [`checkpoint`] decides which pages,
//! waits for them and syncs their files; [`background_writer`] keeps frames clean before they are wanted.

pub(crate) mod background_writer;
pub(crate) mod checkpoint;
mod clean_target;
mod schedule;
pub(crate) mod sync_all;
pub(crate) mod write_out;
