//! Counts and measures what the pool does: counters by thread, histograms of latencies. `api::snapshot` combines them with what the
//! frames hold.

pub(crate) mod counters;
pub(crate) mod file_activity;
pub(crate) mod histogram;
pub(crate) mod hits;
pub(crate) mod latencies;
pub(crate) mod live_histogram;
pub(crate) mod measures;
pub(crate) mod thread_index;

pub(crate) use counters::{Counter, Counters};
pub use histogram::Histogram;
pub use latencies::{Latencies, Latency};
pub(crate) use measures::Measure;
