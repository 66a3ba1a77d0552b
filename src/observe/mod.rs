//! Counts and measures what the pool does: counters by thread, histograms of latencies. `api::snapshot` combines them with what the
//! frames hold.

mod by_thread;
mod counters;
pub(crate) mod counts;
pub(crate) mod file_activity;
mod histogram;
pub(crate) mod hits;
mod latencies;
pub(crate) mod measures;
pub(crate) mod thread_index;

pub(crate) use counters::Counters;
pub(crate) use counts::Counter;
pub use counts::Counts;
pub use histogram::Histogram;
pub(crate) use latencies::Measure;
pub use latencies::{Latencies, Latency};
