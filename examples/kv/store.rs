//! A hash table: buckets of one page, each with a chain of further pages where it overflows.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use ringpool::{
    BufferPool, Builder, CheckpointOptions, Crc32c, FileId, Lsn, OpenOptions, OwnedPageWrite, PageId,
    PageLsn, Shutdown, options::UnloggedChanges,
};

use crate::log::{Log, LogFile, LogFirst, Redo};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub(crate) const PAGE: usize = 2048;
const BUCKETS: u32 = 16;
/// A page: its LSN (the pool's), the next page of the chain, how many entries it has, and those: keys and values.
const NEXT: usize = 8;
const COUNT: usize = 12;
const ENTRIES: usize = 16;
const ENTRY: usize = 16;
const ENTRIES_MAX: usize = (PAGE - ENTRIES - Crc32c::TRAILER) / ENTRY;

pub(crate) struct Store {
    pool: BufferPool,
    file: FileId,
    pub(crate) log: Arc<Log>,
    /// Pages that belong to no chain: another thread was faster.
    free: Mutex<Vec<u32>>,
    with_images: bool,
}

/// Where a key is in a page, or would be.
enum Place {
    At(usize),
    New(usize),
    /// In the next page of the chain; 0 where there is none.
    Behind(u32),
}

impl Store {
    /// Opens the table, and does again what the log has and the pages may not have.
    pub(crate) fn open(builder: Builder, log: impl LogFile, path: &str, with_images: bool) -> Result<Self> {
        let (log, records) = Log::open(Box::new(log))?;
        let builder = builder.page_size(PAGE as u32).codec(Crc32c).page_lsn(PageLsn::at(0));
        let builder = builder.wal(LogFirst(Arc::clone(&log))).unlogged_changes(UnloggedChanges::Refuse);
        let pool = builder.build()?;
        let options = OpenOptions::new().create(true).tag(1).sparse(true).initial_blocks(BUCKETS);
        let file = pool.open_file(path, options)?;
        let is_image = |redo: &Redo| redo.body.len() == PAGE;
        let images = records.iter().enumerate().filter(|(_, redo)| is_image(redo));
        let images: HashMap<u32, usize> = images.map(|(at, redo)| (redo.block, at)).collect();
        // What a page's image is behind of is in it. The page itself may be torn until then.
        let is_in_image = |at, redo: &Redo| images.get(&redo.block).is_some_and(|&image| at < image);
        for (_, redo) in records.iter().enumerate().filter(|&(at, redo)| !is_in_image(at, redo)) {
            let page = PageId::new(file, redo.block);
            let missing = (redo.block + 1).saturating_sub(pool.blocks(file)?);
            if let Some(missing) = NonZeroU32::new(missing) {
                pool.extend(file, missing).wait()?;
            }
            if is_image(redo) {
                // What the page is now does not matter: it may be torn, and its checksum wrong.
                let mut page = pool.overwrite(page).wait()?;
                page.copy_from_slice(&redo.body);
                page.set_image_lsn(redo.record);
            } else {
                let mut page = pool.write(page).wait()?;
                if page.lsn() < redo.record.end {
                    apply(&mut page, &redo.body);
                    page.set_lsn(redo.record);
                }
            }
        }
        Ok(Self { pool, file, log, free: Mutex::default(), with_images })
    }

    /// Puts a value. It survives a crash once the log is durable up to the position that is returned.
    pub(crate) async fn put(&self, key: u64, value: u64) -> Result<Lsn> {
        let (mut block, mut spare) = (bucket(key), None);
        let end = loop {
            let mut page = self.pool.write(self.page(block)).await?;
            let entry = |slot: usize| {
                [&(slot as u32).to_le_bytes()[..], &key.to_le_bytes(), &value.to_le_bytes()].concat()
            };
            match place(&page, key) {
                Place::At(slot) | Place::New(slot) => break self.change(&mut page, &entry(slot)),
                Place::Behind(next @ 1..) => block = next,
                Place::Behind(0) => {
                    // No latch is held while another page is waited for.
                    drop(page);
                    let new = match spare.take() {
                        Some(new) => new,
                        None => self.new_page().await?,
                    };
                    let end = self.change(&mut self.pool.overwrite(self.page(new)).await?, &entry(0));
                    let mut page = self.pool.write(self.page(block)).await?;
                    match next_of(&page) {
                        0 => break end.max(self.change(&mut page, &new.to_le_bytes())),
                        // Another task has linked one meanwhile.
                        next => (block, spare) = (next, Some(new)),
                    }
                }
            }
        };
        self.free.lock().unwrap_or_else(PoisonError::into_inner).extend(spare);
        Ok(end)
    }

