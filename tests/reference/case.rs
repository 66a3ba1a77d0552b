//! One case: a script run against a pool and against the model, step by step, with every result compared.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ringpool::{BufferPool, Completion, PageId, PinnedPage, Result};
use tempfile::TempDir;

use crate::{
    configuration::Configuration,
    difference::difference,
    operation::{At, By, Op, Script},
    tested_file::TestedFile,
};

/// `Err` says what was wrong.
pub(crate) type Check<T = ()> = std::result::Result<T, String>;

/// Fails the case where the condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(format!($($text)*));
        }
    };
}
pub(crate) use ensure;

/// More than any disk takes, less than the watchdog's patience.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) struct Case<'c> {
    pub(crate) configuration: &'c Configuration,
    pub(crate) pool: Option<BufferPool>,
    pub(crate) files: Vec<TestedFile>,
    pub(crate) held: Vec<Held>,
    /// Goes into the stamps; no two writes have the same.
    pub(crate) version: u32,
    _dir: TempDir,
}

/// A page that stays pinned over the operations that follow.
pub(crate) struct Held {
    pub(crate) at: At,
    pub(crate) what: Holding,
}

pub(crate) enum Holding {
    Pin(PinnedPage),
    /// Holds a share latch too, so no step may want to change the page.
    Frozen(Bytes),
}

/// Runs a script; `sign_of_life` is called with every operation.
pub(crate) fn run(configuration: &Configuration, script: &Script, sign_of_life: impl Fn(usize)) -> Check {
    let mut case = Case::new(configuration, script)?;
    case.start()?;
    for (step, op) in script.ops.iter().enumerate() {
        sign_of_life(step);
        case.step(op).map_err(|what| format!("operation {step}, {op:?}: {what}"))?;
    }
    case.stop(script.ending).map_err(|what| format!("at the end, {:?}: {what}", script.ending))
}

impl<'c> Case<'c> {
    fn new(configuration: &'c Configuration, script: &Script) -> Check<Self> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
        let files = script.files.iter().enumerate();
        let files = files.map(|(no, origin)| TestedFile::create(dir.path(), no, origin, configuration));
        let files = files.collect::<std::io::Result<Vec<_>>>().map_err(|error| error.to_string())?;
        Ok(Self { configuration, pool: None, files, held: Vec::new(), version: 1, _dir: dir })
    }

    fn step(&mut self, op: &Op) -> Check {
        match op {
            Op::Fetch(at, way, usage) => self.fetch(*at, *way, *usage),
            Op::TryFetch(at, usage) => self.try_fetch(*at, *usage),
            Op::Abandon(at) => self.abandon(*at),
            Op::Prefetch(file, blocks) => self.prefetch(*file, &blocks.list()),
            Op::Stream { file, blocks, bulk, as_task, taken } => {
                self.stream(*file, &blocks.list(), *bulk, *as_task, *taken)
            }
            Op::FetchMany { pages, as_task } => self.fetch_many(pages, *as_task),
            Op::Flush(at, by) => self.flush(*at, *by),
            Op::FlushFile(file, by) => self.flush_file(*file, *by),
            Op::Sync(file, by) => self.sync(*file, *by),
            Op::Checkpoint(by) => self.checkpoint(*by),
            Op::Evict(at, by) => self.evict(*at, *by),
            Op::Extend(file, blocks, by) => self.extend(*file, *blocks, *by),
            Op::Truncate(file, blocks, by) => self.truncate(*file, *blocks, *by),
            Op::Release(nth) => self.release(usize::from(*nth)),
            Op::Reopen { file, read_only, by } => self.reopen(*file, *read_only, *by),
            Op::Restart(ending) => self.stop(*ending).and_then(|()| self.start()),
        }
    }

    fn release(&mut self, nth: usize) -> Check {
        if self.held.is_empty() {
            return Ok(());
        }
        let held = self.held.swap_remove(nth % self.held.len());
        self.compare_held(&held)
    }

    pub(crate) fn compare_held(&self, held: &Held) -> Check {
        let compared = match &held.what {
            Holding::Pin(page) => self.compare(held.at, &page.read()),
            Holding::Frozen(bytes) => self.compare(held.at, bytes),
        };
        compared.map_err(|what| format!("the held {:?}: {what}", held.at))
    }

