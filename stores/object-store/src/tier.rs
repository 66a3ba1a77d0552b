//! Keeps blocks of objects on a local file of bounded size: [`LocalTier`].
//!
//! Objects never change, so a block that is named by file, object and number needs no invalidation: it is right, or it is not there. All doubts are
//! settled that way: a block whose checksum, which covers its name, does not fit is a miss. So nothing is ever synced, a crash may lose any of it, and
//! what survives serves on. The slots are taken in turn, and those that were read since the last turn are passed over (CLOCK).
//!
//! The file is a table with an entry for each slot, and then the slots. Reads and writes of it block, and are made by threads of the runtime that are
//! made for that.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::names::{Identity, ObjectId};
use crate::writer::lock;

const ENTRY: usize = 48;
/// Batches of blocks that wait to be kept. Further ones are not kept.
const MOST_WAITING: usize = 64;

/// A part of an object: `number * slot_bytes` is where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Block {
    pub(crate) file: Identity,
    pub(crate) object: ObjectId,
    pub(crate) number: u32,
}

impl Block {
    fn encoded(self) -> [u8; 28] {
        let mut bytes = [0; 28];
        bytes[..16].copy_from_slice(&self.file.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.object.0.to_le_bytes());
        bytes[24..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    /// Returns the checksum of this block with these bytes.
    fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.encoded()), bytes)
    }
}

/// What a local tier did since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TierCounts {
    /// Blocks that were found.
    pub hits: u64,
    /// Blocks that were not.
    pub misses: u64,
    /// Blocks whose bytes were not what was kept, or could not be read. They count as misses, too.
    pub damaged: u64,
    /// Blocks that were kept.
    pub kept: u64,
}

/// A local file of bounded size, in which blocks of objects that were fetched or put are kept. Clones are the same.
///
/// Given to [`ObjectFiles::with_tier`](crate::ObjectFiles::with_tier).
#[derive(Debug, Clone)]
pub struct LocalTier {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    slot_bytes: u32,
    slots: Mutex<Slots>,
    waiting: Arc<Semaphore>,
    hits: AtomicU64,
    misses: AtomicU64,
    damaged: AtomicU64,
    kept: AtomicU64,
}

/// Which block is in which slot.
#[derive(Debug)]
struct Slots {
    of_block: HashMap<Block, u32>,
    all: Vec<Slot>,
    hand: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// `None` while it is empty or being written.
    block: Option<Block>,
    checksum: u32,
    was_read: bool,
    is_being_written: bool,
}

