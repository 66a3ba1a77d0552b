//! From a page number to a pinned page.
//!
//! [`fetch`] is the life of a miss, [`supply`] finds it a frame, [`prefetch`] starts many reads and waits for none.

pub(crate) mod fetch;
pub(crate) mod prefetch;
pub(crate) mod supply;

/// Who drives a fetch.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Drive {
    /// A thread that has nothing else to do.
    Thread,
    /// A task that must not block.
    Task,
}
