//! From a page number to a pinned page.
//!
//! From the top down: [`latched`] is for one page that is read or changed, [`overwrite`] for one whose old bytes do not matter,
//! [`fetch`] for one that is pinned, [`many`] for several at once, [`stream`] for many in a row, [`prefetch`] for many that no
//! caller waits for yet, [`warm_up`] for those that were resident before a restart, [`not_needed`] for those that will not be used.
//! [`batch`] starts many reads as one batch; [`frame_wait`] waits for a frame, [`buffer_ring`] has the frames of a bulk read.

mod batch;
mod buffer_ring;
pub(crate) mod fetch;
mod frame_wait;
pub(crate) mod latched;
pub(crate) mod many;
pub(crate) mod not_needed;
pub(crate) mod options;
pub(crate) mod overwrite;
pub(crate) mod prefetch;
pub(crate) mod stream;
pub(crate) mod warm_up;
