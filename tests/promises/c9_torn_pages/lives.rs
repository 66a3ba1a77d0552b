//! Several lives on one disk, with the power cut at each operation of one that begins after a crash, and of the next one: whatever
//! differs between the lives, each page is whole then, and never older than what was durable.

use std::num::NonZeroU32;

use ringpool::{
    BufferPool, CheckpointOptions, Error, FileId, IoMethod, OpenOptions, PageId, Result,
    options::{DoubleWriteArea, TornPages},
    testing::{Fault, Op, SimDisk},
};

use super::{TAGS, path};
use crate::support::{EIO, guarded};

/// Two sectors.
pub(super) const PAGE: usize = 1024;
const SECTOR: usize = 512;
const FRAMES: u32 = 12;
const BLOCKS: u32 = 4;

/// How a life is set up.
#[derive(Clone)]
struct Life {
    method: IoMethod,
    /// The number of records of the largest batch for which half of it has room.
    area: usize,
    /// Whether files may be written atomically, and whether the disk can do that.
    atomic: Option<bool>,
    /// In which order it opens the files.
    order: [usize; 2],
}

const COPYING: Life = Life { method: IoMethod::Sync, area: 2, atomic: None, order: [0, 1] };

impl Life {
    fn begin(&self, disk: &SimDisk) -> Result<BufferPool> {
        disk.set_atomic_writes(if self.atomic == Some(true) { PAGE as u32 } else { 0 });
        let area = DoubleWriteArea::new("area").bytes(2 * self.area * (FRAMES as usize + 1) * PAGE);
        let protection = match self.atomic {
            None => TornPages::DoubleWrite(area),
            Some(_) => TornPages::AtomicOrDoubleWrite(area),
        };
        let builder = BufferPool::builder().frames(FRAMES).page_size(PAGE as u32).torn_pages(protection);
        builder.io_method(self.method.clone()).storage(disk.clone()).build()
    }
}

/// What is known of a block: the version that it has, and those that a crash may leave.
#[derive(Clone, Debug, Default)]
struct Block {
    now: u8,
    least: u8,
    most: u8,
    /// A crash may leave a file without it.
    may_be_gone: bool,
}

/// What is known of both files. Versions are numbered in the order in which they were written.
#[derive(Clone)]
pub(super) struct Known {
    files: [Vec<Block>; 2],
    last: u8,
}

impl Known {
    fn new() -> Self {
        Self { files: [(); 2].map(|()| vec![Block::default(); BLOCKS as usize]), last: 0 }
    }

    /// Gives a block its next version.
    fn change(&mut self, pool: &BufferPool, file: usize, id: FileId, block: u32) -> Result<()> {
        let page = pool.fetch(PageId::new(id, block)).wait()?;
        self.last += 1;
        let known = &mut self.files[file][block as usize];
        (known.now, known.most) = (self.last, self.last);
        page.write()?.copy_from_slice(&stamped(file, block, self.last));
        Ok(())
    }

    /// Adds a block, whatever was there before.
    fn extend(&mut self, pool: &BufferPool, file: usize, id: FileId) -> Result<()> {
        let block = pool.blocks(id)? as usize;
        let known = &mut self.files[file];
        known.resize(known.len().max(block + 1), Block::default());
        let most = known[block].most;
        known[block] = Block { most, may_be_gone: true, ..Block::default() };
        pool.extend(id, NonZeroU32::MIN).wait().map(drop)
    }

    /// Cuts a file to the length that it had at first.
    fn truncate(&mut self, pool: &BufferPool, file: usize, id: FileId) -> Result<()> {
        self.files[file].iter_mut().skip(BLOCKS as usize).for_each(|block| block.may_be_gone = true);
        pool.truncate(id, BLOCKS).wait()
    }

