//! What a pool did and what it holds.

pub(crate) mod counters;
pub(crate) mod io_report;
pub(crate) mod snapshot;

pub(crate) use counters::{Counter, Counters};
pub use io_report::{MethodKind, MethodReport, Registration};
pub use snapshot::{Counts, FrameStats, Stats};
