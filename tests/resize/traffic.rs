//! Eight threads at work of every kind, on a file of which no frame count holds all, while the pool goes through all sizes.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use ringpool::{
    BufferPool, Builder, CheckpointOptions, Error, FileId, IoMethod, OpenOptions, PageId, StreamOptions,
    options::Fallback, testing::SimDisk,
};

use crate::support::{assert_at_rest, eventually, guarded, methods};

/// Large enough that the memory of a few thousand frames comes in several steps.
const PAGE: usize = 16 << 10;
const BLOCKS: u32 = 2_000;
const MOST: u32 = 3_000;

/// Sizes that the pool is given one after the other, up and down, within a step of memory and over several.
const SIZES: [u32; 12] = [3_000, 1_100, 2_050, 10, 1, 1_500, 40, 3_000, 1_024, 1_025, 2, 700];

/// Positions in a page that say which page it is.
const MARKS: usize = 512;

fn stamp(bytes: &mut [u8], block: u32, version: u32) {
    let mark = (u64::from(block) << 32 | u64::from(version)).to_le_bytes();
    bytes.chunks_exact_mut(MARKS).for_each(|chunk| chunk[..8].copy_from_slice(&mark));
}

/// Returns the version of a page's bytes, which must all be of this block and of one version.
#[track_caller]
fn version_of(bytes: &[u8], block: u32) -> u32 {
    let mark = |chunk: &[u8]| u64::from_le_bytes(chunk[..8].try_into().unwrap());
    let first = mark(bytes);
    assert!(
        bytes.chunks_exact(MARKS).all(|chunk| mark(chunk) == first),
        "block {block} is of several versions"
    );
    assert_eq!(first >> 32, u64::from(block), "the bytes of another block");
    first as u32
}

fn file_of_stamps() -> Vec<u8> {
    let mut bytes = vec![0; BLOCKS as usize * PAGE];
    bytes.chunks_exact_mut(PAGE).zip(0..).for_each(|(page, block)| stamp(page, block, 0));
    bytes
}

/// What the threads work on, and what they have done.
struct Work {
    pool: BufferPool,
    file: FileId,
    /// How often each page was changed.
    changes: Vec<AtomicU32>,
    done: AtomicU64,
    over: AtomicBool,
}

impl Work {
    fn page(&self, block: u32) -> PageId {
        PageId::new(self.file, block)
    }

    fn change(&self, block: u32, as_task: bool) {
        let fetch = self.pool.fetch(self.page(block));
        let page = if as_task { pollster::block_on(fetch) } else { fetch.wait() }.unwrap();
        let mut bytes = page.write().unwrap();
        let version = version_of(&bytes, block);
        stamp(&mut bytes, block, version + 1);
        self.changes[block as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Makes one step of the thread of this number.
    fn step(&self, thread: u32, block: u32) {
        let some = |count: u32| (0..count).map(move |n| (block + n * n) % BLOCKS);
        match thread {
            0 => self.change(block, false),
            1 => self.change(block, true),
            2 => drop(version_of(&self.pool.read(self.page(block)).wait().unwrap(), block)),
            3 => drop(version_of(
                &pollster::block_on(self.pool.fetch(self.page(block))).unwrap().read(),
                block,
            )),
            4 | 5 => {
                let options = StreamOptions::new();
                let options = if thread == 4 { options.bulk() } else { options };
                for page in self.pool.read_stream(self.file.pages(block..(block + 48).min(BLOCKS)), options) {
                    let page = page.unwrap();
                    version_of(&page.read(), page.id().block.0);
                }
            }
            6 => {
                self.pool.prefetch(self.file.pages(some(16)));
                let pages: Vec<_> = some(6).map(|block| self.page(block)).collect();
                // A call that began in a larger pool may find too few frames now, and would hold those that it has for as long as
                // it waits.
                let impatient = Duration::from_millis(10);
                match self.pool.fetch_many(&pages).frame_wait(impatient).wait() {
                    Ok(pages) => pages
                        .iter()
                        .for_each(|page| assert!(version_of(&page.read(), page.id().block.0) < u32::MAX)),
                    Err(Error::TooManyPages { frames, .. }) => assert!(frames < 6),
                    Err(error) => assert!(matches!(error, Error::AllPinned { .. }), "{error}"),
                }
            }
            _ => {
                self.change(block, false);
                if block.is_multiple_of(16) {
                    self.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
                }
            }
        }
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    fn run(&self, thread: u32) {
        let mut state = u64::from(thread) + 1;
        while !self.over.load(Ordering::Relaxed) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Some pages far more often than others.
            let share = (state >> 40) as f64 / f64::from(1 << 24);
            self.step(thread, (f64::from(BLOCKS) * share * share) as u32);
        }
    }
}

/// Resizes under traffic; returns the work when it is over, with every page as often changed as was counted.
fn work_on(builder: Builder, path: impl AsRef<std::path::Path>, direct: Fallback) -> Work {
    let builder = builder.frames(100).frames_at_most(MOST).page_size(PAGE as u32);
    let pool = builder.frame_wait(Duration::from_secs(60)).build().unwrap();
    let file = pool.open_file(path, OpenOptions::new().direct(direct)).unwrap();
    let changes = (0..BLOCKS).map(|_| AtomicU32::new(0)).collect();
    let (done, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = Arc::new(Work { pool, file, changes, done, over });
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let work = Arc::clone(&work);
            thread::spawn(move || work.run(thread))
        })
        .collect();
    for frames in SIZES {
        let before = work.done.load(Ordering::Relaxed);
        let report = work.pool.resize(frames).wait().unwrap();
        assert_eq!((report.frames, work.pool.stats().frames.total), (frames, frames));
        eventually("work with the pool as it is now", || {
            work.done.load(Ordering::Relaxed) > before + 40
                || threads.iter().any(thread::JoinHandle::is_finished)
        });
    }
    work.over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let work = Arc::into_inner(work).unwrap();
    work.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    for (block, changes) in (0..).zip(&work.changes) {
        let page = work.pool.fetch(work.page(block)).wait().unwrap();
        assert_eq!(version_of(&page.read(), block), changes.load(Ordering::Relaxed), "block {block}");
    }
    assert_at_rest(&work.pool);
    work
}

fn assert_on_disk(work: &Work, bytes: &[u8]) {
    for (page, block) in bytes.chunks_exact(PAGE).zip(0..) {
        let changes = work.changes[block as usize].load(Ordering::Relaxed);
        assert_eq!(version_of(page, block), changes, "block {block} on disk");
    }
}

fn with_real_files(direct: Fallback) {
    guarded(move || {
        for method in methods() {
            println!("method {method:?}");
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), file_of_stamps()).unwrap();
            let work = work_on(BufferPool::builder().io_method(method), file.path(), direct);
            assert_on_disk(&work, &fs::read(file.path()).unwrap());
        }
    });
}

#[test]
fn c1_nothing_is_lost_with_direct_files() {
    with_real_files(Fallback::Prefer);
}

#[test]
fn c1_nothing_is_lost_with_buffered_files() {
    with_real_files(Fallback::Off);
}

#[test]
fn c1_nothing_is_lost_on_a_simulated_disk() {
    guarded(|| {
        for method in [IoMethod::Sync, IoMethod::worker()] {
            let disk = SimDisk::new();
            disk.put("data", file_of_stamps());
            let builder = BufferPool::builder().io_method(method).storage(disk.clone());
            let work = work_on(builder, "data", Fallback::Prefer);
            assert_on_disk(&work, &disk.image("data").unwrap());
        }
    });
}