    /// Makes the open files durable, unless the other file is still to be opened.
    fn checkpoint(&mut self, pool: &BufferPool, opened: &[(usize, FileId)]) -> Result<()> {
        if refused_or(pool.checkpoint(CheckpointOptions::new()).wait().map(drop))? {
            for &(file, id) in opened {
                let known = &mut self.files[file];
                known.truncate(pool.blocks(id)? as usize);
                for block in known {
                    *block = Block { now: block.now, least: block.now, most: block.now, may_be_gone: false };
                }
            }
        }
        Ok(())
    }

    /// Closes a file that cannot be trusted, and opens it anew.
    fn reopen(&mut self, pool: &BufferPool, file: usize, id: &mut FileId) -> Result<()> {
        let closed = pool.close_file(*id).wait();
        assert!(matches!(closed, Err(Error::SyncPoisoned { .. })), "{closed:?}");
        *id = open(pool, file)?;
        for (block, known) in (0..).zip(&mut self.files[file]) {
            known.now = pool.fetch(PageId::new(*id, block)).wait()?.read()[SECTOR];
        }
        Ok(())
    }

    /// Looks at what a power cut has left. From now on it is known, since all of it is durable.
    fn look_at(&mut self, found: &SimDisk, what: &str) {
        self.look(found, what, |version| Block {
            now: version,
            least: version,
            most: version,
            may_be_gone: false,
        });
    }

    /// Looks at what the process has left that was killed: what it had in memory alone is gone.
    fn forget_changes(&mut self, killed: &SimDisk) {
        let known = self.clone();
        self.look(killed, "killed", |version| Block { now: version, ..Block::default() });
        for (blocks, known) in self.files.iter_mut().zip(known.files) {
            // A block that was cut off may come back.
            let now: Vec<u8> = blocks.iter().map(|block| block.now).collect();
            *blocks = known;
            blocks.iter_mut().zip(now).for_each(|(block, now)| block.now = now);
        }
    }

    /// Opens the files on a copy of the disk, and notes the version of each block, which must be one that it may have.
    fn look(&mut self, found: &SimDisk, what: &str, note: impl Fn(u8) -> Block) {
        self.look_if_opened(found, what, note).unwrap();
    }

    /// Opens the files, and compares each block with what is known of it; `note` says what becomes known.
    fn look_if_opened(&mut self, found: &SimDisk, what: &str, note: impl Fn(u8) -> Block) -> Result<()> {
        let pool = COPYING.begin(&found.after_kill(0))?;
        for (file, known) in self.files.iter_mut().enumerate() {
            let id = open(&pool, file)?;
            let blocks = pool.blocks(id).unwrap();
            let gone = known.split_off(known.len().min(blocks as usize));
            assert!(gone.iter().all(|block| block.may_be_gone), "{what}: {gone:?} of file {file} are gone");
            assert_eq!(known.len(), blocks as usize, "{what}: blocks that were never added");
            for (block, known) in (0..).zip(known) {
                let page = pool.fetch(PageId::new(id, block)).wait().unwrap();
                let version = page.read()[SECTOR];
                assert!(*page.read() == stamped(file, block, version), "{what}: {file}:{block} is torn");
                let allowed = known.least..=known.most;
                assert!(allowed.contains(&version), "{what}: {file}:{block} is {version}, not {allowed:?}");
                *known = note(version);
            }
        }
        Ok(())
    }
}

/// Makes a page of a version; 0 is what new blocks are.
fn stamped(file: usize, block: u32, version: u8) -> [u8; PAGE] {
    let mut page = [version; PAGE];
    if version > 0 {
        for sector in page.chunks_exact_mut(SECTOR) {
            sector[1..3].copy_from_slice(&[file as u8, block as u8]);
        }
    }
    page
}

fn open(pool: &BufferPool, file: usize) -> Result<FileId> {
    pool.open_file(path(TAGS[file]), OpenOptions::new().tag(TAGS[file]))
}

