//! What is counted and measured, and which I/O method is in use. Put together with what the frames hold in `snapshot`.

pub(crate) mod counters;
pub(crate) mod histogram;
pub(crate) mod latencies;
pub(crate) mod measures;
pub(crate) mod thread_index;

pub(crate) use counters::{Counter, Counters};
pub use histogram::Histogram;
pub use latencies::{Latencies, Latency};
pub(crate) use measures::Measure;
