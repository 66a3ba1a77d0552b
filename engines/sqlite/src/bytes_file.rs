//! A file of bytes on the pages of a pool.
//!
//! SQLite reads and writes ranges of bytes: pages of a database, and the frames of a log and the records of a journal, which begin
//! anywhere. [`BytesFile`] cuts a range at the pages of the pool, and keeps the length in bytes, which the pool does not know: its
//! files are of whole blocks.
//!
//! Invariants: bytes behind the length are zeros, in the pool and on disk; the blocks of the pool's file cover the length. A page is
//! read before a part of it is changed, unless no other part has bytes that count.
//!
//! Lock order: `growth`, then `dirty`, then the pool's own.

use std::{
    num::NonZeroU32,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use ringpool::{BufferPool, FileId, OwnedPageRead, OwnedPageWrite, PageId};

use crate::error::{Failure, Result};

/// How long a write waits for a page that is lent, or that another call reads.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which of its bytes count.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// All.
    Any,
    /// Those of a write-ahead log: once its header is written anew, nothing behind it counts until that is written anew too.
    Log,
}

/// A part of a block: which, where in it, and where in the caller's bytes.
struct Part {
    block: u32,
    inside: Range<usize>,
    outside: Range<usize>,
}

/// A file of bytes, open in a pool.
#[derive(Debug)]
pub struct BytesFile {
    pool: BufferPool,
    file: FileId,
    page: u64,
    contents: Contents,
    /// The length in bytes.
    len: AtomicU64,
    /// The end of the bytes that count.
    live: AtomicU64,
    /// The blocks of the pool's file.
    blocks: AtomicU32,
    /// Held while the number of blocks is changed.
    growth: Mutex<()>,
    /// Whether there may be something to make durable since the last sync.
    changed: AtomicBool,
    /// What may be dirty since the last sync.
    dirty: Mutex<Dirty>,
}

/// The blocks that were written since the last sync.
#[derive(Debug, Default)]
struct Dirty {
    /// Each once or several times.
    blocks: Vec<u32>,
    /// Whether there are more, which are not listed.
    others: bool,
}

impl Dirty {
    /// Blocks that are listed: for more, the pool's look at the whole file costs little beside the writes.
    const MOST: usize = 4096;

    fn add(&mut self, block: u32) {
        if self.blocks.last() == Some(&block) || self.others {
            return;
        }
        if self.blocks.len() == Self::MOST {
            *self = Self { blocks: Vec::new(), others: true };
        } else {
            self.blocks.push(block);
        }
    }
}

impl BytesFile {
    /// Makes one of a file of the pool that is `len` bytes long.
    ///
    /// # Errors
    /// [`ringpool::Error::NotOpen`].
    pub fn new(pool: BufferPool, file: FileId, len: u64, contents: Contents) -> Result<Self> {
        let blocks = pool.blocks(file)?;
        Ok(Self {
            page: pool.page_size().bytes() as u64,
            pool,
            file,
            contents,
            len: AtomicU64::new(len),
            live: AtomicU64::new(len),
            blocks: AtomicU32::new(blocks),
            growth: Mutex::new(()),
            changed: AtomicBool::new(true),
            dirty: Mutex::default(),
        })
    }

    /// Returns the pool.
    #[must_use]
    pub fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// Returns the file of the pool.
    #[must_use]
    pub fn file(&self) -> FileId {
        self.file
    }

