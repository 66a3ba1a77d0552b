//! The page table: which frame holds a page.
//!
//! Open addressing over buckets of one cache line: ten frame numbers, a 16-bit tag of its page's hash for each, and how many
//! pages that belong here had to go to a bucket further on. A lookup compares all tags of a bucket at once and without a
//! branch, and goes on only where that count says so, so nearly every one ends with the bucket it began with, and the processor
//! can guess that it will. (Tags and overflow counts are those of F14, Bronson and Shi, 2019; comparing lanes of a word is from
//! hashbrown.)
//!
//! * **Readers take no lock.** A frame that is found is only a *candidate*, to be pinned and then asked for its page; finding
//!   none is only *probably* a miss.
//! * **Writers hold the lock of the page's partition** (level 4 of the lock order). What they find, and do not find, is true.
//!   The miss path ends in such a look, so a page never gets two frames.
//! * **Nothing moves.** An entry stays in its place until it is removed, and a removal leaves no tombstone: it takes itself off
//!   the counts of the buckets that it had passed. So probe lengths depend on what is in the table now, not on its history.
//!
//! A bucket holds five pages on average, when all frames are in use, so of a hundred one or two pass their page on. The hash is
//! seeded per table. Partitions are laid out for some two thousand frames and have room for twice as many, so that one
//! overflows is beyond thirty standard deviations. It is reported as [`Full`] all the same.

mod bucket;
#[cfg(test)]
pub(super) mod tests;

use crossbeam_utils::CachePadded;

use crate::{
    error::Result as PoolResult,
    id::{FrameNo, PageId},
    pool::{
        huge_slice::HugeSlice,
        table::bucket::{Bucket, Tag},
    },
    sync::{Mutex, MutexGuard, random_seed},
};

/// Pages for which one bucket is laid out; half of what it can hold.
const PAGES_PER_BUCKET: usize = 5;

/// The most buckets that one lock guards: 32 KiB.
const PARTITION: usize = 512;

pub(crate) struct PageTable {
    buckets: HugeSlice<Bucket>,
    /// A lock for each partition.
    locks: Box<[CachePadded<Mutex<()>>]>,
    /// Buckets of a partition; a power of two.
    partition: usize,
    seed: u64,
}

/// Where a page belongs.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    bucket: usize,
    tag: Tag,
}

/// A partition has no empty place left.
#[derive(Debug)]
pub(crate) struct Full;

impl PageTable {
    /// A table for a pool of `frames`, of `most` in the end: it is laid out for all of those. Where they differ, a bucket gets its
    /// memory when it is first touched.
    pub(crate) fn new(frames: usize, most: usize) -> PoolResult<Self> {
        let wanted = most.div_ceil(PAGES_PER_BUCKET);
        let partition = wanted.next_power_of_two().min(PARTITION);
        let partitions = wanted.div_ceil(partition);
        let buckets = partitions * partition;
        let present = if frames == most { buckets } else { 0 };
        let buckets = HugeSlice::zeroed(buckets, present)?;
        buckets.keep_from_children();
        Ok(Self {
            buckets,
            locks: (0..partitions).map(|_| CachePadded::default()).collect(),
            partition,
            seed: random_seed(),
        })
    }

