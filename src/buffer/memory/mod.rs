//! The memory of all frames. `mapping` is memory on huge pages. [`arena`] divides it into chunks that a ring can register;
//! `huge_slice` is an array on it. [`prefetch`] loads lines of it before they are read. [`process`] tells the process that it
//! belongs to from its forks.

pub(crate) mod arena;
pub(crate) mod huge_slice;
pub(crate) mod mapping;
pub(crate) mod prefetch;
pub(crate) mod process;
