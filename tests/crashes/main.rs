//! Crashes: what is found afterwards is what was promised, whatever caused the crash.
//!
//! * `images`: thousands of runs on the simulated disk, each ended by a power cut, or by the end of the process alone.
//!   `RINGPOOL_SEEDS` sets how many, `RINGPOOL_SEED` repeats one.
//! * `killed`: a process that is killed while it works, and whose files are then compared with what it had acknowledged.
//!   `RINGPOOL_KILLS` sets how often.
//! * `shut_down`, `failing_sync`: a file system that is shut down under the pool, and one whose device fails when it is synced.
//!   They need root and a loop device, and say so where they are skipped.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod failing_sync;
mod file_system;
mod images;
mod killed;
mod shut_down;
#[path = "../support/stamp.rs"]
mod stamp;
#[path = "../support/mod.rs"]
mod support;
mod versions;