    /// Returns the length in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Returns whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of blocks that have bytes.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.len().div_ceil(self.page).try_into().unwrap_or(u32::MAX)
    }

    /// Returns the block that has this byte, and where in it.
    #[must_use]
    #[inline]
    pub fn place(&self, offset: u64) -> (u32, usize) {
        // Page sizes are powers of two.
        ((offset >> self.page.trailing_zeros()) as u32, (offset & (self.page - 1)) as usize)
    }

    fn parts(&self, offset: u64, bytes: usize) -> impl Iterator<Item = Part> + use<'_> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let left = bytes - done;
            (left > 0).then(|| {
                let (block, begin) = self.place(offset + done as u64);
                let count = left.min(self.page as usize - begin);
                let part = Part { block, inside: begin..begin + count, outside: done..done + count };
                done += count;
                part
            })
        })
    }

    /// Reads bytes. Returns how many there are: fewer than asked for at the end of the file.
    ///
    /// # Errors
    /// Those of the pool's reads.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize> {
        let there = self.len().saturating_sub(offset).min(bytes.len() as u64) as usize;
        if there as u64 > 2 * self.page {
            let last = self.place(offset + there as u64 - 1).0;
            self.pool.prefetch(self.file.pages(self.place(offset).0..=last));
        }
        for Part { block, inside, outside } in self.parts(offset, there) {
            let page = self.pool.read(PageId::new(self.file, block)).wait()?;
            bytes[outside].copy_from_slice(&page[inside]);
        }
        Ok(there)
    }

    /// Returns the page that is these bytes; `None` if they are a part of one, or on two pages, or beyond the end. (Of a part the reader would keep
    /// the rest from being changed, too.)
    ///
    /// # Errors
    /// Those of the pool's reads.
    #[inline]
    pub fn page_of(&self, offset: u64, bytes: usize) -> Result<Option<OwnedPageRead>> {
        let (block, begin) = self.place(offset);
        if begin > 0 || bytes as u64 != self.page || offset + bytes as u64 > self.len() {
            return Ok(None);
        }
        Ok(Some(self.pool.read(PageId::new(self.file, block)).wait()?))
    }

    /// Writes bytes, behind the end too.
    ///
    /// # Errors
    /// Those of the pool; [`Failure::Lent`] if a page stays lent. Parts before it are written then, as by a disk that fails.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let end = offset + bytes.len() as u64;
        self.reserve(end)?;
        self.changed.store(true, Ordering::Release);
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        if self.contents == Contents::Log && offset == 0 {
            self.live.store(end, Ordering::Release);
        }
        for Part { block, inside, outside } in self.parts(offset, bytes.len()) {
            let begin = u64::from(block) * self.page;
            let live = self.live.load(Ordering::Acquire);
            let before = inside.start > 0 && begin < live;
            let behind = (inside.end as u64) < self.page && begin + (inside.end as u64) < live;
            dirty.add(block);
            let mut page = self.page_to_change(block, before || behind)?;
            page[inside].copy_from_slice(&bytes[outside]);
        }
        self.live.fetch_max(end, Ordering::AcqRel);
        self.len.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    /// Latches a page to change it; with its bytes, or with zeros.
    fn page_to_change(&self, block: u32, keep: bool) -> Result<OwnedPageWrite> {
        let page = PageId::new(self.file, block);
        let got = if keep {
            self.pool.write(page).wait_timeout(PATIENCE).ok()
        } else {
            self.pool.overwrite(page).wait_timeout(PATIENCE).ok()
        };
        Ok(got.ok_or(Failure::Lent { block })??)
    }

    /// Has the pool's file cover so many bytes.
    fn reserve(&self, bytes: u64) -> Result<()> {
        let wanted = u32::try_from(bytes.div_ceil(self.page)).map_err(|_| Failure::TooLong)?;
        if wanted <= self.blocks.load(Ordering::Acquire) {
            return Ok(());
        }
        let _growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = self.blocks.load(Ordering::Acquire);
        if wanted <= blocks {
            return Ok(());
        }
        // By a part of what there is, so that a file that grows by small writes is extended seldom.
        let ahead = wanted.saturating_add((wanted / 4).clamp(2, 64));
        let extend_to = |end: u32| {
            let more = NonZeroU32::new(end - blocks).expect("it is more than there are");
            self.pool.extend(self.file, more).wait()?;
            self.blocks.store(end, Ordering::Release);
            Ok(())
        };
        extend_to(ahead).or_else(|_: Failure| extend_to(wanted))
    }

    /// Sets the length. A file that is made longer has zeros there.
    ///
    /// # Errors
    /// Those of the pool. A page behind the end that stays lent is one.
    pub fn set_len(&self, bytes: u64) -> Result<()> {
        self.reserve(bytes)?;
        let _growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.store(true, Ordering::Release);
        if bytes < self.len() {
            let blocks = bytes.div_ceil(self.page) as u32;
            self.pool.truncate(self.file, blocks).wait()?;
            self.blocks.store(blocks, Ordering::Release);
            self.live.fetch_min(bytes, Ordering::AcqRel);
            let (block, begin) = self.place(bytes);
            if begin > 0 {
                self.dirty.lock().unwrap_or_else(PoisonError::into_inner).add(block);
                self.page_to_change(block, true)?[begin..].fill(0);
            }
        }
        self.len.store(bytes, Ordering::Release);
        Ok(())
    }

    /// Starts reading these blocks.
    pub fn prefetch(&self, blocks: Range<u32>) {
        self.pool.prefetch(self.file.pages(blocks));
    }

    /// Tells the pool that these blocks will not be read soon.
    pub fn not_needed(&self, blocks: Range<u32>) {
        self.pool.not_needed(self.file.pages(blocks));
    }

    /// Tells the pool that those blocks of these bytes will not be read soon of which `is_it` says so. It gets the block, how many of
    /// the bytes are in it, and the bytes of a page.
    pub fn not_needed_once(&self, offset: u64, bytes: usize, is_it: impl Fn(u32, usize, usize) -> bool) {
        for Part { block, inside, .. } in self.parts(offset, bytes) {
            if is_it(block, inside.len(), self.page as usize) {
                self.not_needed(block..block + 1);
            }
        }
    }

    /// Writes the file's dirty pages, has the caller do something before the sync, and makes all of it durable. Does nothing if
    /// nothing was changed since the last sync.
    ///
    /// # Errors
    /// Those of the pool, and of the caller.
    pub fn sync(&self, before: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let synced = self.write_and_sync(before);
        if synced.is_err() {
            self.changed.store(true, Ordering::Release);
        }
        synced
    }

    fn write_and_sync(&self, before: impl FnOnce() -> Result<()>) -> Result<()> {
        self.write_out()?;
        before()?;
        self.pool.sync_file(self.file).wait()?;
        Ok(())
    }

    /// Writes the file's dirty pages, without a sync.
    ///
    /// # Errors
    /// Those of the pool.
    pub fn write_out(&self) -> Result<()> {
        let dirty = std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        let flushed = if dirty.others {
            self.pool.flush_file(self.file).wait()
        } else {
            // Those that were cut off are not in the pool, and pass.
            let pages: Vec<_> = self.file.pages(dirty.blocks).collect();
            self.pool.flush_many(&pages).wait()
        };
        if flushed.is_err() {
            self.dirty.lock().unwrap_or_else(PoisonError::into_inner).others = true;
        }
        flushed?;
        Ok(())
    }

    /// Writes and syncs the file, and closes it. A file that cannot be synced is closed all the same, if that can be.
    ///
    /// # Errors
    /// Those of the pool.
    pub fn close(&self) -> Result<()> {
        match self.pool.close_file(self.file).wait() {
            Ok(()) => Ok(()),
            // A second close throws the changes of a poisoned file away.
            Err(error) => {
                let _ = self.pool.close_file(self.file).wait();
                Err(error.into())
            }
        }
    }

    /// Removes the file, with what was not written.
    ///
    /// # Errors
    /// Those of the pool.
    pub fn remove(&self) -> Result<()> {
        Ok(self.pool.drop_file(self.file).wait()?)
    }
}

