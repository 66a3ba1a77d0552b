//! What happens to files as a whole: they grow, are cut and are removed, by many at once, with I/O under way, on full disks and
//! over power cuts. With every I/O method that works here.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod device;
mod extending;
mod giving_up;
mod in_flight;
mod locks;
mod names;
mod permissions;
mod power_cut;
mod removing;
#[path = "../support/mod.rs"]
mod support;
