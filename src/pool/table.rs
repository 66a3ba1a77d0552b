//! The page table: which frame holds a page.
//!
//! One array of 8-byte words, open addressing, linear probing. A word is a 32-bit fingerprint of the page's hash and the
//! frame's number plus one; zero is empty. The array is cut into partitions of about two thousand frames; a page's probe
//! sequence never leaves its partition.
//!
//! * **Readers take no lock.** They may meet a word that is being moved or has just gone: a frame found is only a
//!   *candidate*, to be pinned and then asked for its page; finding none is only *probably* a miss.
//! * **Writers hold the partition's lock** (level 4 of the lock order). What they find, and do not find, is true. The miss
//!   path ends in such a look, so a page never gets two frames.
//! * Removal moves later words back instead of leaving tombstones, so probe lengths depend on what is in the table now,
//!   not on its history. The fingerprint holds the word's home, so a move needs no look at the frame.
//!
//! The array has twice as many words as there are frames and the hash is seeded per table, so a partition that is to
//! overflow needs twice its expected pages: with two thousand, that is beyond thirty standard deviations. It is reported
//! as [`Full`] all the same.

use crossbeam_utils::CachePadded;

use crate::{
    id::{FrameNo, PageId},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
        random_seed,
    },
};

/// The frames for which one partition is laid out.
const FRAMES_PER_PARTITION: usize = 2048;

/// Words per frame: the table is at most half full.
const WORDS_PER_FRAME: usize = 2;

pub(crate) struct PageTable {
    words: Box<[AtomicU64]>,
    /// A lock for each partition, around the number of its words in use.
    locks: Box<[CachePadded<Mutex<usize>>]>,
    words_per_partition: usize,
    seed: u64,
}

/// Where a page belongs: its partition and its fingerprint.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    partition: usize,
    fingerprint: u32,
}

/// A partition has no empty word left.
#[derive(Debug)]
pub(crate) struct Full;

impl PageTable {
    /// A table for a pool of `frames`.
    pub(crate) fn new(frames: usize) -> Self {
        let partitions = (frames / FRAMES_PER_PARTITION).max(1).next_power_of_two();
        // An empty word must remain to end every probe, even where one frame is all there is.
        let words_per_partition = (frames * WORDS_PER_FRAME).div_ceil(partitions).max(4);
        Self {
            words: (0..partitions * words_per_partition).map(|_| AtomicU64::new(0)).collect(),
            locks: (0..partitions).map(|_| CachePadded::new(Mutex::new(0))).collect(),
            words_per_partition,
            seed: random_seed(),
        }
    }

    /// The bytes the table takes.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.words) + size_of_val(&*self.locks)
    }

    /// Where `page` belongs.
    #[inline]
    pub(crate) fn slot(&self, page: PageId) -> Slot {
        let hash = mix(page.to_word() ^ self.seed);
        Slot { partition: (hash >> 32) as usize & (self.locks.len() - 1), fingerprint: hash as u32 }
    }

    /// The frames that may hold the page, without a lock: see the module's head.
    #[inline]
    pub(crate) fn candidates(&self, slot: Slot) -> impl Iterator<Item = FrameNo> {
        let partition = self.partition_words(slot.partition);
        probe(partition.len(), home(slot.fingerprint, partition.len()))
            .map(|index| partition[index].load(Ordering::Acquire))
            .take_while(|&word| word != 0)
            .filter(move |&word| fingerprint_of(word) == slot.fingerprint)
            .map(frame_of)
    }

    /// Has the processor fetch what a look for the slot's page begins with. What it gives means nothing.
    #[inline]
    pub(crate) fn touch(&self, slot: Slot) -> u64 {
        let partition = self.partition_words(slot.partition);
        partition[home(slot.fingerprint, partition.len())].load(Ordering::Relaxed)
    }

    /// Locks the slot's partition for changes.
    pub(crate) fn lock(&self, slot: Slot) -> Partition<'_> {
        Partition {
            words: self.partition_words(slot.partition),
            slot,
            used: self.locks[slot.partition].lock(),
        }
    }

    #[inline]
    fn partition_words(&self, partition: usize) -> &[AtomicU64] {
        let start = partition * self.words_per_partition;
        &self.words[start..start + self.words_per_partition]
    }
}

/// A locked partition, seen from one slot.
pub(crate) struct Partition<'a> {
    words: &'a [AtomicU64],
    slot: Slot,
    used: MutexGuard<'a, usize>,
}

impl Partition<'_> {
    /// The frames whose pages have the slot's fingerprint; all of them, since nothing moves under the lock.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = FrameNo> {
        self.probe_to_empty()
            .map(|(_, word)| word)
            .filter(|&word| fingerprint_of(word) == self.slot.fingerprint)
            .map(frame_of)
    }

    /// Adds the slot's page. The caller has made sure that it is not there.
    pub(crate) fn insert(&mut self, frame: FrameNo) -> Result<(), Full> {
        // Keep one word empty: it ends the readers' probes.
        if *self.used + 1 == self.words.len() {
            return Err(Full);
        }
        let index = (self.home() + self.probe_to_empty().count()) % self.words.len();
        self.words[index].store(word(self.slot.fingerprint, frame), Ordering::Release);
        *self.used += 1;
        Ok(())
    }

    /// Removes the slot's page where it is mapped to `frame`.
    pub(crate) fn remove(&mut self, frame: FrameNo) {
        let sought = word(self.slot.fingerprint, frame);
        let found = self.probe_to_empty().find(|&(_, word)| word == sought);
        if let Some((index, _)) = found {
            self.close_gap(index);
        }
    }

    /// Moves later words of the probe run back over `gap`. Each is stored in its new place before its old one is
    /// cleared, so a reader sees it once, twice, or (having passed the new place) not at all, which it must expect.
    fn close_gap(&mut self, mut gap: usize) {
        let len = self.words.len();
        for index in probe(len, (gap + 1) % len) {
            let word = self.words[index].load(Ordering::Relaxed);
            if word == 0 {
                break;
            }
            let distance_from_home = (index + len - home(fingerprint_of(word), len)) % len;
            let distance_from_gap = (index + len - gap) % len;
            if distance_from_home >= distance_from_gap {
                self.words[gap].store(word, Ordering::Release);
                gap = index;
            }
        }
        self.words[gap].store(0, Ordering::Release);
        *self.used -= 1;
    }

    fn home(&self) -> usize {
        home(self.slot.fingerprint, self.words.len())
    }

    fn probe_to_empty(&self) -> impl Iterator<Item = (usize, u64)> {
        probe(self.words.len(), self.home())
            .map(|index| (index, self.words[index].load(Ordering::Relaxed)))
            .take_while(|&(_, word)| word != 0)
    }
}

