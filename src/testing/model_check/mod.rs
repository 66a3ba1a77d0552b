//! The real pool under many schedules of shuttle.
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" cargo test --lib model_check
//! ```
//!
//! Each scenario runs the whole library, over a [disk](disk) whose transfers happen in two halves, under thousands of random
//! schedules; `RINGPOOL_SCHEDULES` sets how many. A failure prints the schedule, which `shuttle::replay` takes. Pages are
//! stamped with their block and a version in both halves, so a half-read, stale or misplaced page shows.

mod asynchronous_files;
mod disk;
mod files;
mod own_pages;
mod resizing;
mod scenarios;
mod thread_pool;
mod torn_pages;
mod wakers;

use std::{env, io::Write, num::NonZeroU32, time::Duration};

use shuttle::{
    Runner,
    scheduler::{PctScheduler, RandomScheduler, Scheduler},
};

use crate::{
    BufferPool, Builder, CheckpointOptions, FileId, IoMethod, Lsn, OpenOptions, PageId, Wal,
    sync::{
        Arc, Mutex,
        thread::{self, JoinHandle},
    },
    testing::model_check::disk::SteppedDisk,
};

const PAGE: usize = 512;

/// Runs `scenario` under many schedules, for each I/O method that shuttle can drive: half of them with a switch at every
/// turn of a coin, half with few switches in places that matter (PCT), which let one thread overtake another by far.
fn check(scenario: fn(IoMethod)) {
    let schedules = schedules();
    for method in [IoMethod::Sync, IoMethod::Worker { threads: 1 }, IoMethod::Worker { threads: 2 }] {
        let again = method.clone();
        run(RandomScheduler::new(schedules / 2), move || scenario(method.clone()));
        run(PctScheduler::new(3, schedules / 2), move || scenario(again.clone()));
    }
    let name = std::thread::current().name().unwrap_or("a scenario").to_owned();
    // Printed past the harness, which keeps what successful tests print.
    let _ = writeln!(std::io::stderr(), "{name}: {schedules} schedules for each of three methods");
}

/// Returns how many schedules of a scenario are tried.
fn schedules() -> usize {
    env::var("RINGPOOL_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000)
}

/// Tries many schedules of a part of the pool, without a method.
pub(crate) fn check_part(scenario: impl Fn() + Send + Sync + 'static) {
    run(RandomScheduler::new(2 * schedules()), scenario);
}

fn run(scheduler: impl Scheduler + 'static, scenario: impl Fn() + Send + Sync + 'static) {
    let mut config = shuttle::Config::new();
    // The default stack is too small for opening a pool with all its parts, most of all without optimisation.
    config.stack_size = 512 << 10;
    Runner::new(scheduler, config).run(scenario);
}

/// Makes a pool of `frames` over one file of `blocks`, with the disk that holds it.
fn pool_over(frames: u32, blocks: u32, method: IoMethod) -> (BufferPool, FileId, SteppedDisk) {
    pool_with(frames, blocks, method, |builder| builder)
}

/// Makes a pool with further options, over one file of `blocks`, with the disk that holds it.
fn pool_with(
    frames: u32,
    blocks: u32,
    method: IoMethod,
    options: impl FnOnce(Builder) -> Builder,
) -> (BufferPool, FileId, SteppedDisk) {
    let disk = SteppedDisk::new();
    let builder = BufferPool::builder().frames(frames).page_size(PAGE as u32).io_method(method);
    let builder = builder.frame_wait(Duration::from_secs(10));
    let pool = options(builder).storage(disk.clone()).build().unwrap();
    let file = pool.open_file("file", OpenOptions::new()).unwrap();
    if let Some(blocks) = NonZeroU32::new(blocks) {
        pool.extend(file, blocks).wait().unwrap();
    }
    (pool, file, disk)
}

/// A log that is durable as far as it was asked to be, after a moment.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<u64>>);

impl Wal for Log {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(*self.0.lock())
    }

    fn flush(&self, up_to: Lsn) -> std::io::Result<Lsn> {
        thread::yield_now();
        let mut flushed = self.0.lock();
        *flushed = up_to.0.max(*flushed);
        Ok(Lsn(*flushed))
    }
}

fn spawn(body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::spawn("scenario".to_owned(), body).unwrap()
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    // All must run before the first is waited for.
    let threads: Vec<_> = threads.into_iter().collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Returns the version in a page's bytes, after a look at both halves. A page of zeros has version 0.
fn version_of(bytes: &[u8], block: u32) -> u32 {
    let halves = [0, PAGE / 2].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()));
    assert_eq!(halves[0], halves[1], "block {block}: two halves of different pages");
    let (stamped, version) = ((halves[0] >> 32) as u32, halves[0] as u32);
    assert!(version == 0 || stamped == block + 1, "block {block} shows the bytes of block {}", stamped - 1);
    version
}

fn stamp(bytes: &mut [u8], block: u32, version: u32) {
    let word = (u64::from(block + 1) << 32 | u64::from(version)).to_le_bytes();
    [0, PAGE / 2].into_iter().for_each(|at| bytes[at..at + 8].copy_from_slice(&word));
}

/// Adds one to a page's version.
fn increment(pool: &BufferPool, file: FileId, block: u32) {
    let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
    let mut bytes = page.write().unwrap();
    let version = version_of(&bytes, block);
    stamp(&mut bytes, block, version + 1);
}

fn version(pool: &BufferPool, file: FileId, block: u32) -> u32 {
    version_of(&pool.fetch(PageId::new(file, block)).wait().unwrap().read(), block)
}

/// Returns the versions of all pages on disk.
fn versions_on(disk: &SteppedDisk) -> Vec<u32> {
    let bytes = disk.bytes();
    bytes.chunks(PAGE).enumerate().map(|(block, page)| version_of(page, block as u32)).collect()
}

fn checkpoint(pool: &BufferPool) {
    pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
}

/// Asserts that nothing is pinned, latched or in an I/O any more.
fn assert_at_rest(pool: &BufferPool) {
    // The thread that ends a read shows the page first, and gives the place of the read-ahead quota back then.
    while pool.stats().frames.reading_ahead > 0 {
        thread::yield_now();
    }
    let frames = pool.stats().frames;
    assert_eq!((frames.pins, frames.in_flight(), frames.reading_ahead), (0, 0, 0), "{frames:?}");
    assert_eq!(pool.in_flight(), [], "a request is over and still listed");
    pool.validate().unwrap_or_else(|faults| panic!("{faults}"));
}
