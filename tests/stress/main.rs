//! The stress test (C1, C6): many threads on few frames, and no page is ever lost, stale, torn or in another page's place.
//!
//! Eight threads fetch, read, change, prefetch, flush and evict pages at random, some as threads and some as tasks, while one
//! thread takes checkpoints and another makes the file longer. Every page holds a counter, in each of its cells; a change adds
//! one to it. Beside the pool an array holds, for each page, a count of the changes that are **done** and of those that are
//! **begun**, so:
//!
//! * a reader of a page must see, everywhere in it, one number of its own block, from the changes done before it asked to the
//!   changes begun by the time it looked: less is a stale or lost page, more is a page from nowhere, different numbers are a page
//!   caught half-way;
//! * in the end every page must hold exactly the number of its changes: in the pool, and after a checkpoint on disk, read
//!   through a separate descriptor.
//!
//! Pools have 4 to 64 frames: with more threads than frames, waiting for a frame is the rule. A watchdog makes a hang a
//! failure and prints the pool's stats.
//!
//! `RINGPOOL_STRESS_SECONDS`: the time for each method, all pool sizes together; 3 unless set.

#[path = "../support/stamp.rs"]
mod stamp;
#[path = "../support/watchdog.rs"]
mod watchdog;
mod worker;

use std::{
    env, fs,
    io::Write,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ringpool::{
    BufferPool, CheckpointOptions, FileId, IoMethod, OpenOptions, PageId, Shutdown,
    options::{BackgroundWriter, Fallback},
};
use watchdog::Watchdog;
use worker::Worker;

const THREADS: usize = 8;
const PAGE_SIZE: usize = 4096;

/// The blocks with which the file begins, and to which it grows.
const BLOCKS: (u32, u32) = (96, 160);

/// Frames of the pools that a method is tried with, in turn.
const FRAMES: [u32; 4] = [4, 7, 16, 64];

/// What marks the pages of this test.
const FILE: u32 = 77;

#[test]
fn uring() {
    stress_method("uring", &IoMethod::uring());
}

#[test]
fn worker() {
    stress_method("worker", &IoMethod::worker());
}

#[test]
fn sync() {
    stress_method("sync", &IoMethod::Sync);
}

fn stress_method(name: &str, method: &IoMethod) {
    let seconds =
        env::var("RINGPOOL_STRESS_SECONDS").map_or(3, |text| text.parse().expect("a number of seconds"));
    for (frames, direct) in FRAMES.into_iter().flat_map(|frames| [(frames, true), (frames, false)]) {
        let pool = BufferPool::builder()
            .frames(frames)
            .page_size(PAGE_SIZE as u32)
            .io_method(method.clone())
            .background_writer(if direct {
                BackgroundWriter::ReadyFrames { low: 1, high: frames / 2 }
            } else {
                BackgroundWriter::Off
            })
            .build();
        match pool {
            Ok(pool) => {
                let time = Duration::from_millis(seconds * 1000 / (2 * FRAMES.len() as u64));
                stress(&format!("{name}, {frames} frames, direct: {direct}"), pool, direct, time);
            }
            Err(error) => return say(&format!("stress: {name}: skipped, this machine cannot: {error}")),
        }
    }
}

fn stress(name: &str, pool: BufferPool, direct: bool, time: Duration) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a place for files");
    let path = dir.path().join("stressed");
    // The page cache answers at once, the device does not: other things happen at the same time.
    let access = if direct { Fallback::Prefer } else { Fallback::Off };
    let options = OpenOptions::new().create(true).initial_blocks(BLOCKS.0).direct(access);
    let file = pool.open_file(&path, options).unwrap();
    let arena = Arc::new(Arena::new(pool, file));
    let watchdog = {
        let arena = Arc::clone(&arena);
        Watchdog::new(Duration::from_secs(300), move || {
            format!("{}\n{}", arena.pool.stats(), arena.pool_in_words())
        })
    };
    let end = Instant::now() + time;
    thread::scope(|scope| {
        for seed in 0..THREADS as u64 {
            let (arena, watchdog) = (&arena, &watchdog);
            scope.spawn(move || Worker::new(arena, seed).run(end, watchdog));
        }
        scope.spawn(|| arena.take_checkpoints(end));
        scope.spawn(|| arena.extend_now_and_then(end, time));
    });
    assert!(!arena.failed.load(Ordering::Relaxed));
    arena.compare_all_in_the_pool();
    arena.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    arena.compare_all_on_disk(&fs::read(&path).unwrap());
    let stats = arena.pool.stats();
    assert_eq!((stats.frames.pins, stats.frames.dirty, stats.frames.in_flight()), (0, 0, 0), "{stats}");
    assert_eq!(stats.counts.failures, 0, "{stats}");
    let changes: u64 = arena.done.iter().map(|done| done.load(Ordering::Relaxed)).sum();
    let (reads, waits) = (stats.counts.pages_read, stats.counts.frame_waits);
    say(&format!("stress: {name}: {changes} changes, {reads} pages read, {waits} waits for a frame"));
    arena.pool.clone().shutdown(Shutdown::Flush).unwrap();
    arena.pool.validate().unwrap_or_else(|faults| panic!("{faults}"));
}

