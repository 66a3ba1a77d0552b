//! What is counted, and which I/O method is in use. Put together with what the frames hold in `snapshot`.

pub(crate) mod counters;
pub(crate) mod io_report;

pub(crate) use counters::{Counter, Counters};
pub use io_report::{MethodKind, MethodReport, Registration};
