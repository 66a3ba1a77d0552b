//! What all I/O methods must do alike, and what the tests of this layer share.

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(all(test, feature = "uring", target_os = "linux", not(any(loom, shuttle))))]
pub(crate) mod pipe_disk;
#[cfg(all(test, feature = "uring", target_os = "linux", not(any(loom, shuttle))))]
pub(crate) mod stalled_requests;
#[cfg(test)]
pub(crate) mod support;