/// The pool, its file, and what is known of the pages.
struct Arena {
    pool: BufferPool,
    file: FileId,
    /// Blocks that may be used.
    blocks: AtomicU32,
    begun: Vec<AtomicU64>,
    done: Vec<AtomicU64>,
    failed: AtomicBool,
}

impl Arena {
    fn new(pool: BufferPool, file: FileId) -> Self {
        let counters = || (0..BLOCKS.1).map(|_| AtomicU64::new(0)).collect();
        let (begun, done) = (counters(), counters());
        Self { pool, file, blocks: AtomicU32::new(BLOCKS.0), begun, done, failed: AtomicBool::new(false) }
    }

    fn page(&self, block: u32) -> PageId {
        PageId::new(self.file, block)
    }

    fn take_checkpoints(&self, end: Instant) {
        let mut as_a_task = false;
        while Instant::now() < end {
            let checkpoint = self.pool.checkpoint(CheckpointOptions::new());
            let report = if as_a_task { pollster::block_on(checkpoint) } else { checkpoint.wait() };
            report.expect("nothing is wrong with the disk");
            as_a_task = !as_a_task;
            thread::sleep(Duration::from_millis(3));
        }
    }

    fn extend_now_and_then(&self, end: Instant, time: Duration) {
        let pieces = 16;
        let piece = NonZeroU32::new((BLOCKS.1 - BLOCKS.0) / pieces).expect("more than none");
        for _ in 0..pieces {
            if Instant::now() + time / pieces < end {
                thread::sleep(time / (pieces + 1));
            }
            let extended = self.pool.extend(self.file, piece).wait().expect("the disk is not full");
            assert_eq!(
                extended.first.0,
                self.blocks.load(Ordering::Relaxed),
                "blocks left out or given twice"
            );
            self.blocks.fetch_add(piece.get(), Ordering::Release);
        }
    }

    fn compare_all_in_the_pool(&self) {
        for block in 0..BLOCKS.1 {
            let page = self.pool.fetch(self.page(block)).wait().unwrap();
            self.compare_final(block, &page.read(), "in the pool");
        }
    }

    fn compare_all_on_disk(&self, bytes: &[u8]) {
        assert_eq!(bytes.len(), BLOCKS.1 as usize * PAGE_SIZE);
        for (block, page) in bytes.chunks_exact(PAGE_SIZE).enumerate() {
            self.compare_final(block as u32, page, "on disk");
        }
    }

    fn compare_final(&self, block: u32, page: &[u8], place: &str) {
        let changes = self.done[block as usize].load(Ordering::SeqCst);
        assert_eq!(u64::from(count_in(block, page)), changes, "changes of block {block} {place}");
    }

    fn pool_in_words(&self) -> String {
        let sum =
            |counts: &[AtomicU64]| counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
        format!(
            "{} changes begun, {} done, {} blocks",
            sum(&self.begun),
            sum(&self.done),
            self.blocks.load(Ordering::Relaxed)
        )
    }
}

/// Returns the number of changes that a page shows, everywhere the same.
fn count_in(block: u32, page: &[u8]) -> u32 {
    stamp::version_of(page, FILE, block).unwrap_or_else(|difference| panic!("{difference}"))
}

/// Prints to the terminal, past the harness, which keeps what successful tests print.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
