//! Missing neighbours become one request, whatever the order in which they are asked for, and never one too long.

use std::collections::HashSet;

use ringpool::{PageId, StreamOptions};

use crate::{
    read_all, reads,
    support::{Bench, PAGE, with_each_method},
};

const BLOCKS: u32 = 160;

/// Reads the blocks, and asserts how many are resident, and that each of the others is read once, by this number of requests of at
/// most `limit` pages.
fn requests_for(bench: &Bench, blocks: &[u32], resident: &[u32], limit: u32) -> usize {
    resident.iter().for_each(|&block| drop(bench.fetch(block).unwrap()));
    bench.disk.clear_log();
    read_all(bench, blocks, StreamOptions::new().combine_limit_bytes(limit as usize * PAGE));
    let reads = reads(bench);
    assert!(reads.iter().all(|&(_, pages)| pages <= limit.max(1)), "{reads:?}");
    let read: Vec<_> = reads.iter().flat_map(|&(first, pages)| first..first + pages).collect();
    let resident: HashSet<_> = resident.iter().copied().collect();
    let missing: Vec<_> = (0..BLOCKS).filter(|block| !resident.contains(block)).collect();
    assert_eq!(read, missing, "each missing block is read, and once");
    reads.len()
}

#[test]
fn neighbours_in_any_order_are_read_together() {
    with_each_method(|method| {
        // A walk, and in how many pieces a batch of it may come.
        let orders: [(Vec<u32>, u32); 4] = [
            ((0..BLOCKS).collect(), 1),
            ((0..BLOCKS).rev().collect(), 1),
            ((0..BLOCKS).map(|n| n ^ 1).collect(), 3),
            // Rows of four, each from its middle.
            ((0..BLOCKS).map(|n| n - n % 4 + [2, 1, 3, 0][n as usize % 4]).collect(), 3),
        ];
        for (order, pieces) in orders {
            for limit in [0, 1, 7, 16, 128] {
                // Shorter or longer than what the pool joins in its queue.
                let bench = Bench::new(method.clone(), 640, BLOCKS);
                let requests = requests_for(&bench, &order, &[], limit);
                // It begins with short ones, and ends with what is left.
                let most = pieces * (BLOCKS / limit.max(1) + 20);
                assert!(requests <= most as usize, "{requests} requests of at most {limit}");
            }
        }
    });
}

#[test]
fn resident_pages_split_runs_and_are_not_read_again() {
    with_each_method(|method| {
        let strides: [Vec<u32>; 3] = [
            (0..BLOCKS).step_by(16).collect(),
            (7..BLOCKS).step_by(16).collect(),
            (0..BLOCKS).step_by(2).collect(),
        ];
        for resident in strides {
            let bench = Bench::new(method.clone(), 640, BLOCKS);
            requests_for(&bench, &(0..BLOCKS).collect::<Vec<_>>(), &resident, 16);
        }
    });
}

#[test]
fn a_hit_splits_a_run_at_its_start_its_middle_and_its_end() {
    with_each_method(|method| {
        for (resident, expected) in
            [(0, vec![(1, 15)]), (8, vec![(0, 8), (9, 7)]), (15, vec![(0, 15)]), (99, vec![(0, 16)])]
        {
            let bench = Bench::new(method.clone(), 256, 100);
            drop(bench.fetch(resident).unwrap());
            bench.disk.clear_log();
            let pages: Vec<_> = (0..16).rev().map(|block| PageId::new(bench.file, block)).collect();
            assert_eq!(bench.pool.fetch_many(&pages).wait().unwrap().len(), 16);
            assert_eq!(reads(&bench), expected, "block {resident} is resident");
        }
    });
}

#[test]
fn a_stream_over_resident_pages_reads_and_holds_nothing() {
    with_each_method(|method| {
        let bench = Bench::new(method, 640, BLOCKS);
        read_all(&bench, &(0..BLOCKS).collect::<Vec<_>>(), StreamOptions::new());
        bench.disk.clear_log();
        let mut stream = bench.pool.read_stream(bench.file.pages(0..BLOCKS), StreamOptions::new());
        while let Some(page) = stream.next() {
            drop(page.unwrap());
            assert_eq!((stream.distance(), bench.pool.stats().frames.pins), (1, 0));
        }
        assert_eq!(reads(&bench), []);
    });
}
