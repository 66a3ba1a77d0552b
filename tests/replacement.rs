//! Which pages a pool keeps: as its replay says, and without the pages of scans.

#[path = "../benches/support/replacement.rs"]
#[allow(dead_code)] // All traces are for the benches, which are built to be fast.
mod support;

use std::{iter, path::Path};

use replay::scan_cost::scan_cost;
use ringpool::{
    BufferPool, FileId, IoMethod, OpenOptions, PageId,
    options::BackgroundWriter,
    testing::{NullDisk, Replay},
};

const BLOCKS: u32 = 8_000;
const PAGE: u32 = 512;

/// Makes a pool that reads nothing, and a file in it.
fn pool_of(frames: u32) -> (BufferPool, FileId) {
    let builder = BufferPool::builder().frames(frames).page_size(PAGE).io_method(IoMethod::Sync);
    let disk = NullDisk::new(u64::from(BLOCKS) * u64::from(PAGE));
    let pool = builder.background_writer(BackgroundWriter::Off).storage(disk).build().unwrap();
    let file = pool.open_file("null", OpenOptions::new().read_only(true)).unwrap();
    (pool, file)
}

/// Draws blocks at random, low ones far more often than high ones.
fn skewed() -> impl Iterator<Item = u32> {
    let mut state = 1_u64;
    iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (state >> 40) as f64 / f64::from(1 << 24);
        (f64::from(BLOCKS) * share.powi(3)) as u32
    })
}

#[test]
fn a_pool_misses_what_its_replay_misses() {
    let looped = (0..BLOCKS / 4).cycle();
    let scanned = skewed().zip((0..BLOCKS).cycle()).flat_map(|(point, scan)| [point, scan]);
    // Enough uses in a row that the page is held in slots of threads.
    let bursts = skewed().flat_map(|block| [block; 6]);
    let traces: [(&str, Vec<u32>); 4] = [
        ("skewed", skewed().take(10_000).collect()),
        ("bursts", bursts.take(30_000).collect()),
        ("loop", looped.take(10_000).collect()),
        ("scan", scanned.take(20_000).collect()),
    ];
    for frames in [1, 10, 100, 3_000] {
        for (name, trace) in &traces {
            let (pool, file) = pool_of(frames);
            let page = |&block: &u32| PageId::new(file, block);
            trace.iter().map(page).for_each(|page| drop(pool.fetch(page).wait().unwrap()));
            let missed = pool.stats().counts.misses;
            let mut replay = Replay::new(frames).unwrap();
            let replayed = trace.iter().map(page).filter(|&page| !replay.access(page)).count() as u64;
            assert_eq!(missed, replayed, "{name}, {frames} frames");
        }
    }
}

#[test]
fn a_scan_by_fetches_leaves_what_was_used_twice() {
    const FRAMES: u32 = 1_000;
    const HOT: u32 = 500;
    let (pool, file) = pool_of(FRAMES);
    let fetch = |block| drop(pool.fetch(PageId::new(file, block)).wait().unwrap());
    (0..2).for_each(|_| (0..HOT).for_each(fetch));
    (HOT..BLOCKS).for_each(fetch);
    let kept = (0..HOT).filter(|&block| pool.fetch(PageId::new(file, block)).now().is_some()).count();
    assert_eq!(kept as u32, HOT);
}

#[test]
fn p10_a_full_scan_costs_a_hot_set_less_than_a_hundredth_of_its_hits() {
    let ringpool = support::candidates().pop().unwrap();
    let cost = scan_cost(&ringpool);
    assert!((-0.01..0.01).contains(&cost), "{cost} of its hits");
}

/// Otherwise a table of miss ratios would differ from run to run.
#[test]
fn what_the_engines_use_is_the_same_each_time() {
    let texts = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/buffer/replacement");
    let traces = || support::engines::traces(&texts, 3_000).unwrap();
    let (first, second) = (traces(), traces());
    for (one, other) in first.iter().zip(&second) {
        assert!(one.pages.len() >= 3_000 && one.footprint() > 100, "{}", one.name);
        assert!(one.pages == other.pages, "{}", one.name);
    }
    assert_eq!((first.len(), second.len()), (5, 5));
}

#[test]
fn of_a_loop_that_is_longer_than_the_pool_a_part_stays() {
    const FRAMES: u32 = 1_000;
    let (pool, file) = pool_of(FRAMES);
    let round =
        || (0..FRAMES * 5 / 4).for_each(|block| drop(pool.fetch(PageId::new(file, block)).wait().unwrap()));
    (0..5).for_each(|_| round());
    let before = pool.stats().counts;
    round();
    let ratio = (pool.stats().counts - before).hit_ratio();
    assert!(ratio > 0.6, "{ratio} of a round was found");
}

#[test]
fn frames_of_a_closed_file_are_taken_first() {
    const FRAMES: u32 = 1_000;
    let (pool, old) = pool_of(FRAMES);
    let new = pool.open_file("another", OpenOptions::new().read_only(true)).unwrap();
    let fetch = |file, block| drop(pool.fetch(PageId::new(file, block)).wait().unwrap());
    // Both files in the main queue, in which no victim is looked for as long as the small queue has one.
    let both = |block| [old, new].iter().for_each(|&file| fetch(file, block));
    (0..2).for_each(|_| (0..FRAMES / 2).for_each(both));
    (FRAMES / 2..FRAMES).for_each(|block| fetch(new, block));
    pool.close_file(old).wait().unwrap();
    let resident = pool.residency().count() as u32;
    let free = FRAMES - resident;
    assert!(free > 0, "the closed file had some frames left");
    (2_000..2_000 + free).for_each(|block| fetch(new, block));
    assert_eq!(pool.residency().count() as u32, FRAMES, "no page gave up its frame");
}
