//! Supplies frames for pages that have none.
//!
//! * [`victims`]: takes frames, free ones first; [`clean_list`]: frames that the background writer has set aside;
//! * [`frame_waiters`]: the threads and tasks that wait for any frame; [`shortage`]: what stands in their way;
//!   [`sparing`]: whether pages that were used keep their frames while others are written;
//! * [`admission`], [`read_ahead_quota`], [`buffer_ring`]: the bounds of calls that fetch many pages, of look-ahead, and of bulk reads.
//!
//! The wait itself, with its errors, is in `read::frame_wait`. PostgreSQL's counterpart: `freelist.c`.

pub(crate) mod admission;
pub(crate) mod buffer_ring;
pub(crate) mod clean_list;
pub(crate) mod frame_waiters;
pub(crate) mod read_ahead_quota;
pub(crate) mod shortage;
pub(crate) mod sparing;
pub(crate) mod victims;
