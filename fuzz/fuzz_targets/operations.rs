//! Streams of operations with faults in between, against a model that is an array of versions.
//!
//! One thread, one file, a handful of frames, the `sync` method: what happens depends on the input alone, so a crash is
//! replayed by its input. Whatever fails, these hold: a page that is shown is the latest version of its own block (C1, C2); what
//! a successful checkpoint covered is durable (C3); after a failed sync none succeeds (C4); an operation fails only where a
//! fault was injected, or where the model says that it must; and in the end, with the disk healed and nothing pinned, every
//! change is on disk and the pool is valid.

#![no_main]

use std::{num::NonZeroU32, time::Duration};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ringpool::{BufferPool, CheckpointOptions, Error, FileId, IoMethod, OpenOptions, PageId, PinnedPage, StreamOptions, testing::{Fault, Op, SimDisk}, options::BackgroundWriter};

const PAGE: usize = 512;
const FIRST_BLOCKS: u32 = 6;
const MOST_BLOCKS: u32 = 12;
const MOST_PINS: usize = 6;

#[derive(Arbitrary, Debug)]
struct Input {
    /// Frames, less one.
    frames: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Read(u8),
    Change(u8),
    /// Pins a page until it is let go.
    Hold(u8),
    LetGo(u8),
    Prefetch(u8, u8),
    /// Streams forward or backward, and drops the stream after so many pages.
    Stream {
        backward: bool,
        bulk: bool,
        pages: u8,
    },
    FetchMany(u8, u8),
    Flush(u8),
    Evict(u8),
    Sync,
    Checkpoint,
    Extend(u8),
    Truncate(u8),
    /// The n-th operation of this kind from now on fails, or all from then on.
    Fail {
        op: u8,
        errno: u8,
        nth: u8,
        for_ever: bool,
    },
    /// The n-th transfer comes back after so many bytes.
    Short {
        write: bool,
        bytes: u16,
        nth: u8,
    },
    Heal,
}

struct Run {
    disk: SimDisk,
    pool: BufferPool,
    file: FileId,
    /// The latest version of each block.
    versions: Vec<u32>,
    last_version: u32,
    held: Vec<PinnedPage>,
    frames: usize,
    /// Whether a fault was injected since the disk was healed last.
    faulty: bool,
    poisoned: bool,
}

fuzz_target!(|input: Input| {
    let mut run = Run::new(input.frames);
    input.steps.iter().take(200).for_each(|step| run.step(step));
    run.end();
});

fn stamped(block: u32, version: u32) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    if version > 0 {
        for (place, word) in page.chunks_exact_mut(16).enumerate() {
            word[..4].copy_from_slice(&(block + 1).to_le_bytes());
            word[4..8].copy_from_slice(&version.to_le_bytes());
            word[8..].copy_from_slice(&(place as u64).to_le_bytes());
        }
    }
    page
}

