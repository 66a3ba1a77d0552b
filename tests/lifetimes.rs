//! C5, by numbers: ten thousand things are dropped while their I/O is under way. Every I/O ends, into memory and through descriptors
//! that are still the pool's; nothing is leaked, and no other memory is touched.
//!
//! The canaries and the descriptors show what the kernel does to memory and descriptors, so those tests use real files, with every
//! method that works here; half of the time with reads that are late.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::VecDeque,
    fs,
    path::Path,
    pin::pin,
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use ringpool::{
    BufferPool, CheckpointOptions, FileId, IoMethod, OpenOptions, PageId, Shutdown, StreamOptions,
    options::BackgroundWriter,
    testing::{Dice, Fault, FaultyDisk, NullDisk, Op, SimDisk},
};
use support::{
    PAGE, assert_at_rest, assert_stamped, guarded, methods, say, stamped, stamped_file, with_each_method,
};

const BLOCKS: u32 = 64;
const FRAMES: u32 = 48;

/// What is begun and dropped with each method.
const DROPPED: u32 = 3500;

/// Polls once with a waker that does nothing, and drops it.
fn begin_and_drop<F: Future>(future: F) {
    let _ = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
}

fn pool_on(disk: &SimDisk, method: IoMethod) -> (BufferPool, FileId) {
    let builder = BufferPool::builder().frames(FRAMES).page_size(PAGE as u32).io_method(method);
    let pool = builder.frame_wait(Duration::from_secs(60)).storage(disk.clone()).build().unwrap();
    let file = pool.open_file("data", OpenOptions::new()).unwrap();
    (pool, file)
}

/// Begins an operation and drops it, or writes to a page the bytes that it has.
fn do_something(pool: &BufferPool, file: FileId, dice: &mut Dice) {
    let block = dice.below(u64::from(BLOCKS)) as u32;
    let page = PageId::new(file, block);
    let neighbours =
        [block, (block + 1) % BLOCKS, (block + 7) % BLOCKS].map(|block| PageId::new(file, block));
    match dice.below(16) {
        0..4 => begin_and_drop(pool.fetch(page)),
        4..6 => begin_and_drop(pool.fetch_many(&neighbours)),
        6..8 => drop(pool.prefetch(file.pages(block..block + 4))),
        8..10 => {
            let mut stream = pool.read_stream(file.pages(block..BLOCKS), StreamOptions::new());
            for _ in 0..dice.below(4) {
                begin_and_drop(stream.next_page());
            }
        }
        10 => begin_and_drop(pool.flush_file(file)),
        11 => begin_and_drop(pool.flush(page)),
        12 => begin_and_drop(pool.checkpoint(CheckpointOptions::new())),
        _ => {
            let page = pool.fetch(page).wait().unwrap();
            let mut bytes = page.write().unwrap();
            bytes.copy_from_slice(&stamped(block, 1));
            // A reader that wants the page meanwhile, and is dropped.
            begin_and_drop(page.read_async());
            begin_and_drop(page.write_async());
        }
    }
}

#[test]
fn c5_ten_thousand_things_are_dropped_with_their_io_under_way() {
    with_each_method(|method| {
        let disk = SimDisk::with_seed(2);
        disk.put("data", stamped_file(BLOCKS, 1));
        for op in [Op::Read, Op::Write, Op::Sync] {
            disk.inject(Fault::delay_up_to(op, Duration::from_micros(300)).one_in(4));
        }
        let mut dice = Dice::new(1);
        let (mut pool, mut file) = pool_on(&disk, method.clone());
        let (begun, mut pools) = (Instant::now(), 0);
        for number in 0..DROPPED {
            do_something(&pool, file, &mut dice);
            if dice.one_in(100) {
                // In the middle of all that.
                (pool, file) = pool_on(&disk, method.clone());
                pools += 1;
            }
            if number % 500 == 499 {
                assert_at_rest(&pool);
                (0..BLOCKS).for_each(|block| {
                    assert_stamped(&pool.fetch(PageId::new(file, block)).wait().unwrap(), 1);
                });
            }
        }
        pool.shutdown(Shutdown::Flush).unwrap();
        assert!(disk.image("data").unwrap() == stamped_file(BLOCKS, 1));
        let took = begun.elapsed();
        say(&format!("lifetimes: {method:?}: {DROPPED} things and {pools} pools dropped in {took:.1?}"));
    });
}