impl LocalTier {
    /// Opens or makes the file, which then has room for `bytes` in slots of `slot_bytes`, from 512 bytes to 1 MiB. A slot should be as large as the
    /// pool's pages. What an earlier process kept in slots of that size is served again. Each slot takes some 100 bytes of memory besides.
    ///
    /// # Errors
    ///
    /// The file cannot be opened or sized, or another process uses it ([`io::ErrorKind::WouldBlock`]); there is room for no slot, or for too many.
    pub fn open(path: impl AsRef<Path>, bytes: u64, slot_bytes: u32) -> io::Result<Self> {
        let count = bytes / (u64::from(slot_bytes) + ENTRY as u64).max(1);
        let count =
            u32::try_from(count).ok().filter(|&count| count > 0 && (512..=1 << 20).contains(&slot_bytes));
        let count = count.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "a tier has from 1 to 2^32 slots of 512 bytes to 1 MiB",
            )
        })?;
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock()?;
        let mut table = vec![0; count as usize * ENTRY];
        let mut filled = 0;
        while filled < table.len() {
            match file.read_at(&mut table[filled..], filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        file.set_len(table.len() as u64 + u64::from(count) * u64::from(slot_bytes))?;
        let mut slots =
            Slots { of_block: HashMap::new(), all: vec![Slot::default(); count as usize], hand: 0 };
        for (slot, entry) in table.as_chunks::<ENTRY>().0.iter().enumerate() {
            if let Some((block, checksum)) = decoded(entry, slot_bytes) {
                slots.all[slot] = Slot { block: Some(block), checksum, ..Slot::default() };
                slots.of_block.insert(block, slot as u32);
            }
        }
        let inner = Inner {
            file,
            slot_bytes,
            slots: Mutex::new(slots),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            kept: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns what it did since it was opened.
    pub fn counts(&self) -> TierCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let inner = &self.inner;
        TierCounts {
            hits: read(&inner.hits),
            misses: read(&inner.misses),
            damaged: read(&inner.damaged),
            kept: read(&inner.kept),
        }
    }

    pub(crate) fn slot_bytes(&self) -> u32 {
        self.inner.slot_bytes
    }

    /// Reads blocks, those that are here.
    pub(crate) async fn read(&self, runtime: &Handle, blocks: Vec<Block>) -> Vec<Option<Bytes>> {
        let count = blocks.len();
        let found: Vec<_> = {
            let mut slots = self.inner.slots();
            blocks.iter().map(|block| slots.find(*block)).collect()
        };
        if found.iter().all(Option::is_none) {
            self.inner.misses.fetch_add(count as u64, Ordering::Relaxed);
            return vec![None; count];
        }
        let inner = Arc::clone(&self.inner);
        let read = move || {
            let read = |(block, found): (Block, Option<_>)| {
                found.and_then(|(slot, sum)| inner.read(block, slot, sum))
            };
            let bytes: Vec<_> = blocks.into_iter().zip(found).map(read).collect();
            let hits = bytes.iter().flatten().count() as u64;
            inner.hits.fetch_add(hits, Ordering::Relaxed);
            inner.misses.fetch_add(count as u64 - hits, Ordering::Relaxed);
            bytes
        };
        runtime.spawn_blocking(read).await.unwrap_or_else(|_| vec![None; count])
    }

    /// Keeps blocks, if not too many wait to be kept.
    pub(crate) fn keep(&self, runtime: &Handle, blocks: Vec<(Block, Bytes)>) {
        if blocks.is_empty() {
            return;
        }
        let Ok(waits) = Arc::clone(&self.inner.waiting).try_acquire_owned() else { return };
        let inner = Arc::clone(&self.inner);
        runtime.spawn_blocking(move || {
            let _until_kept = waits;
            for (block, bytes) in blocks {
                inner.keep(block, &bytes);
            }
        });
    }
}

impl Slots {
    /// Returns the slot of a block and its checksum.
    fn find(&mut self, block: Block) -> Option<(u32, u32)> {
        let &slot = self.of_block.get(&block)?;
        let found = &mut self.all[slot as usize];
        found.was_read = true;
        Some((slot, found.checksum))
    }

    /// Takes the next slot that was not read since the last turn, for other bytes. `None` when all are being written.
    fn take(&mut self) -> Option<u32> {
        let count = self.all.len() as u32;
        for _ in 0..u64::from(count) * 2 {
            let number = self.hand;
            self.hand = (self.hand + 1) % count;
            let slot = &mut self.all[number as usize];
            if slot.is_being_written || std::mem::take(&mut slot.was_read) {
                continue;
            }
            slot.is_being_written = true;
            if let Some(block) = slot.block.take() {
                self.of_block.remove(&block);
            }
            return Some(number);
        }
        None
    }

    fn written(&mut self, number: u32, block: Option<(Block, u32)>) {
        let slot = &mut self.all[number as usize];
        *slot = Slot::default();
        if let Some((block, checksum)) = block {
            *slot = Slot { block: Some(block), checksum, ..Slot::default() };
            if let Some(other) = self.of_block.insert(block, number) {
                // Two tasks have kept the same block.
                self.all[other as usize] = Slot::default();
            }
        }
    }

    fn forget(&mut self, number: u32, block: Block) {
        if self.all[number as usize].block == Some(block) {
            self.all[number as usize] = Slot::default();
            self.of_block.remove(&block);
        }
    }
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        lock(&self.slots)
    }

    fn place(&self, slot: u32) -> u64 {
        let table = self.slots().all.len() as u64 * ENTRY as u64;
        table + u64::from(slot) * u64::from(self.slot_bytes)
    }

    fn read(&self, block: Block, slot: u32, checksum: u32) -> Option<Bytes> {
        let mut bytes = vec![0; self.slot_bytes as usize];
        let is_read = self.file.read_exact_at(&mut bytes, self.place(slot)).is_ok();
        if is_read && block.checksum(&bytes) == checksum {
            return Some(bytes.into());
        }
        // Damaged; or the slot was given to another block since it was found.
        let is_same = self.slots().all[slot as usize].block == Some(block);
        if is_same {
            self.damaged.fetch_add(1, Ordering::Relaxed);
            self.slots().forget(slot, block);
        }
        None
    }

    fn keep(&self, block: Block, bytes: &[u8]) {
        let slot = {
            let mut slots = self.slots();
            if slots.of_block.contains_key(&block) {
                return;
            }
            slots.take()
        };
        let Some(slot) = slot else { return };
        let checksum = block.checksum(bytes);
        let entry = encoded(block, checksum, self.slot_bytes);
        let written = self
            .file
            .write_all_at(bytes, self.place(slot))
            .and_then(|()| self.file.write_all_at(&entry, u64::from(slot) * ENTRY as u64));
        self.slots().written(slot, written.is_ok().then_some((block, checksum)));
        self.kept.fetch_add(written.is_ok().into(), Ordering::Relaxed);
    }
}

/// An entry of the table: the block, the size of a slot, the checksum of the block, and one of the entry.
fn encoded(block: Block, checksum: u32, slot_bytes: u32) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..28].copy_from_slice(&block.encoded());
    entry[28..32].copy_from_slice(&slot_bytes.to_le_bytes());
    entry[32..36].copy_from_slice(&checksum.to_le_bytes());
    let sum = crc32c::crc32c(&entry[..36]);
    entry[36..40].copy_from_slice(&sum.to_le_bytes());
    entry
}

fn decoded(entry: &[u8; ENTRY], slot_bytes: u32) -> Option<(Block, u32)> {
    let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"));
    if word(36) != crc32c::crc32c(&entry[..36]) || word(28) != slot_bytes {
        return None;
    }
    let file = u128::from_le_bytes(entry[..16].try_into().expect("16 bytes"));
    let object = ObjectId(u64::from_le_bytes(entry[16..24].try_into().expect("eight bytes")));
    Some((Block { file, object, number: word(24) }, word(32)))
}

#[cfg(test)]
#[path = "tier_tests.rs"]
mod tests;
