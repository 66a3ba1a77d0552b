//! From a page number to a pinned page.
//!
//! From the top down: [`latched`] is for one page that is read or changed, [`overwrite`] for one whose old bytes do not matter, [`fetch`] for one that is pinned, [`many`] for several at once,
//! [`stream`] for many in a row, [`prefetch`] for many that nobody waits for yet, [`warm_up`] for those that were here before a
//! restart. A [`miss`] is the life of one that was not there; [`batch`] starts many reads as one batch; [`frame_wait`] gets a
//! miss its frame, [`buffer_ring`] has those of a bulk read; [`outcome`] says how far a read has come.

mod batch;
mod buffer_ring;
pub(crate) mod fetch;
mod frame_wait;
pub(crate) mod latched;
pub(crate) mod many;
mod miss;
pub(crate) mod options;
mod outcome;
pub(crate) mod overwrite;
pub(crate) mod prefetch;
pub(crate) mod stream;
pub(crate) mod warm_up;
