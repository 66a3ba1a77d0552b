//! A pool that is made larger and smaller while threads and tasks use it. With every I/O method that works here.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod giving_up;
mod limits;
mod many;
mod memory;
mod slow_disks;
#[path = "../support/mod.rs"]
mod support;
mod traffic;
