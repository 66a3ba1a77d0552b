//! What can be seen of a pool at work: the requests in flight, how long things take, and what a person should hear of.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "tracing")]
mod events;
mod in_flight;
mod latencies;
#[cfg(feature = "metrics")]
mod metrics;
mod residency;
mod streams;
#[path = "../support/mod.rs"]
mod support;