/// Returns whether it was done. It may be refused as long as files are still to be opened.
fn refused_or(done: Result<()>) -> Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(Error::TornPages { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Runs a life that ends with the process: it opens the files, and changes each at once in every way there is, before it opens the
/// next.
fn live(disk: &SimDisk, life: &Life, known: &mut Known) -> Result<()> {
    let pool = life.begin(disk)?;
    let mut opened = Vec::new();
    for file in life.order {
        let id = open(&pool, file)?;
        opened.push((file, id));
        known.change(&pool, file, id, 0)?;
        known.extend(&pool, file, id)?;
        known.checkpoint(&pool, &opened)?;
    }
    for round in 0..4 {
        for &(file, id) in &opened {
            (round % 2..BLOCKS).step_by(2).try_for_each(|block| known.change(&pool, file, id, block))?;
            known.change(&pool, file, id, pool.blocks(id)? - 1)?;
            pool.flush_file(id).wait()?;
        }
        if round == 1 {
            known.checkpoint(&pool, &opened)?;
            known.truncate(&pool, opened[0].0, opened[0].1)?;
            known.extend(&pool, opened[0].0, opened[0].1)?;
        }
    }
    Ok(())
}

/// Makes a disk after a first life and a power cut, with copies of both files in both halves of its area.
fn after_a_life(life: &Life) -> (SimDisk, Known) {
    let disk = SimDisk::new();
    TAGS.iter().for_each(|&tag| disk.put(path(tag), vec![0; BLOCKS as usize * PAGE]));
    let mut known = Known::new();
    live(&disk, life, &mut known).unwrap();
    let found = disk.after_power_cut(1);
    assert_eq!(life.begin(&found.after_power_cut(0)).unwrap().torn_page_tags(), TAGS, "a test of nothing");
    known.look_at(&found, "after the first life");
    (found, known)
}

/// Makes a disk after a life that copies all pages.
pub(super) fn after_a_life_of_copies() -> (SimDisk, Known) {
    after_a_life(&COPYING)
}

/// Opens the files, and looks whether each block is as it is known to be.
pub(super) fn look_if_opened(found: &SimDisk, known: &Known, what: &str) -> Result<()> {
    known.clone().look_if_opened(found, what, |_| Block::default())
}

/// Cuts the power at each operation of a second life, and then at some of the third, so that all of that have their turn.
fn cut_everywhere(lives: [&Life; 3]) {
    cut_everywhere_in(live, lives);
}

fn cut_everywhere_in(live: fn(&SimDisk, &Life, &mut Known) -> Result<()>, lives: [&Life; 3]) {
    let (disk, known) = after_a_life(lives[0]);
    let (mut second, mut third) = (1, 1);
    loop {
        let (disk, mut known) = (disk.after_power_cut(0), known.clone());
        disk.cut_power_during(second);
        let ended = live(&disk, lives[1], &mut known);
        let found = disk.after_power_cut(second);
        known.look_at(&found, &format!("cut at {second}"));
        for _ in 0..4 {
            let (disk, mut known) = (found.after_power_cut(0), known.clone());
            disk.cut_power_during(third);
            let _ = live(&disk, lives[2], &mut known);
            let again = disk.after_power_cut(third);
            known.look_at(&again, &format!("cut at {second} and {third}"));
            third = if disk.is_without_power() { third + 1 } else { 1 };
        }
        if !disk.is_without_power() {
            return ended.unwrap();
        }
        second += 1;
    }
}

#[test]
fn c9_lives_with_other_orders_of_files_and_other_methods_tear_no_page() {
    guarded(|| {
        let reversed = Life { order: [1, 0], ..COPYING };
        cut_everywhere([&COPYING, &reversed, &COPYING]);
        cut_everywhere([&reversed, &Life { method: IoMethod::worker(), ..COPYING }, &reversed]);
    });
}

#[test]
fn c9_lives_with_areas_of_other_sizes_tear_no_page() {
    guarded(|| {
        let [larger, smaller] = [4, 1].map(|area| Life { area, ..COPYING });
        cut_everywhere([&COPYING, &larger, &smaller]);
        cut_everywhere([&larger, &smaller, &COPYING]);
    });
}

#[test]
fn c9_lives_with_and_without_atomic_writes_tear_no_page() {
    guarded(|| {
        let [without, with] = [false, true].map(|can| Life { atomic: Some(can), ..COPYING });
        let reversed = Life { order: [1, 0], ..with.clone() };
        cut_everywhere([&without, &with, &reversed]);
        cut_everywhere([&COPYING, &reversed, &without]);
    });
}

/// Runs a life in which syncs of both files fail in turn, and in the end one of the area: a file whose sync failed is closed and
/// opened anew, at once or when the area has no room without that, and has what it shows then.
fn live_with_failing_syncs(disk: &SimDisk, life: &Life, known: &mut Known) -> Result<()> {
    let pool = life.begin(disk)?;
    let mut opened = Vec::new();
    for file in life.order {
        opened.push((file, open(&pool, file)?));
    }
    let write = |known: &mut Known, (file, id), round: usize| {
        (0..BLOCKS).skip(round % 2).try_for_each(|block| known.change(&pool, file, id, block))?;
        refused_or(pool.flush_file(id).wait().map(drop))
    };
    let mut poisoned = [false; 2];
    let reopen = |known: &mut Known, at: usize, opened: &mut [(usize, FileId)], poisoned: &mut [bool; 2]| {
        let (file, id) = &mut opened[at];
        if std::mem::take(&mut poisoned[at]) { known.reopen(&pool, *file, id) } else { Ok(()) }
    };
    for round in 0..7 {
        let failing = round % 2;
        reopen(known, failing, &mut opened, &mut poisoned)?;
        match known.checkpoint(&pool, &opened) {
            Ok(()) | Err(Error::SyncPoisoned { .. }) => {}
            Err(error) => return Err(error),
        }
        disk.inject(Fault::error(Op::Sync.of(path(TAGS[opened[failing].0])), EIO).once());
        let has_room = write(known, opened[failing], round)? && write(known, opened[1 - failing], round)?;
        poisoned[failing] = pool.sync_file(opened[failing].1).wait().is_err();
        if !has_room {
            (0..2).try_for_each(|at| reopen(known, at, &mut opened, &mut poisoned))?;
        }
    }
    disk.inject(Fault::error(Op::Sync.of("area"), EIO).once());
    let _ = write(known, opened[0], 0);
    let _ = (0..2).try_for_each(|at| reopen(known, at, &mut opened, &mut poisoned));
    Ok(())
}

#[test]
fn c9_lives_in_which_syncs_fail_tear_no_page() {
    guarded(|| {
        let [reversed, larger] = [Life { order: [1, 0], ..COPYING }, Life { area: 2, ..COPYING }];
        cut_everywhere_in(live_with_failing_syncs, [&COPYING, &reversed, &larger]);
    });
}

/// What such a sync covered is read as before, and may be on no disk.
#[test]
fn c9_a_life_after_a_failed_sync_of_the_area_tears_no_page() {
    guarded(|| {
        for nth in 1.. {
            let (disk, mut known) = after_a_life(&COPYING);
            let fault = Fault::error(Op::Sync.of("area"), EIO).nth(nth).once();
            disk.inject(fault);
            let failed = live(&disk, &COPYING, &mut known).is_err();
            let killed = disk.after_kill(0);
            known.forget_changes(&killed);
            for operation in (1..40).step_by(3) {
                let (disk, mut known) = (killed.after_kill(0), known.clone());
                disk.cut_power_during(operation);
                let _ = live(&disk, &COPYING, &mut known);
                known.look_at(&disk.after_power_cut(operation), &format!("sync {nth}, cut at {operation}"));
            }
            if !failed {
                return assert!(nth > 8, "a test of little");
            }
        }
    });
}
