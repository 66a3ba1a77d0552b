//! What can be seen of a pool at work: the requests in flight, and how long things take.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod by_file;
mod in_flight;
mod latencies;
#[cfg(feature = "metrics")]
mod metrics;
mod residency;
mod streams;
#[path = "../support/mod.rs"]
mod support;
