//! What callers call: the pool, how it is built, resized and ended, and what it reports of itself.
//!
//! Every public operation is in [`buffer_pool`], [`file_operations`] or [`insight`]; as a rule the work is done in `read`, `write` and `files`.

pub(crate) mod buffer_pool;
pub(crate) mod builder;
mod file_operations;
pub(crate) mod file_stats;
pub(crate) mod insight;
#[cfg(feature = "metrics")]
pub(crate) mod publish;
pub(crate) mod resize;
pub(crate) mod shutdown;
pub(crate) mod snapshot;
pub(crate) mod tasks;
