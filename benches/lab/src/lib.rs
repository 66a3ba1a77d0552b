//! The measurement kit, on which `ringpool-compare` and ringpool's `figures` bench are built.
//!
//! Its job is to answer "how does this arm compare with the best that this machine can do?" in a way that can be trusted. Its
//! rules:
//!
//! * **The baseline is the best we can write.** [`baseline::ring`] is a bare ring with nothing of a buffer pool around it.
//!   What slows it down would flatter every arm that is compared with it.
//! * **Ratios of one run, never a lone absolute time.** Arms run in turn, in shuffled order, for many rounds; a figure is
//!   the median of the ratios *within* each round ([`rounds`]), and is shown beside the ratio of an arm to itself.
//! * **Set-up is outside the clock, all work is inside.** Opening, mapping and registering come before; every transfer, its
//!   completion and the final sync count. CPU is that of the whole process, kernel threads that work for its ring included.
//! * **Same bytes or no figure.** Every reading arm can fold what it saw into a [`digest`] that does not depend on order.
//! * **A disturbed run says so.** [`rounds`] compares the process with the machine and reports the share of other processes.
//!
//! The kit does not know ringpool. An arm is any closure that returns a [`Sample`].

#![cfg(target_os = "linux")]

pub mod baseline;
pub mod digest;
pub mod files;
pub mod floor;
pub mod load;
pub mod machine;
pub mod measure;
pub mod places;
pub mod progress;
pub mod region;
pub mod report;
pub mod rounds;
pub mod stamp;
pub mod stats;
pub mod threads;

pub use digest::Digest;
pub use measure::{Latencies, Meter, Sample};
pub use places::Place;
pub use rounds::{Arm, Rounds};

/// What examples need of the crates that the kit depends on, so that they need not name them again.
pub use {indicatif, serde_json};

/// Any failure of an arm or of the kit. Arms fail in many ways, and a failure is only shown.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What an arm or the kit returns.
pub type Result<T, E = Failure> = std::result::Result<T, E>;
