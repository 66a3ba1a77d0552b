//! Frames for pages that have none: which are to be had, in which order callers get them, and how many each may hold.

pub(crate) mod admission;
pub(crate) mod buffer_ring;
pub(crate) mod clean_list;
pub(crate) mod frame_waiters;
pub(crate) mod read_ahead_quota;
pub(crate) mod shortage;
pub(crate) mod sparing;
pub(crate) mod victims;