    /// Compares a page in full with the model.
    pub(crate) fn compare(&self, at: At, found: &[u8]) -> Check {
        difference(&self.files[at.file].mirror.read(at.block), found).map_or(Ok(()), Err)
    }

    pub(crate) fn pool(&self) -> &BufferPool {
        self.pool.as_ref().expect("a script runs between start and stop")
    }

    pub(crate) fn page_id(&self, at: At) -> PageId {
        PageId::new(self.files[at.file].id(), at.block)
    }

    pub(crate) fn exists(&self, at: At) -> bool {
        at.block < self.files[at.file].mirror.blocks()
    }

    pub(crate) fn is_held(&self, at: At) -> bool {
        self.held.iter().any(|held| held.at == at)
    }

    pub(crate) fn is_frozen(&self, at: At) -> bool {
        self.held.iter().any(|held| held.at == at && matches!(held.what, Holding::Frozen(_)))
    }

    /// Returns the number of frames that the script itself keeps pinned.
    pub(crate) fn held_frames(&self) -> usize {
        let mut pages: Vec<At> = self.held.iter().map(|held| held.at).collect();
        pages.sort_unstable();
        pages.dedup();
        pages.len()
    }

    pub(crate) fn all_frames_are_held(&self) -> bool {
        self.held_frames() == self.configuration.frames as usize
    }

    /// Returns whether no page ever has to make room, so that only what the script asks for is written.
    pub(crate) fn everything_fits(&self) -> bool {
        self.files.len() * crate::operation::MOST_BLOCKS as usize <= self.configuration.frames as usize
    }

    pub(crate) fn pages_that_may_be_dirty(&self) -> u64 {
        self.files.iter().map(|file| file.pages_that_may_be_dirty().len() as u64).sum()
    }

    /// Compares a number of pages that were or will be written with what the model knows about it.
    pub(crate) fn compare_dirty_count(&self, found: u64, most: u64) -> Check {
        let right = if self.everything_fits() { found == most } else { found <= most };
        ensure!(right, "{found} pages written or dirty, where {most} were changed");
        Ok(())
    }

    /// Waits for the I/O in flight, and checks the pool's stats.
    pub(crate) fn check_stats_at_rest(&self) -> Check {
        let give_up = Instant::now() + LONG;
        let mut frames = self.pool().stats().frames;
        while frames.in_flight() > 0 {
            ensure!(Instant::now() < give_up, "I/O that never ends: {}", self.pool().stats());
            std::thread::sleep(Duration::from_micros(100));
            frames = self.pool().stats().frames;
        }
        // A lease gives its pin back a moment after its I/O is over.
        while frames.pins != self.held.len() as u64 {
            let pins = frames.pins;
            ensure!(Instant::now() < give_up, "{pins} pins, of which the script has {}", self.held.len());
            frames = self.pool().stats().frames;
        }
        ensure!(frames.pinned as usize == self.held_frames(), "{} frames are pinned", frames.pinned);
        ensure!(frames.total == self.configuration.frames, "{} frames", frames.total);
        ensure!(frames.resident <= frames.total, "{} of {} frames", frames.resident, frames.total);
        self.compare_dirty_count(u64::from(frames.dirty), self.pages_that_may_be_dirty())?;
        ensure!(self.pool().stats().counts.failures == 0, "failed transfers: {}", self.pool().stats());
        while let Err(faults) = self.pool().validate() {
            ensure!(Instant::now() < give_up, "{faults}");
        }
        Ok(())
    }
}

/// Waits for an operation in one of the ways there are.
pub(crate) fn finish<T: Send + 'static>(mut completion: Completion<T>, by: By) -> Result<T> {
    match by {
        By::Thread => completion.wait(),
        By::Task => pollster::block_on(completion),
        By::Timeouts => loop {
            match completion.wait_timeout(Duration::from_micros(300)) {
                Ok(result) => return result,
                Err(unfinished) => completion = unfinished,
            }
        },
    }
}
