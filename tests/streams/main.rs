//! Read streams and `fetch_many`, by subject, with every I/O method that works here.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod arrivals;
mod bounded;
mod bulk;
mod combining;
mod failing;
mod files;
mod foreign;
mod hot_pages;
mod lifetimes;
mod many;
mod order;
mod read_many;
#[path = "../support/mod.rs"]
mod support;

use ringpool::{
    StreamOptions,
    testing::{Moment, Op},
};

use support::{Bench, PAGE, assert_stamped, eventually};

/// Returns the reads that the disk was asked for: the first block of each and how many it covers, in the order of their blocks.
fn reads(bench: &Bench) -> Vec<(u32, u32)> {
    let log = bench.disk.log();
    let begun = log.iter().filter(|event| event.op == Op::Read && event.moment == Moment::Begin);
    let mut reads: Vec<_> =
        begun.map(|event| ((event.offset / PAGE as u64) as u32, (event.len / PAGE) as u32)).collect();
    reads.sort_unstable();
    reads
}

/// Reads the blocks by a stream, and asserts that each page is the right one.
#[track_caller]
fn read_all(bench: &Bench, blocks: &[u32], options: StreamOptions) {
    let mut asked = blocks.iter();
    for page in bench.pool.read_stream(bench.file.pages(blocks.iter().copied()), options) {
        let page = page.unwrap();
        assert_eq!(Some(&page.id().block.0), asked.next());
        assert_stamped(&page, 1);
    }
    assert_eq!(asked.next(), None);
    assert_nothing_held(bench);
}

/// Asserts that no page is pinned and no place of the read-ahead quota taken.
#[track_caller]
fn assert_nothing_held(bench: &Bench) {
    bench.assert_at_rest();
    // A read gives its place back a moment after its page can be seen.
    eventually("all places given back", || bench.pool.stats().frames.reading_ahead == 0);
}