#[cfg(test)]
mod tests {
    use ringpool::{IoMethod, OpenOptions, testing::Dice, testing::SimDisk};

    use super::*;

    const PAGE: usize = 512;

    fn file_on(disk: &SimDisk, contents: Contents) -> BytesFile {
        let builder = BufferPool::builder().frames(16).page_size(PAGE as u32).io_method(IoMethod::Sync);
        let pool = builder.storage(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new().create(true)).unwrap();
        let len = disk.image("data").map_or(0, |bytes| bytes.len() as u64);
        BytesFile::new(pool, file, len, contents).unwrap()
    }

    /// Holds the file against a vector of bytes, through any reads, writes and changes of its length.
    #[test]
    fn it_is_a_file_of_bytes() {
        ringpool::testing::for_each_seed(50, |seed| {
            let (mut dice, disk) = (Dice::new(seed), SimDisk::new());
            let (file, mut model) = (file_on(&disk, Contents::Any), Vec::new());
            for step in 0..200_u32 {
                let offset = dice.below(40 * PAGE as u64) as usize;
                let count = dice.below(4 * PAGE as u64) as usize;
                match dice.below(8) {
                    0..4 => {
                        let bytes = vec![step as u8 + 1; count];
                        file.write_at(&bytes, offset as u64).unwrap();
                        if count > 0 {
                            model.resize(model.len().max(offset + count), 0);
                            model[offset..offset + count].copy_from_slice(&bytes);
                        }
                    }
                    4 => {
                        file.set_len(offset as u64).unwrap();
                        model.resize(offset, 0);
                    }
                    _ => {
                        let mut bytes = vec![0xEE; count];
                        let there = file.read_at(&mut bytes, offset as u64).unwrap();
                        let expected = &model[offset.min(model.len())..(offset + count).min(model.len())];
                        assert_eq!(&bytes[..there], expected, "step {step}");
                    }
                }
                assert_eq!(file.len(), model.len() as u64, "step {step}");
            }
            file.sync(|| Ok(())).unwrap();
            let image = disk.image("data").unwrap();
            assert_eq!(&image[..model.len()], model);
            assert!(image[model.len()..].iter().all(|&byte| byte == 0), "zeros behind the end");
        });
    }

