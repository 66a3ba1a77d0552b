//! The memory of all frames: `mapping` is memory on huge pages, [`arena`] gives it out in chunks that a ring can register, `huge_slice` is an
//! array on it, [`prefetch`] has lines of it loaded before they are looked at, [`process`] tells the process that it belongs to from those forked of it.

pub(crate) mod arena;
pub(crate) mod huge_slice;
pub(crate) mod mapping;
pub(crate) mod prefetch;
pub(crate) mod process;