    pub(crate) async fn get(&self, key: u64) -> Result<Option<u64>> {
        let mut block = bucket(key);
        loop {
            let page = self.pool.read(self.page(block)).await?;
            match place(&page, key) {
                Place::At(slot) => return Ok(Some(number(&page[ENTRIES + slot * ENTRY + 8..]))),
                Place::Behind(next @ 1..) => block = next,
                Place::New(_) | Place::Behind(0) => return Ok(None),
            }
        }
    }

    /// Has redo start here from now on, as far as pages allow.
    pub(crate) async fn checkpoint(&self) -> Result<()> {
        let begun = self.log.begin_checkpoint();
        let report = self.pool.checkpoint(CheckpointOptions::new()).await?;
        Ok(self.log.start_redo_at(report.redo_lsn.map_or(begun, |lsn| lsn.min(begun)))?)
    }

    pub(crate) async fn close(self) -> Result<()> {
        self.checkpoint().await?;
        Ok(self.pool.shutdown_async(Shutdown::Flush).await.map(drop)?)
    }

    async fn new_page(&self) -> Result<u32> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match free {
            Some(block) => Ok(block),
            None => Ok(self.pool.extend(self.file, NonZeroU32::MIN).await?.first.0),
        }
    }

    /// Changes a page, and logs the change.
    fn change(&self, page: &mut OwnedPageWrite, change: &[u8]) -> Lsn {
        // A page without entries is a new one, and logged whole.
        let last = if count_of(page) == 0 { Lsn::UNLOGGED } else { page.lsn() };
        let block = page.id().block.0;
        apply(page, change);
        let image = if self.with_images { &page[..] } else { change };
        let (record, is_first) =
            self.log.append(block, last, |is_first| if is_first { image } else { change });
        match is_first && self.with_images {
            true => page.set_image_lsn(record),
            false => page.set_lsn(record),
        }
        record.end
    }

    fn page(&self, block: u32) -> PageId {
        PageId::new(self.file, block)
    }
}

/// Does a change: an entry at its place, or the next page of the chain.
fn apply(page: &mut [u8], change: &[u8]) {
    match change.split_at_checked(4) {
        Some((next, [])) => page[NEXT..NEXT + 4].copy_from_slice(next),
        Some((slot, entry)) => {
            let slot = u32::from_le_bytes(slot.try_into().expect("four")) as usize;
            page[ENTRIES + slot * ENTRY..ENTRIES + (slot + 1) * ENTRY].copy_from_slice(entry);
            let count = (slot as u32 + 1).max(count_of(page) as u32);
            page[COUNT..COUNT + 4].copy_from_slice(&count.to_le_bytes());
        }
        None => unreachable!("a change is an entry or a link"),
    }
}

fn place(page: &[u8], key: u64) -> Place {
    let count = count_of(page);
    match (0..count).find(|slot| number(&page[ENTRIES + slot * ENTRY..]) == key) {
        Some(slot) => Place::At(slot),
        None if count < ENTRIES_MAX => Place::New(count),
        None => Place::Behind(next_of(page)),
    }
}

fn bucket(key: u64) -> u32 {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % BUCKETS
}

fn count_of(page: &[u8]) -> usize {
    u32::from_le_bytes(page[COUNT..COUNT + 4].try_into().expect("four")) as usize
}

fn next_of(page: &[u8]) -> u32 {
    u32::from_le_bytes(page[NEXT..NEXT + 4].try_into().expect("four"))
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight"))
}
