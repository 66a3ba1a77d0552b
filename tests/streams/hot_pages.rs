//! What streams and reads ahead leave of the pages that other callers use over and over, and what counts as a use of a page.

use std::{fs::File, num::NonZeroU32, ops::Range};

use ringpool::{
    BufferPool, FileId, IoMethod, OpenOptions, PageId, PinnedPage, StreamOptions,
    testing::{Gate, Op},
};

use crate::support::{Bench, Fetching, eventually, fetch_apart, outcome, with_each_method};

const SMALL: u32 = 512;
const FRAMES: u32 = 2048;
const HOT: Range<u32> = 0..1500;
/// Nearly as many hot pages as a pool keeps: the eighth of each shard is for new ones.
const HOTTEST: Range<u32> = 0..1750;
const COLD: Range<u32> = 2000..18_000;

/// Makes a pool over a file of the system, so that each method does what it does on a disk.
fn on_a_real_file(method: &IoMethod, blocks: u32, frames: u32) -> (tempfile::TempDir, BufferPool, FileId) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    File::create(&path).unwrap().set_len(u64::from(blocks) * u64::from(SMALL)).unwrap();
    let pool = BufferPool::builder().frames(frames).page_size(SMALL).io_method(method.clone()).build();
    let pool = pool.unwrap();
    let file = pool.open_file(path, OpenOptions::new()).unwrap();
    (dir, pool, file)
}