/// The indexes of a partition from `start` on, once around.
#[inline]
fn probe(len: usize, start: usize) -> impl Iterator<Item = usize> {
    let mut next = start;
    // One loop, not a chain of two ranges: a hit goes through this.
    std::iter::repeat_with(move || {
        let index = next;
        next = if index + 1 == len { 0 } else { index + 1 };
        index
    })
    .take(len)
}

/// Where in its partition a fingerprint's probe starts: its share of the range (Lemire's multiply instead of a division).
#[inline]
fn home(fingerprint: u32, len: usize) -> usize {
    ((u64::from(fingerprint) * len as u64) >> 32) as usize
}

#[inline]
fn word(fingerprint: u32, frame: FrameNo) -> u64 {
    (u64::from(fingerprint) << 32) | (u64::from(frame.0) + 1)
}

#[inline]
fn fingerprint_of(word: u64) -> u32 {
    (word >> 32) as u32
}

#[inline]
fn frame_of(word: u64) -> FrameNo {
    FrameNo((word as u32).wrapping_sub(1))
}

/// Spreads a page number over all bits: two rounds of multiply and shift (the finaliser of MurmurHash3), since files
/// all start at block 0 and strides are powers of two.
#[inline]
fn mix(mut key: u64) -> u64 {
    key = (key ^ (key >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    key = (key ^ (key >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    key ^ (key >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::id::FileId;

    fn page(file: u32, block: u32) -> PageId {
        PageId::new(FileId(file), block)
    }

    fn longest_probe(table: &PageTable) -> usize {
        let mut longest = 0;
        for partition in 0..table.locks.len() {
            let words = table.partition_words(partition);
            for (index, word) in words.iter().enumerate() {
                let word = word.load(Ordering::Relaxed);
                if word != 0 {
                    let home = home(fingerprint_of(word), words.len());
                    longest = longest.max((index + words.len() - home) % words.len());
                }
            }
        }
        longest
    }

    #[test]
    fn regular_page_numbers_do_not_pile_up() {
        const FRAMES: u32 = 1 << 16;
        type Pattern = fn(u32) -> PageId;
        let patterns: [(&str, Pattern); 4] = [
            ("one dense file", |n| page(0, n)),
            ("block 0 of many files", |n| page(n, 0)),
            ("a stride of 2^12", |n| page(n >> 20, n << 12)),
            ("both halves alike", |n| page(n, n)),
        ];
        for (name, pattern) in patterns {
            let table = PageTable::new(FRAMES as usize);
            for n in 0..FRAMES {
                table.lock(table.slot(pattern(n))).insert(FrameNo(n)).unwrap();
            }
            let longest = longest_probe(&table);
            assert!(longest < 48, "{name}: a probe of {longest} words in a half full table");
        }
    }

    #[test]
    fn a_table_for_one_frame_ends_every_probe() {
        let table = PageTable::new(1);
        let slot = table.slot(page(0, 0));
        table.lock(slot).insert(FrameNo(0)).unwrap();
        assert_eq!(table.candidates(slot).collect::<Vec<_>>(), [FrameNo(0)]);
        table.lock(slot).remove(FrameNo(0));
        assert_eq!(table.candidates(slot).count(), 0);
    }

    #[test]
    fn a_full_partition_says_so_and_still_ends_probes() {
        let table = PageTable::new(1);
        let fits =
            (0..10).take_while(|&n| table.lock(table.slot(page(0, n))).insert(FrameNo(n)).is_ok()).count();
        assert_eq!(fits, 3, "one of four words must stay empty");
        assert!(table.candidates(table.slot(page(9, 9))).count() <= 3);
    }

    proptest! {
        /// Any order of insertions and removals leaves exactly what a map would hold, in a table small enough for
        /// probe runs to wrap around and overlap.
        #[test]
        fn agrees_with_a_map(ops in prop::collection::vec((0_u32..24, any::<bool>()), 1..200)) {
            let table = PageTable::new(16);
            let mut map = HashMap::new();
            for (n, (block, add)) in ops.into_iter().enumerate() {
                let slot = table.slot(page(1, block));
                if add && !map.contains_key(&block) && map.len() < 16 {
                    table.lock(slot).insert(FrameNo(n as u32)).unwrap();
                    map.insert(block, FrameNo(n as u32));
                } else if let Some(frame) = map.remove(&block) {
                    table.lock(slot).remove(frame);
                }
                for block in 0..24 {
                    let slot = table.slot(page(1, block));
                    let found = table.candidates(slot).collect::<Vec<_>>();
                    prop_assert_eq!(found, map.get(&block).copied().into_iter().collect::<Vec<_>>());
                }
            }
        }
    }
}