    /// The bytes the table takes.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.buckets) + size_of_val(&*self.locks)
    }

    /// Where `page` belongs.
    #[inline]
    pub(crate) fn slot(&self, page: PageId) -> Slot {
        let hash = mix(page.to_word() ^ self.seed);
        // The hash's share of the range (Lemire's multiply instead of a division): its high bits choose, its low ones tell apart.
        let bucket = (u128::from(hash) * self.buckets.len() as u128) >> 64;
        Slot { bucket: bucket as usize, tag: Tag::of(hash) }
    }

    /// Shows the frames that may hold the page to `probe`, without a lock (see the module's head), until it has found something.
    #[inline]
    pub(crate) fn find<T>(&self, slot: Slot, mut probe: impl FnMut(FrameNo) -> Option<T>) -> Option<T> {
        let bucket = &self.buckets[slot.bucket];
        let (mut places, _) = bucket.places_of(slot.tag);
        // Nearly always it is the first, so that one has a way of its own, without a loop.
        let found = places.next().and_then(|place| probe(bucket.frame(place)));
        if found.is_some() { found } else { self.find_further(slot, probe) }
    }

    /// The same behind the first candidate.
    #[cold]
    fn find_further<T>(&self, slot: Slot, mut probe: impl FnMut(FrameNo) -> Option<T>) -> Option<T> {
        let mut seen = 1;
        for bucket in self.path(slot) {
            let (places, passed_on) = bucket.places_of(slot.tag);
            let found = places.skip(seen).map(|place| bucket.frame(place)).find_map(&mut probe);
            if found.is_some() || !passed_on {
                return found;
            }
            seen = 0;
        }
        None
    }

    /// Has the processor fetch what a look for the slot's page begins with. What it gives means nothing.
    #[inline]
    pub(crate) fn touch(&self, slot: Slot) -> u64 {
        self.buckets[slot.bucket].touch()
    }

    /// Locks the slot's partition for changes.
    pub(crate) fn lock(&self, slot: Slot) -> Partition<'_> {
        Partition { table: self, slot, _locked: self.locks[slot.bucket / self.partition].lock() }
    }

    /// The bucket behind this one, in the same partition.
    fn next(&self, bucket: usize) -> usize {
        let first = bucket & !(self.partition - 1);
        first + ((bucket + 1) & (self.partition - 1))
    }

    /// The buckets where the slot's page may be, in the order in which they are tried.
    fn path(&self, slot: Slot) -> impl Iterator<Item = &Bucket> {
        let first = &self.buckets[slot.bucket];
        let mut at = slot.bucket;
        let further = std::iter::repeat_with(move || {
            at = self.next(at);
            &self.buckets[at]
        });
        std::iter::once(first).chain(further).take(self.partition)
    }
}

/// A locked partition, seen from one slot.
pub(crate) struct Partition<'a> {
    table: &'a PageTable,
    slot: Slot,
    _locked: MutexGuard<'a, ()>,
}

impl Partition<'_> {
    /// Shows the frames whose pages have the slot's tag; all of them, since nothing changes under the lock.
    pub(crate) fn find<T>(&self, probe: impl FnMut(FrameNo) -> Option<T>) -> Option<T> {
        self.table.find(self.slot, probe)
    }

    /// Adds the slot's page. The caller has made sure that it is not there.
    pub(crate) fn insert(&mut self, frame: FrameNo) -> Result<(), Full> {
        let path = || self.table.path(self.slot);
        let with_room =
            path().enumerate().find_map(|(passed, bucket)| Some((passed, bucket, bucket.empty()?)));
        let (passed, bucket, place) = with_room.ok_or(Full)?;
        // Counted first: a lookup that meets the entry's bucket early finds it, and none is stopped short of it.
        path().take(passed).for_each(|bucket| bucket.pass_on(1));
        bucket.fill(place, self.slot.tag, frame);
        Ok(())
    }

    /// Removes the slot's page where it is mapped to `frame`.
    pub(crate) fn remove(&mut self, frame: FrameNo) {
        let path = || self.table.path(self.slot);
        for (passed, bucket) in path().enumerate() {
            let (mut places, passed_on) = bucket.places_of(self.slot.tag);
            if let Some(place) = places.find(|&place| bucket.frame(place) == frame) {
                bucket.clear(place);
                path().take(passed).for_each(|bucket| bucket.pass_on(-1));
                return;
            }
            if !passed_on {
                return;
            }
        }
    }
}

/// Spreads a page number over all bits: two rounds of multiply and shift (the finaliser of MurmurHash3), since files
/// all start at block 0 and strides are powers of two.
#[inline]
pub(super) fn mix(mut key: u64) -> u64 {
    key = (key ^ (key >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    key = (key ^ (key >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    key ^ (key >> 33)
}