/// A way to go through pages and change each.
type Scan = (&'static str, fn(&BufferPool, FileId, Range<u32>));

fn change(page: ringpool::Result<PinnedPage>) {
    page.unwrap().write().unwrap()[2] = 1;
}

const WRITING_SCANS: [Scan; 6] = [
    ("stream", |pool, file, blocks| {
        pool.read_stream(file.pages(blocks), StreamOptions::new()).for_each(change);
    }),
    ("bulk stream", |pool, file, blocks| {
        pool.read_stream(file.pages(blocks), StreamOptions::new().bulk()).for_each(change);
    }),
    ("fetches", |pool, file, blocks| {
        blocks.for_each(|block| change(pool.fetch(PageId::new(file, block)).wait()));
    }),
    ("fetches of a task", |pool, file, blocks| {
        pollster::block_on(async {
            for block in blocks {
                change(pool.fetch(PageId::new(file, block)).await);
            }
        });
    }),
    ("fetches of eight", |pool, file, blocks| {
        for from in blocks.step_by(8) {
            let pages: Vec<_> = (from..from + 8).map(|block| PageId::new(file, block)).collect();
            pool.fetch_many(&pages).wait().unwrap().into_iter().map(Ok).for_each(change);
        }
    }),
    ("extensions", |pool, file, blocks| {
        for _ in blocks.step_by(8) {
            let first = pool.extend(file, NonZeroU32::new(8).unwrap()).wait().unwrap().first.0;
            (first..first + 8).for_each(|block| change(pool.fetch(PageId::new(file, block)).wait()));
        }
    }),
];

/// Otherwise each dirty page whose turn it is would be passed by, and a clean hot page would be evicted in its place.
#[test]
fn p10_a_scan_that_changes_its_pages_leaves_the_hot_ones() {
    with_each_method(|method| {
        // With a background writer, and without.
        for frames in [1024, 100] {
            let hot = 0..frames / 5 * 4;
            for (name, scan) in WRITING_SCANS {
                let (_dir, pool, file) = on_a_real_file(&method, COLD.end, frames);
                use_thrice(&pool, file, hot.clone());
                scan(&pool, file, 8000..8000 + 2 * frames);
                let lost = hot.len() - resident(&pool, hot.clone());
                assert!(lost <= hot.len() / 50, "{name}: {lost} of {} in {frames} frames", hot.len());
            }
        }
    });
}

fn use_thrice(pool: &BufferPool, file: FileId, blocks: Range<u32>) {
    (0..3)
        .flat_map(|_| blocks.clone())
        .for_each(|block| drop(pool.fetch(PageId::new(file, block)).wait().unwrap()));
}

fn resident(pool: &BufferPool, blocks: Range<u32>) -> usize {
    pool.residency().filter(|page| blocks.contains(&page.page.block.0)).count()
}

#[test]
fn a_plain_stream_over_cold_pages_leaves_the_hot_ones() {
    with_each_method(|method| {
        for hot in [HOT, HOTTEST] {
            let (_dir, pool, file) = on_a_real_file(&method, COLD.end, FRAMES);
            use_thrice(&pool, file, hot.clone());
            let stream = pool.read_stream(file.pages(COLD), StreamOptions::new());
            assert_eq!(stream.map(Result::unwrap).count(), COLD.len());
            assert_eq!(resident(&pool, hot.clone()), hot.len());
        }
    });
}

/// Prefetches as another thread makes them for a scan.
#[test]
fn prefetches_of_cold_pages_leave_the_hot_ones() {
    with_each_method(|method| {
        let (_dir, pool, file) = on_a_real_file(&method, COLD.end, FRAMES);
        use_thrice(&pool, file, HOT);
        for from in COLD.step_by(500) {
            let _ = pool.prefetch(file.pages((from..from + 500).filter(|block| COLD.contains(block))));
            (from..from + 500).filter(|block| COLD.contains(block)).for_each(|block| {
                drop(pool.fetch(PageId::new(file, block)).wait().unwrap());
            });
        }
        assert_eq!(resident(&pool, HOT), HOT.len());
    });
}

/// Returns how often the block counts as used beyond the use for which it was read.
fn uses(bench: &Bench, block: u32) -> u8 {
    bench.pool.residency().find(|page| page.page == bench.page(block)).unwrap().usage
}

/// Reads block 0 by a prefetch, and holds it there.
fn held_prefetch(method: &IoMethod) -> (Bench, Gate) {
    let bench = Bench::with(8, |builder| builder.frames(8).io_method(method.clone()));
    let gate = bench.disk.hold(Op::Read);
    (bench, gate)
}

/// Has `body` run while the prefetch of block 0 is held, and returns how often the page then counts as used.
fn uses_after(method: &IoMethod, body: impl FnOnce(&Bench) -> Vec<Fetching>) -> u8 {
    let (bench, gate) = held_prefetch(method);
    let (pool, file) = (bench.pool.clone(), bench.file);
    // With the synchronous method the caller reads.
    let prefetching = std::thread::spawn(move || pool.prefetch(file.pages([0_u32])));
    gate.wait_for(1);
    let waiting = body(&bench);
    gate.open();
    prefetching.join().unwrap();
    waiting.into_iter().for_each(|fetching| drop(outcome(fetching).unwrap()));
    eventually("the page is here", || bench.pool.resident_pages().contains(&bench.page(0)));
    uses(&bench, 0)
}

#[test]
fn a_fetch_that_joins_a_read_uses_its_page_once() {
    with_each_method(|method| {
        let join = |bench: &Bench, count: u64| {
            let joining = (0..count).map(|n| fetch_apart(&bench.pool, bench.page(0), n % 2 == 0)).collect();
            eventually("in line for the read", || bench.pool.stats().counts.joins == count);
            joining
        };
        assert_eq!(uses_after(&method, |bench| join(bench, 1)), 0, "the use for which it was read");
        assert_eq!(uses_after(&method, |bench| join(bench, 2)), 1, "and one more");
    });
}

#[test]
fn to_ask_for_a_page_that_is_not_here_yet_is_no_use_of_it() {
    with_each_method(|method| {
        let ask = |bench: &Bench| {
            for _ in 0..3 {
                let fetch = bench.pool.fetch(bench.page(0));
                assert!(!fetch.is_done() && bench.pool.fetch(bench.page(0)).now().is_none());
            }
            Vec::new()
        };
        assert_eq!(uses_after(&method, ask), 0);
        // The mark of what is read ahead is still there: the next fetch is the use for which it was read.
        let fetch_once_more = |bench: &Bench| {
            ask(bench);
            vec![fetch_apart(&bench.pool, bench.page(0), true)]
        };
        assert_eq!(uses_after(&method, fetch_once_more), 0);
    });
}

#[test]
fn to_ask_whether_a_fetch_is_done_or_to_fail_to_evict_is_no_use() {
    with_each_method(|method| {
        let bench = Bench::new(method.clone(), 8, 8);
        let waiting = bench.pool.fetch(bench.page(0));
        let pinned = bench.fetch(0).unwrap();
        assert!((0..5).all(|_| waiting.is_done()));
        assert_eq!(bench.pool.evict(bench.page(0)).wait().unwrap(), ringpool::report::Evicted::Pinned);
        assert_eq!(uses(&bench, 0), 0);
        drop(pinned);
    });
}

#[test]
fn a_stream_that_follows_a_prefetch_uses_each_page_once() {
    with_each_method(|method| {
        let stream = |bench: &Bench| {
            let (pool, file) = (bench.pool.clone(), bench.file);
            let before = pool.stats().counts.stream_waits;
            let read = std::thread::spawn(move || {
                let mut stream = pool.read_stream(file.pages([0_u32]), StreamOptions::new());
                stream.next().unwrap()
            });
            eventually("the stream waits", || bench.pool.stats().counts.stream_waits > before);
            vec![read]
        };
        assert_eq!(uses_after(&method, stream), 0);
    });
}
