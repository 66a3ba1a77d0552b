//! Runs on the simulated disk, each ended by a power cut, or by the death of the process alone, after which the system still has
//! what was written. What is found is opened, compared and used again, up to the next crash.
//!
//! No page is older than what a checkpoint covered, none is torn where pages are protected, none is ahead of the log (C8), and the
//! file is as long as it may be. The disk cuts transfers short and interrupts them all the time.

use std::{
    io,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ringpool::{
    BufferPool, CheckpointOptions, FileId, IoMethod, Lsn, OpenOptions, PageId, Wal,
    options::{BackgroundWriter, DoubleWriteArea, TornPages},
    testing::{Dice, SimDisk, SimFile, for_each_seed, simulated},
};

use crate::{
    support::{assert_at_rest, guarded, say},
    versions::{Versions, fill, version_of},
};

/// Blocks that the file begins with.
const BLOCKS: usize = 12;

/// A log of one byte a change: it is durable up to its length.
struct Log {
    file: SimFile,
    durable: AtomicU64,
    /// Pages are written by several threads, each of which asks the log first.
    flushing: Mutex<()>,
}

impl Log {
    fn open(disk: &SimDisk) -> Arc<Self> {
        Arc::new(Self { file: disk.file("log"), durable: AtomicU64::new(0), flushing: Mutex::new(()) })
    }
}

struct LogFirst(Arc<Log>);

impl Wal for LogFirst {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(self.0.durable.load(Ordering::Relaxed))
    }

    fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
        let _one_at_a_time = self.0.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let end = up_to.0.max(self.0.file.len());
        self.0.file.set_len(end)?;
        self.0.file.sync()?;
        self.0.durable.store(end, Ordering::Relaxed);
        Ok(Lsn(end))
    }
}

/// How pools are made throughout a run.
#[derive(Clone, Debug)]
struct Setting {
    method: IoMethod,
    protection: TornPages,
    page_size: usize,
    frames: u32,
    writer: BackgroundWriter,
    grow_by_blocks: u32,
}

impl Setting {
    fn draw(dice: &mut Dice, method: IoMethod) -> Self {
        // What a disk writes at once cannot be torn.
        let unprotected = (TornPages::Unprotected, 512);
        let copied = (TornPages::DoubleWrite(DoubleWriteArea::new("area").bytes(0)), 2048);
        let atomic = (TornPages::Atomic, 2048);
        let (protection, page_size) = dice.pick(&[unprotected, copied, atomic]).clone();
        let frames = 4 + dice.below(12) as u32;
        let with_writer = method != IoMethod::Sync && dice.coin();
        let writer = BackgroundWriter::ReadyFrames { low: 1, high: frames / 2 };
        let writer = if with_writer { writer } else { BackgroundWriter::Off };
        let grow_by_blocks = *dice.pick(&[0, 3]);
        Self { method, protection, page_size, frames, writer, grow_by_blocks }
    }
}

/// What is known of the file, by whichever pool it is open.
struct Known {
    blocks: Vec<Versions>,
    /// Blocks that a checkpoint has covered.
    least_len: usize,
    /// Blocks that extensions have asked for.
    most_len: usize,
    /// The last change: its version, and its place in the log.
    changes: u32,
}

/// A pool on a disk, with the file open.
struct Engine {
    pool: BufferPool,
    file: FileId,
}

impl Engine {
    fn open(disk: &SimDisk, setting: &Setting) -> ringpool::Result<Self> {
        let builder = BufferPool::builder().frames(setting.frames).page_size(setting.page_size as u32);
        let builder = builder.io_method(setting.method.clone()).background_writer(setting.writer);
        let builder = builder.torn_pages(setting.protection.clone()).wal(LogFirst(Log::open(disk)));
        // Without power no frame becomes clean, and the run ends after this wait; with threads, frames may take a moment.
        let patience = if setting.method == IoMethod::Sync { 5 } else { 200 };
        let pool = builder.frame_wait(Duration::from_millis(patience)).storage(disk.clone()).build()?;
        let file =
            pool.open_file("data", OpenOptions::new().tag(7).grow_by_blocks(setting.grow_by_blocks))?;
        Ok(Self { pool, file })
    }