impl Run {
    fn new(frames: u8) -> Self {
        let frames = 1 + usize::from(frames % 8);
        let disk = SimDisk::new();
        let bytes: Vec<u8> = (0..FIRST_BLOCKS).flat_map(|block| stamped(block, 1)).collect();
        disk.put("data", bytes);
        let builder = BufferPool::builder().frames(frames as u32).page_size(PAGE as u32);
        let builder = builder.io_method(IoMethod::Sync).background_writer(BackgroundWriter::Off);
        let pool = builder.frame_wait(Duration::ZERO).storage(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        let versions = vec![1; FIRST_BLOCKS as usize];
        let (held, faulty, poisoned) = (Vec::new(), false, false);
        Self { disk, pool, file, versions, last_version: 1, held, frames, faulty, poisoned }
    }

    fn blocks(&self) -> u32 {
        self.versions.len() as u32
    }

    fn page(&self, block: u8) -> PageId {
        PageId::new(self.file, u32::from(block) % MOST_BLOCKS)
    }

    /// Compares what a fetch gave with what it had to give.
    fn judge(&self, page: PageId, fetched: Result<PinnedPage, Error>) -> Option<PinnedPage> {
        match fetched {
            Ok(pinned) => {
                let block = page.block.0;
                let version = *self.versions.get(block as usize).expect("a page behind the end");
                assert!(
                    pinned.read()[..] == stamped(block, version),
                    "block {block} is not its version {version}"
                );
                Some(pinned)
            }
            Err(Error::PastEof { .. }) => {
                assert!(page.block.0 >= self.blocks());
                None
            }
            Err(Error::AllPinned { .. }) => {
                assert!(
                    self.faulty || self.poisoned || self.pinned_frames() >= self.frames,
                    "there is a frame"
                );
                None
            }
            Err(error) => {
                assert!(self.faulty, "{error}");
                None
            }
        }
    }

    fn pinned_frames(&self) -> usize {
        let mut pages: Vec<_> = self.held.iter().map(PinnedPage::id).collect();
        pages.sort_unstable();
        pages.dedup();
        pages.len()
    }

    fn fetch(&self, block: u8) -> Option<PinnedPage> {
        let page = self.page(block);
        let options = Duration::ZERO;
        self.judge(page, self.pool.fetch(page).frame_wait(options).wait())
    }

    /// Takes the outcome of something that makes everything durable.
    fn judge_sync(&mut self, error: Option<&Error>) {
        match error {
            None => assert!(!self.poisoned, "a sync succeeded after one that had failed"),
            Some(Error::SyncPoisoned { .. }) => assert!(self.poisoned, "poisoned without a failed sync"),
            Some(Error::File { op: ringpool::IoOp::Sync, .. }) => {
                assert!(self.faulty);
                self.poisoned = true;
            }
            Some(error) => assert!(self.faulty, "{error}"),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Read(block) => drop(self.fetch(block)),
            Step::Change(block) => self.change(block),
            Step::Hold(block) if self.held.len() < MOST_PINS => {
                let page = self.fetch(block);
                self.held.extend(page);
            }
            Step::Hold(_) => {}
            Step::LetGo(which) => {
                if !self.held.is_empty() {
                    let page = self.held.swap_remove(usize::from(which) % self.held.len());
                    drop(self.judge(page.id(), Ok(page)));
                }
            }
            Step::Prefetch(from, count) => {
                let from = u32::from(from) % MOST_BLOCKS;
                self.pool.prefetch(self.file.pages(from..from + u32::from(count % 16)));
            }
            Step::Stream { backward, bulk, pages } => self.stream(backward, bulk, pages),
            Step::FetchMany(from, count) => {
                let from = u32::from(from) % MOST_BLOCKS;
                let pages: Vec<_> =
                    (from..from + u32::from(count % 4)).map(|n| PageId::new(self.file, n)).collect();
                let options = Duration::ZERO;
                match self.pool.fetch_many(&pages).frame_wait(options).wait() {
                    Ok(pinned) => {
                        pages
                            .iter()
                            .zip(pinned)
                            .for_each(|(&page, pinned)| drop(self.judge(page, Ok(pinned))));
                    }
                    Err(error) => {
                        let must_fail = pages.last().is_some_and(|page| page.block.0 >= self.blocks());
                        let full = pages.len() + self.pinned_frames() > self.frames;
                        assert!(must_fail || full || self.faulty || self.poisoned, "{error}");
                    }
                }
            }
            Step::Flush(block) => {
                let flushed = self.pool.flush(self.page(block)).wait();
                assert!(flushed.is_ok() || self.faulty, "{flushed:?}");
            }
            Step::Evict(block) => {
                let evicted = self.pool.evict(self.page(block)).wait();
                assert!(evicted.is_ok() || self.faulty, "{evicted:?}");
            }
            Step::Sync => {
                let outcome = self.pool.sync_file(self.file).wait();
                self.judge_sync(outcome.err().as_ref());
            }
            Step::Checkpoint => {
                let outcome = self.pool.checkpoint(CheckpointOptions::new()).wait();
                if outcome.is_ok() {
                    self.assert_durable();
                }
                self.judge_sync(outcome.err().as_ref());
            }
            Step::Extend(blocks) => self.extend(u32::from(blocks % 3) + 1),
            Step::Truncate(blocks) => self.truncate(u32::from(blocks) % MOST_BLOCKS),
            Step::Fail { op, errno, nth, for_ever } => {
                let op = [Op::Read, Op::Write, Op::Sync, Op::Resize][usize::from(op) % 4];
                let errno = [5, 28, 4, 11][usize::from(errno) % 4];
                let fault = Fault::error(op, errno);
                self.disk.inject(if for_ever { fault } else { fault.nth(u64::from(nth % 4) + 1) });
                self.faulty = true;
            }
            Step::Short { write, bytes, nth } => {
                let op = if write { Op::Write } else { Op::Read };
                let bytes = usize::from(bytes) % (2 * PAGE);
                self.disk.inject(Fault::short(op, bytes).nth(u64::from(nth % 4) + 1));
                // A read that brings nothing is the end of a file, and an error in its middle.
                self.faulty = true;
            }
            Step::Heal => self.heal(),
        }
    }

    fn change(&mut self, block: u8) {
        if let Some(page) = self.fetch(block) {
            self.last_version += 1;
            let block = page.id().block.0;
            self.versions[block as usize] = self.last_version;
            page.write().unwrap().copy_from_slice(&stamped(block, self.last_version));
        }
    }

    fn stream(&mut self, backward: bool, bulk: bool, pages: u8) {
        let last = self.blocks();
        let order = (0..last).map(move |block| if backward { last - 1 - block } else { block });
        let options = if bulk { StreamOptions::new().bulk() } else { StreamOptions::new() };
        // A stream waits for frames as long as the pool does: not at all.
        let stream = self.pool.read_stream(self.file.pages(order.clone()), options);
        for (block, page) in order.zip(stream).take(usize::from(pages % 16)) {
            drop(self.judge(PageId::new(self.file, block), page));
        }
    }

    fn extend(&mut self, blocks: u32) {
        if self.blocks() + blocks > MOST_BLOCKS {
            return;
        }
        let new = NonZeroU32::new(blocks).unwrap();
        match self.pool.extend(self.file, new).wait() {
            Ok(extended) => {
                assert_eq!((extended.first.0, extended.blocks), (self.blocks(), blocks));
                self.versions.resize((self.blocks() + blocks) as usize, 0);
            }
            Err(error) => assert!(self.faulty, "{error}"),
        }
        assert_eq!(self.pool.blocks(self.file).unwrap(), self.blocks());
    }

    fn truncate(&mut self, blocks: u32) {
        let in_the_way = self.held.iter().any(|page| page.id().block.0 >= blocks);
        match self.pool.truncate(self.file, blocks).wait() {
            Ok(()) => {
                assert!(!in_the_way, "a pinned page was cut off");
                self.versions.truncate(blocks as usize);
            }
            Err(Error::Pinned { .. }) => assert!(in_the_way),
            Err(error) => {
                assert!(self.faulty, "{error}");
                // The pages behind the cut may be gone, the file is as long as the pool says.
                let left = self.pool.blocks(self.file).unwrap();
                assert!(left == self.blocks() || left == blocks);
                self.forget_changes_behind(blocks);
            }
        }
        assert_eq!(self.pool.blocks(self.file).unwrap(), self.blocks());
    }

    /// After a cut that failed: whatever the pool shows of the blocks that were to go is taken for what they are.
    fn forget_changes_behind(&mut self, blocks: u32) {
        self.heal();
        for block in blocks..self.blocks() {
            let page = PageId::new(self.file, block);
            let Ok(pinned) = self.pool.fetch(page).wait() else { continue };
            let bytes = pinned.read();
            self.versions[block as usize] = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
        }
    }

    fn heal(&mut self) {
        self.disk.heal();
        self.faulty = false;
    }

    fn assert_durable(&self) {
        let image = self.disk.durable_image("data").unwrap();
        for (block, &version) in (0..).zip(&self.versions) {
            let at = block as usize * PAGE;
            assert!(image[at..at + PAGE] == stamped(block, version), "block {block} is not durable");
        }
    }

    fn end(mut self) {
        self.heal();
        for page in std::mem::take(&mut self.held) {
            drop(self.judge(page.id(), Ok(page)));
        }
        for block in 0..self.blocks() {
            assert!(
                self.fetch(block as u8).is_some(),
                "block {block} cannot be had from a disk that is well"
            );
        }
        let outcome = self.pool.checkpoint(CheckpointOptions::new()).wait();
        self.judge_sync(outcome.err().as_ref());
        let image = self.disk.image("data").unwrap();
        for (block, &version) in (0..).zip(&self.versions) {
            let at = block as usize * PAGE;
            assert!(image[at..at + PAGE] == stamped(block, version), "block {block} was not written");
        }
        self.pool.validate().unwrap();
        assert_eq!((self.pool.stats().frames.pins, self.pool.stats().frames.dirty), (0, 0));
    }
}
