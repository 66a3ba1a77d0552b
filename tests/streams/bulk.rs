//! A bulk read keeps to its ring: a scan larger than the pool evicts no pages that other callers use.

use ringpool::{IoMethod, StreamOptions};

use crate::{
    read_all,
    support::{Bench, with_each_method},
};

const FRAMES: u32 = 128;
const HOT: u32 = 60;
const BLOCKS: u32 = HOT + 5 * FRAMES;

/// Returns the share of the hot set that is resident after a scan of five times the pool, where each page of it was used `uses`
/// times before.
fn hot_after_scan(method: &IoMethod, uses: u32, options: StreamOptions) -> f64 {
    let bench = Bench::new(method.clone(), FRAMES, BLOCKS);
    let use_hot = || {
        let before = bench.pool.stats().counts;
        (0..HOT).for_each(|block| drop(bench.fetch(block).unwrap()));
        (bench.pool.stats().counts - before).hit_ratio()
    };
    for turn in 0..uses {
        assert_eq!(use_hot(), if turn == 0 { 0.0 } else { 1.0 });
    }
    read_all(&bench, &(HOT..BLOCKS).collect::<Vec<_>>(), options);
    use_hot()
}

#[test]
fn a_scan_leaves_pages_that_were_used_again_where_they_were() {
    with_each_method(|method| {
        for options in [StreamOptions::new(), StreamOptions::new().bulk()] {
            let kept = hot_after_scan(&method, 4, options);
            assert!(kept >= 0.99, "{kept} of the hot set stayed");
        }
    });
}

#[test]
fn a_bulk_scan_leaves_also_those_that_were_used_once() {
    with_each_method(|method| {
        let kept = hot_after_scan(&method, 1, StreamOptions::new().bulk());
        assert!(kept >= 0.99, "{kept} of the hot set stayed");
        let without = hot_after_scan(&method, 1, StreamOptions::new());
        assert!(without < 0.5, "{without} would have stayed without the ring: what is it for?");
    });
}

#[test]
fn a_page_of_a_bulk_read_that_others_use_leaves_its_ring() {
    with_each_method(|method| {
        // Frames enough for all pages: only the ring takes one from its page.
        let bench = Bench::new(method, 512, 400);
        let mut stream = bench.pool.read_stream(bench.file.pages(0..400), StreamOptions::new().bulk());
        stream.by_ref().take(8).for_each(|page| drop(page.unwrap()));
        (0..3).for_each(|_| drop(bench.fetch(5).unwrap()));
        stream.for_each(|page| drop(page.unwrap()));
        let stays = |block| bench.pool.fetch(bench.page(block)).now().is_some();
        assert_eq!((3..8).map(stays).collect::<Vec<_>>(), [false, false, true, false, false]);
    });
}

#[test]
fn a_bulk_read_uses_resident_pages_as_they_are() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, 64);
        (0..64).for_each(|block| drop(bench.fetch(block).unwrap()));
        bench.disk.clear_log();
        for _ in 0..10 {
            read_all(&bench, &(0..64).collect::<Vec<_>>(), StreamOptions::new().bulk());
        }
        assert_eq!(bench.pool.stats().counts.pages_read, 64);
    });
}
