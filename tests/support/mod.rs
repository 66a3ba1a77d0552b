//! What these tests share: a pool on a simulated disk, pages that say which page they are, many fetches at once, and a watchdog.

// Each test binary uses its own part of this.
#![allow(dead_code, unreachable_pub)]

use std::{
    io::{self, Write},
    panic::resume_unwind,
    sync::mpsc::{RecvTimeoutError, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ringpool::{
    BufferPool, Builder, Error, FileId, IoMethod, OpenOptions, PageId, PinnedPage, Result,
    testing::{Later, SimDisk},
};

pub const PAGE: usize = 8192;

pub const EIO: i32 = 5;
pub const ENOSPC: i32 = 28;

/// The most that a test may take: far above what any does on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long a test waits for what must happen; and, unless it says otherwise, a fetch for a frame.
const LONG: Duration = Duration::from_secs(60);

/// Runs a test that must neither panic nor hang.
pub fn guarded(body: impl FnOnce() + Send + 'static) {
    let (done, ended) = channel();
    let test = thread::current().name().unwrap_or("test").to_owned();
    let run = move || {
        body();
        let _ = done.send(());
    };
    let running = thread::Builder::new().name(test).spawn(run).expect("a thread for the test");
    match ended.recv_timeout(PATIENCE) {
        Err(RecvTimeoutError::Timeout) => panic!("it hangs: not over after {PATIENCE:?}"),
        _ => running.join().unwrap_or_else(|panic| resume_unwind(panic)),
    }
}

/// Runs a guarded test with every method that works here.
pub fn with_each_method(body: impl Fn(IoMethod) + Send + 'static) {
    guarded(move || {
        for method in methods() {
            println!("method {method:?}");
            body(method);
        }
    });
}

/// Returns every method that works here, and prints which do not.
pub fn methods() -> Vec<IoMethod> {
    let mut methods = vec![IoMethod::Sync, IoMethod::worker()];
    match BufferPool::builder().frames(1).io_method(IoMethod::uring()).build() {
        Ok(_) => methods.push(IoMethod::uring()),
        Err(error) => println!("skipped for io_uring: {error}"),
    }
    methods
}

/// Returns whether this run is one with asynchronous files: for each method, beside those of a disk whose transfers are calls.
pub fn later() -> bool {
    std::env::var_os("RINGPOOL_LATER").is_some()
}

/// Prints to the terminal, past the harness, which keeps what successful tests print.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Waits for what must happen by itself.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "never came about: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns the bytes of a version of a block: every eight of them name block, version and place.
pub fn stamped(block: u32, version: u8) -> Vec<u8> {
    let word = |place: u64| u64::from(block) << 32 | place << 8 | u64::from(version);
    (0..PAGE as u64 / 8).flat_map(|place| word(place).to_le_bytes()).collect()
}

/// Returns the bytes of a file of `blocks` blocks, all of the same version.
pub fn stamped_file(blocks: u32, version: u8) -> Vec<u8> {
    (0..blocks).flat_map(|block| stamped(block, version)).collect()
}

#[track_caller]
pub fn assert_stamped(page: &PinnedPage, version: u8) {
    let block = page.id().block.0;
    assert!(*page.read() == *stamped(block, version), "block {block} is not its version {version}");
}

/// Changes a page to another version.
pub fn restamp(page: &PinnedPage, version: u8) {
    let bytes = stamped(page.id().block.0, version);
    page.write().expect("a writable page").copy_from_slice(&bytes);
}

/// A pool on a simulated disk that has one file, "data", with all blocks in version 1. When a test is over, no page may be pinned,
/// no I/O be under way, and no invariant of the pool be broken.
pub struct Bench {
    pub disk: SimDisk,
    pub pool: BufferPool,
    pub file: FileId,
    /// The test ends the pool itself.
    is_taken: bool,
}

impl Bench {
    pub fn new(method: IoMethod, frames: u32, blocks: u32) -> Self {
        Self::with(blocks, |builder| builder.frames(frames).io_method(method))
    }

    pub fn with(blocks: u32, options: impl FnOnce(Builder) -> Builder) -> Self {
        let disk = SimDisk::new();
        disk.put("data", stamped_file(blocks, 1));
        let builder = BufferPool::builder().page_size(PAGE as u32).frame_wait(LONG);
        let builder = options(builder);
        // The same files, but their requests end later, by other threads.
        let pool = if later() {
            builder.storage(Later::new(disk.clone(), 7)).build()
        } else {
            builder.storage(disk.clone()).build()
        };
        let pool = pool.expect("options that work");
        let file = pool.open_file("data", OpenOptions::new()).expect("it was put there");
        // The log has only what the test does.
        disk.clear_log();
        Self { disk, pool, file, is_taken: false }
    }

    /// Returns the parts, for a test that ends the pool itself.
    pub fn into_parts(mut self) -> (SimDisk, BufferPool, FileId) {
        self.is_taken = true;
        (self.disk.clone(), self.pool.clone(), self.file)
    }

    pub fn into_pool(self) -> BufferPool {
        self.into_parts().1
    }

    pub fn page(&self, block: u32) -> PageId {
        PageId::new(self.file, block)
    }

    pub fn fetch(&self, block: u32) -> Result<PinnedPage> {
        self.pool.fetch(self.page(block)).wait()
    }

    /// Changes blocks to another version.
    pub fn dirty(&self, blocks: impl IntoIterator<Item = u32>, version: u8) {
        for block in blocks {
            restamp(&self.fetch(block).expect("a readable page"), version);
        }
    }

    /// Returns the bytes of the file as they are read from the disk.
    pub fn image(&self) -> Vec<u8> {
        self.disk.image("data").expect("it was put there")
    }

    pub fn durable(&self) -> Vec<u8> {
        self.disk.durable_image("data").expect("it was put there")
    }

    /// Asserts that no page is pinned, and no I/O under way.
    #[track_caller]
    pub fn assert_at_rest(&self) {
        assert_at_rest(&self.pool);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !self.is_taken && !thread::panicking() {
            self.assert_at_rest();
        }
    }
}

#[track_caller]
pub fn assert_at_rest(pool: &BufferPool) {
    eventually("a pool without pins and I/O", || {
        let frames = pool.stats().frames;
        (frames.pins, frames.in_flight(), pool.in_flight().len()) == (0, 0, 0)
    });
    assert_valid(pool);
}

/// Asserts that no invariant of the pool is broken, once operations that are just ending are over.
#[track_caller]
pub fn assert_valid(pool: &BufferPool) {
    let deadline = Instant::now() + LONG;
    while let Err(faults) = pool.validate() {
        assert!(Instant::now() < deadline, "{faults}");
        thread::sleep(Duration::from_millis(1));
    }
}

pub type Fetching = JoinHandle<Result<PinnedPage>>;

/// Starts a thread or a task that fetches a page.
pub fn fetch_apart(pool: &BufferPool, page: PageId, as_task: bool) -> Fetching {
    let fetch = pool.fetch(page);
    thread::spawn(move || if as_task { pollster::block_on(fetch) } else { fetch.wait() })
}

/// Starts threads and tasks by turns that fetch a page that is being read already. When this returns, all wait for that read.
pub fn join_read(pool: &BufferPool, page: PageId, count: u64) -> Vec<Fetching> {
    let before = pool.stats().counts.joins;
    let joining = (0..count).map(|n| fetch_apart(pool, page, n % 2 == 0)).collect();
    eventually("all in line for the read", || pool.stats().counts.joins == before + count);
    joining
}

/// Waits for a fetch of another thread or task, and returns its result.
pub fn outcome(fetching: Fetching) -> Result<PinnedPage> {
    fetching.join().expect("a fetch that does not panic")
}

/// Returns the text of an error that must be there.
#[track_caller]
pub fn error_text<T>(result: Result<T>) -> String {
    let error: Error = result.err().expect("an error");
    error.to_string()
}