    /// Makes some steps, up to the first that fails.
    fn work(&self, dice: &mut Dice, known: &mut Known) -> ringpool::Result<()> {
        for _ in 0..dice.below(80) {
            let block = dice.below(known.blocks.len() as u64) as usize;
            let page = PageId::new(self.file, block as u32);
            match dice.below(24) {
                0..14 => {
                    let page = self.pool.fetch(page).wait()?;
                    let mut bytes = page.write()?;
                    known.changes += 1;
                    fill(&mut bytes, block as u32, known.changes);
                    bytes.set_lsn(Lsn(u64::from(known.changes)));
                    known.blocks[block].change(known.changes);
                }
                14..16 => self.pool.flush(page).wait()?,
                16 => drop(self.pool.flush_file(self.file).wait()?),
                17 => drop(self.pool.evict(page).wait()?),
                18..20 => {
                    let blocks = NonZeroU32::new(1 + dice.below(3) as u32).expect("one at least");
                    known.most_len = known.most_len.max(known.blocks.len() + blocks.get() as usize);
                    self.pool.extend(self.file, blocks).wait()?;
                    known.blocks.resize(known.blocks.len() + blocks.get() as usize, Versions::default());
                }
                20..22 => drop(self.pool.prefetch(self.file.pages(block as u32..block as u32 + 5))),
                _ => {
                    self.pool.checkpoint(CheckpointOptions::new()).wait()?;
                    known.blocks.iter_mut().for_each(Versions::is_durable);
                    known.least_len = known.blocks.len();
                }
            }
        }
        Ok(())
    }

    /// Compares what is there with what may be.
    fn check(&self, setting: &Setting, known: &mut Known, durable_log: u32) -> Result<(), String> {
        let len = self.pool.blocks(self.file).map_err(|error| error.to_string())? as usize;
        let most = known.most_len + setting.grow_by_blocks as usize;
        if !(known.least_len..=most).contains(&len) {
            return Err(format!("{len} blocks, which must be {} to {most}", known.least_len));
        }
        known.blocks.resize(len, Versions::default());
        known.most_len = len;
        for (block, versions) in known.blocks.iter_mut().enumerate() {
            let page = self.pool.fetch(PageId::new(self.file, block as u32)).wait();
            let page = page.map_err(|error| format!("block {block} cannot be read: {error}"))?;
            let version = version_of(&page.read(), block as u32)?;
            versions.found(block, version)?;
            if version > durable_log {
                return Err(format!("block {block} has change {version}, and the log only {durable_log}"));
            }
        }
        Ok(())
    }
}

/// Makes one run with several crashes; returns how many.
fn crash_and_crash_again(seed: u64, method: &IoMethod) -> usize {
    let mut dice = Dice::new(seed);
    let setting = Setting::draw(&mut dice, method.clone());
    let mut disk = SimDisk::with_seed(seed);
    disk.set_atomic_writes(setting.page_size as u32);
    disk.put("data", vec![0; BLOCKS * setting.page_size]);
    disk.put("log", []);
    let blocks = vec![Versions::default(); BLOCKS];
    let mut known = Known { blocks, least_len: BLOCKS, most_len: BLOCKS, changes: 0 };
    let crashes = 3;
    for crash in 0..crashes {
        disk.disturb(20);
        let is_power_cut = dice.one_in(2);
        if is_power_cut {
            disk.cut_power_during(1 + dice.below(150));
        }
        let worked = Engine::open(&disk, &setting).and_then(|engine| engine.work(&mut dice, &mut known));
        assert!(worked.is_ok() || disk.is_without_power(), "crash {crash}: {worked:?}");
        // What the killed process left has a disk of its own from now on.
        let seed = dice.throw();
        disk = if is_power_cut { disk.after_power_cut(seed) } else { disk.after_kill(seed) };
        let durable_log = disk.durable_image("log").expect("it was put there").len() as u32;
        let engine = Engine::open(&disk, &Setting { method: IoMethod::Sync, ..setting.clone() });
        let engine =
            engine.unwrap_or_else(|error| panic!("crash {crash}, {setting:?}: cannot be opened: {error}"));
        let checked = engine.check(&setting, &mut known, durable_log);
        checked.unwrap_or_else(|text| panic!("crash {crash}, {setting:?}: {text}"));
        assert_at_rest(&engine.pool);
    }
    crashes
}

fn crash_often(seeds: u64, method: IoMethod) {
    guarded(move || {
        let crashes = std::cell::Cell::new(0);
        for_each_seed(seeds, |seed| {
            let run = || crash_and_crash_again(seed, &method);
            // With one thread the seed decides all.
            let survived = if method == IoMethod::Sync { simulated(run) } else { run() };
            crashes.set(crashes.get() + survived);
        });
        say(&format!("crashes: {method:?}: {} on the simulated disk", crashes.get()));
    });
}

#[test]
fn what_is_found_after_a_crash_is_what_was_promised() {
    crash_often(2000, IoMethod::Sync);
}

#[test]
fn what_is_found_after_a_crash_is_what_was_promised_with_threads() {
    crash_often(200, IoMethod::worker());
}