#[test]
fn c5_a_thread_that_ends_right_after_submitting_takes_nothing_along() {
    with_each_method(|method| {
        let disk = SimDisk::with_seed(3);
        disk.put("data", stamped_file(BLOCKS, 1));
        disk.inject(Fault::delay_up_to(Op::Read, Duration::from_millis(2)));
        let (pool, file) = pool_on(&disk, method);
        for round in 0..20 {
            let ending: Vec<_> = (0..8)
                .map(|number| {
                    let pool = pool.clone();
                    let block = (round * 8 + number) % BLOCKS;
                    thread::spawn(move || {
                        pool.prefetch(file.pages([block]));
                        begin_and_drop(pool.fetch(PageId::new(file, (block + 1) % BLOCKS)));
                    })
                })
                .collect();
            ending.into_iter().for_each(|thread| thread.join().unwrap());
            (0..8).for_each(|number| {
                let block = (round * 8 + number) % BLOCKS;
                assert_stamped(&pool.fetch(PageId::new(file, block)).wait().unwrap(), 1);
            });
        }
        assert_at_rest(&pool);
    });
}

/// When the reads of a busy pool end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reads {
    AsTheyCome,
    /// By plain calls, each after up to two milliseconds.
    Late,
}

/// Makes a pool on a real file, with all its pages being read, or some of them being written.
fn busy_pool(path: &Path, method: &IoMethod, reads: Reads, writes: bool) -> BufferPool {
    let mut builder = BufferPool::builder().frames(FRAMES).page_size(PAGE as u32).io_method(method.clone());
    if reads == Reads::Late {
        let disk = FaultyDisk::new();
        disk.inject(Fault::delay_up_to(Op::Read, Duration::from_millis(2)));
        builder = builder.storage(disk);
    }
    let pool = builder.build().unwrap();
    let file = pool.open_file(path, OpenOptions::new()).unwrap();
    if writes {
        for block in 0..16 {
            let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
            page.write().unwrap().copy_from_slice(&stamped(block, 1));
        }
        begin_and_drop(pool.flush_file(file));
    }
    pool.prefetch(file.pages((0..BLOCKS).step_by(2)));
    pool
}

/// Pages that are never touched, in the place of those that have just been given back: a pool of the same size on a disk that reads
/// nothing. (The allocator would keep a vector of that size elsewhere, once it has seen a few.)
struct Canary {
    pool: BufferPool,
    file: FileId,
}

impl Canary {
    fn new() -> Self {
        let builder = BufferPool::builder().frames(FRAMES).page_size(PAGE as u32).io_method(IoMethod::Sync);
        let builder = builder.background_writer(BackgroundWriter::Off);
        let disk = NullDisk::new(u64::from(FRAMES) * PAGE as u64);
        let pool = builder.storage(disk).build().unwrap();
        let file = pool.open_file("canary", OpenOptions::new()).unwrap();
        Self { pool, file }
    }

    /// Returns whether all frames hold what fresh memory holds.
    fn is_alive(&self) -> bool {
        (0..FRAMES).all(|block| {
            let page = self.pool.fetch(PageId::new(self.file, block)).wait().unwrap();
            page.read().iter().all(|&byte| byte == 0)
        })
    }
}

/// Makes a folder with two files, of which all blocks have the versions 1 and 2.
fn two_files() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (name, version) in [("own", 1), ("foreign", 2)] {
        fs::write(dir.path().join(name), stamped_file(BLOCKS, version)).unwrap();
    }
    dir
}

#[test]
fn c5_no_io_touches_memory_that_was_given_back() {
    guarded(|| {
        let dir = two_files();
        for method in methods() {
            let mut canaries = VecDeque::new();
            for round in 0..150 {
                let reads = if round % 4 < 2 { Reads::AsTheyCome } else { Reads::Late };
                drop(busy_pool(&dir.path().join("own"), &method, reads, round % 2 == 0));
                canaries.push_back(Canary::new());
                if canaries.len() > 16 {
                    let oldest = canaries.pop_front().unwrap();
                    assert!(oldest.is_alive(), "{method:?}: written after it was freed");
                }
            }
            assert!(canaries.iter().all(Canary::is_alive), "{method:?}: written after it was freed");
        }
    });
}

#[test]
fn c5_no_io_goes_through_a_descriptor_that_is_another_files_by_now() {
    guarded(|| {
        let dir = two_files();
        let path = |name| dir.path().join(name);
        for method in methods() {
            for round in 0..150 {
                drop(busy_pool(&path("own"), &method, Reads::AsTheyCome, round % 2 == 0));
                // Another file, with the same number as a rule.
                let foreign = fs::File::options().read(true).write(true).open(path("foreign")).unwrap();
                let pool = busy_pool(&path("own"), &method, Reads::AsTheyCome, round % 3 == 0);
                drop(foreign);
                let foreign = pool.open_file(path("foreign"), OpenOptions::new()).unwrap();
                let page = pool.fetch(PageId::new(foreign, round % BLOCKS)).wait().unwrap();
                assert_stamped(&page, 2);
                drop(page);
                pool.close_file(foreign).wait().unwrap();
                let bytes = fs::read(path("foreign")).unwrap();
                assert!(bytes == stamped_file(BLOCKS, 2), "{method:?}: written through");
            }
            assert!(fs::read(path("own")).unwrap() == stamped_file(BLOCKS, 1), "{method:?}");
        }
    });
}
