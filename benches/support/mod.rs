//! What `compare`, the figures and the criterion benches share: the same files opened the same way by every arm, the pool's
//! arms, and what each of the more involved workloads does.
//!
//! Not part of the kit in `benches/lab`, because that one must not know the pool it measures.

// Each of the programs that include this module uses a part of it.
#![allow(dead_code, unused_imports)]

pub(crate) mod hot_page;
pub(crate) mod idle;
pub(crate) mod input;
pub(crate) mod memory;
pub(crate) mod methods;
pub(crate) mod pool_arm;
pub(crate) mod safety;
pub(crate) mod scratch;
pub(crate) mod updates;

pub(crate) use input::{Input, Wish};
pub(crate) use methods::Candidate;
pub(crate) use pool_arm::{PoolArm, PoolSpec, Window};

use std::hint::black_box;

use lab::Place;

/// What an arm does with the bytes of a request.
pub(crate) type Visit<'a> = dyn Fn(Place, &[u8]) + Sync + 'a;

/// Looks at the first byte of the request, or of the page, so that the bytes had to be there. Every arm does this with what it
/// reads while the clock runs.
pub(crate) fn look_at(_: Place, bytes: &[u8]) {
    black_box(bytes.first().copied());
}
