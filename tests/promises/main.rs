//! The contract, promise by promise. Each test is named after the promise it holds the pool to, and runs with every I/O
//! method that works here.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod background_writer;
mod c10_callbacks;
mod c10_iterators;
mod c10_wakers;
mod c1_own_bytes;
mod c2_failed_read;
mod c3_failed_write;
mod c4_failed_sync;
mod c5_behind_the_scenes;
mod c5_ends;
mod c5_lifetimes;
mod c6_bounded_waits;
mod c6_lines;
mod c6_own_latches;
mod c6_queues;
mod c6_shares;
mod c6_sharing;
mod c6_slow_disks;
mod c6_syncs;
mod c6_turns;
mod c7_no_threads;
mod c7_same_results;
mod c8_log_first;
mod c8_off_the_ring;
mod c8_order_log;
mod c8_unlogged;
#[cfg(feature = "crc32c")]
mod c9_corrupt_page;
mod c9_torn_pages;
mod checkpoints;
mod codec_that_changes;
mod errors;
mod overwriting;
mod page_lsns;
#[path = "../support/mod.rs"]
mod support;
mod tasks_wait;
mod writeback;
