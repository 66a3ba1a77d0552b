//! The memory of all frames, in chunks that a ring can register.

pub(crate) mod arena;
pub(crate) mod huge_slice;
pub(crate) mod mapping;
pub(crate) mod process;
