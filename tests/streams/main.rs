//! Read streams and what else looks ahead, theme by theme, with every I/O method that works here.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod order;
#[path = "../support/mod.rs"]
mod support;