    #[test]
    fn a_page_whose_other_bytes_do_not_count_is_not_read() {
        use ringpool::testing::Op;

        for (contents, reads) in [(Contents::Any, 5), (Contents::Log, 0)] {
            let disk = SimDisk::new();
            disk.put("data", vec![7; 10 * PAGE]);
            let file = file_on(&disk, contents);
            file.write_at(&[1; 32], 0).unwrap();
            for frame in 0..4 {
                file.write_at(&[2; PAGE + 24], 32 + frame * (PAGE as u64 + 24)).unwrap();
            }
            assert_eq!(disk.count(Op::Read), reads, "{contents:?}");
        }
    }

    #[test]
    fn a_page_that_is_lent_is_not_changed_and_the_write_says_so() {
        let disk = SimDisk::new();
        let file = file_on(&disk, Contents::Any);
        file.write_at(&[1; 2 * PAGE], 0).unwrap();
        let lent = file.page_of(PAGE as u64, PAGE).unwrap().unwrap();
        assert!(matches!(file.write_at(&[2; PAGE], PAGE as u64), Err(Failure::Lent { block: 1 })));
        assert_eq!(lent[..], [1; PAGE]);
        drop(lent);
        file.write_at(&[2; PAGE], PAGE as u64).unwrap();
        assert!(file.page_of(PAGE as u64 / 2, PAGE).unwrap().is_none(), "on two pages");
        assert!(file.page_of(0, PAGE / 2).unwrap().is_none(), "a part of one");
        assert!(file.page_of(2 * PAGE as u64, PAGE).unwrap().is_none(), "behind the end");
    }

    #[test]
    fn a_page_that_could_not_be_written_is_written_by_the_next_sync() {
        use ringpool::testing::{Fault, Op};

        let disk = SimDisk::new();
        let file = file_on(&disk, Contents::Any);
        file.write_at(&[1; 3 * PAGE], 0).unwrap();
        disk.inject(Fault::error(Op::Write, 5).once());
        file.sync(|| Ok(())).unwrap_err();
        file.sync(|| Ok(())).unwrap();
        assert_eq!(disk.durable_image("data").unwrap()[..3 * PAGE], [1; 3 * PAGE]);
    }
}
