//! A small pool on the storage, and a model of what it was told.

use std::{
    io,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use super::{
    checker::{CheckStep, Checker, Kept},
    promise::StoragePromise::ServesAPool,
    stamp::PageOf,
};
use crate::{
    BufferPool, CheckpointOptions, FileId, OpenOptions, PageId, PageSize, Result, Shutdown,
    io::storage::{Opened, Storage},
    sync::Arc,
    testing::Dice,
};

/// Frames of the pool: fewer than blocks, so that pages come and go.
const FRAMES: u32 = 16;
const MOST: u64 = 64;

#[derive(Debug)]
struct SharedStorage(Arc<dyn Storage>);

impl Storage for SharedStorage {
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
        self.0.open(path, options, page_size)
    }

    fn sync_folder(&self, name: &Path) -> io::Result<()> {
        self.0.sync_folder(name)
    }

    fn may_remove(&self, name: &Path, identity: (u64, u64)) -> io::Result<bool> {
        self.0.may_remove(name, identity)
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        self.0.remove(name)
    }
}

struct PoolUnderTest<'c> {
    checker: &'c Arc<Checker>,
    pool: BufferPool,
    file: FileId,
    path: PathBuf,
    number: u32,
    versions: Vec<u32>,
}

pub(super) fn check(checker: &Arc<Checker>) -> Kept {
    let dice = &mut checker.dice(7);
    let (number, path) = checker.new_path();
    let step = checker.step(ServesAPool, "a new file of 24 blocks");
    let options = OpenOptions::new().create(true).initial_blocks(24);
    let pool = told(&step, build(checker))?;
    let file = told(&step, pool.open_file(&path, options))?;
    checker.remember(&path);
    let mut under_test = PoolUnderTest { checker, pool, file, path, number, versions: vec![0; 24] };
    for round in 1..=checker.settings.rounds * 8 {
        under_test.step(round, dice)?;
    }
    under_test.end()
}

fn build(checker: &Arc<Checker>) -> Result<BufferPool> {
    let storage = SharedStorage(checker.storage());
    BufferPool::builder().frames(FRAMES).page_size(checker.page_bytes() as u32).storage(storage).build()
}

fn told<T>(step: &CheckStep, outcome: Result<T, impl std::fmt::Display>) -> Kept<T> {
    outcome.map_err(|error| step.broken(format!("an error: {error}")))
}

impl PoolUnderTest<'_> {
    fn begin(&self, asked: impl Into<String>) -> CheckStep {
        self.checker.step(ServesAPool, asked)
    }

    fn page(&self, block: usize) -> PageId {
        PageId::new(self.file, block as u32)
    }

    fn stamp(&self, block: usize) -> PageOf {
        PageOf { file: self.number, block: block as u32 }
    }

    fn step(&mut self, round: u32, dice: &mut Dice) -> Kept {
        let block = dice.below(self.versions.len() as u64) as usize;
        match dice.below(40) {
            0 => {
                let step = self.begin("a checkpoint");
                told(&step, self.pool.checkpoint(CheckpointOptions::new()).wait()).map(drop)
            }
            1 => self.truncate(1 + block),
            2 | 3 => self.extend(1 + dice.below(8) as u32),
            4 => self.reopen(),
            5 => self.restart(),
            6 => {
                let step = self.begin(format!("to flush block {block}"));
                told(&step, self.pool.flush(self.page(block)).wait()).map(drop)
            }
            7 => {
                let blocks = (block as u32..self.versions.len() as u32).take(8);
                let _ = self.pool.prefetch(self.file.pages(blocks));
                Ok(())
            }
            8..20 => self.write(block, round),
            _ => self.read(block),
        }
    }

    fn write(&mut self, block: usize, version: u32) -> Kept {
        let step = self.begin(format!("to change block {block}"));
        let mut page = told(&step, self.pool.write(self.page(block)).wait())?;
        step.like(self.stamp(block).check(&page, self.versions[block]))?;
        self.versions[block] = version;
        self.stamp(block).fill(&mut page, version);
        Ok(())
    }

    fn read(&self, block: usize) -> Kept {
        let step = self.begin(format!("to read block {block}"));
        let page = told(&step, self.pool.read(self.page(block)).wait())?;
        step.like(self.stamp(block).check(&page, self.versions[block]))
    }

    fn truncate(&mut self, blocks: usize) -> Kept {
        let step = self.begin(format!("to cut {} blocks to {blocks}", self.versions.len()));
        told(&step, self.pool.truncate(self.file, blocks as u32).wait())?;
        self.versions.truncate(blocks);
        Ok(())
    }

    fn extend(&mut self, blocks: u32) -> Kept {
        let Some(more) = NonZeroU32::new(blocks).filter(|_| self.versions.len() as u64 + 8 <= MOST) else {
            return Ok(());
        };
        let before = self.versions.len();
        let step = self.begin(format!("to add {blocks} blocks to {before}"));
        let extended = told(&step, self.pool.extend(self.file, more).wait())?;
        step.ensure(extended.first.0 as usize == before, || {
            format!("the first of them at {:?}", extended.first)
        })?;
        self.versions.resize(before + blocks as usize, 0);
        Ok(())
    }

    fn reopen(&mut self) -> Kept {
        let step = self.begin("to close the file, and to open it again");
        told(&step, self.pool.close_file(self.file).wait())?;
        self.file = told(&step, self.pool.open_file(&self.path, OpenOptions::new()))?;
        self.check_blocks(&step)
    }

    fn restart(&mut self) -> Kept {
        let step = self.begin("to end the pool, and to start another");
        told(&step, self.pool.clone().shutdown(Shutdown::Flush))?;
        self.pool = told(&step, build(self.checker))?;
        self.file = told(&step, self.pool.open_file(&self.path, OpenOptions::new()))?;
        self.check_blocks(&step)?;
        (0..self.versions.len()).try_for_each(|block| self.read(block))
    }

    fn check_blocks(&self, step: &CheckStep) -> Kept {
        let (found, wanted) = (told(step, self.pool.blocks(self.file))?, self.versions.len());
        step.ensure(found as usize == wanted, || format!("{found} blocks instead of {wanted}"))
    }

    fn end(mut self) -> Kept {
        self.restart()?;
        let step = self.begin("to end the pool");
        told(&step, self.pool.clone().shutdown(Shutdown::Flush)).map(drop)
    }
}
