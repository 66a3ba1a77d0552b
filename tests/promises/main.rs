//! The contract, promise by promise. Each test is named after the promise it holds the pool to, and runs with every I/O
//! method that works here.

mod c1_own_bytes;
mod c2_failed_read;
mod c4_failed_sync;
#[path = "../support/mod.rs"]
mod support;
