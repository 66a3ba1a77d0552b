//! From dirty frames to durable files.
//!
//! [`write_out`] gets copies of dirty pages on their way, in sorted runs, behind the log; [`checkpoint`] decides which pages,
//! waits for them and syncs their files.

pub(crate) mod checkpoint;
pub(crate) mod write_out;
