//! The page table: which frame holds a page.
//!
//! Pages are translated by *clusters*: sixteen consecutive blocks of a file, whose frame numbers are one cache line (clustered
//! page tables: Talluri and Hill, SOSP 1995). A [bucket](Bucket) holds seven clusters, and their keys in a line of its own. A hash of the
//! key chooses the bucket, and the place in it. A cluster is nearly always at that place, so the processor loads key and frame
//! number side by side, before it knows that the key is the right one.
//!
//! * **Readers take no lock.** A lookup returns a [`Translation`] that was true a moment ago: its frame is pinned, and then it must
//!   [still hold](Translation::still_holds). To find none is *probably* a miss; an entry that no thread changes is always found.
//! * **Writers hold the lock of the page's [partition]** (level 4 of the lock order). What they find, and do not find, is true.
//!   The miss path ends in such a look, so a page never gets two frames.
//! * **A cluster stays in its place** until the last of its pages goes, or its partition grows. A removal leaves no trace.
//!
//! A partition begins with as many buckets as a pool needs whose pages lie side by side. It doubles when more than half of its
//! places are taken, up to a place and a third for each frame: for scattered pages, each alone in its cluster (some 100 to 200 bytes
//! a frame). It never shrinks. What is in use is the front of the array: buckets of one number in all partitions are neighbours. That a
//! partition overflows ([`Full`](partition::Full)) is beyond eighteen standard deviations of the hash, which is seeded per table.

#![allow(unsafe_code)]

mod partition;
#[cfg(test)]
pub(super) mod tests;

use std::ops::Range;

use crossbeam_utils::CachePadded;

pub(crate) use self::partition::Partition;
use crate::{
    buffer::memory::{
        huge_slice::{HugeSlice, Zeroed},
        prefetch::prefetch,
    },
    error::Result as PoolResult,
    id::{FileId, FrameNo, PageId},
    sync::{
        Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
        random_seed,
    },
};

/// Blocks of a cluster; a power of two.
const BLOCKS: usize = if cfg!(loom) { 2 } else { 16 };

const PLACES: usize = if cfg!(loom) { 2 } else { 7 };

/// The most frames for which a partition is laid out.
const PARTITION: usize = 2688;

/// Set in a partition's span while its clusters are moved.
const GROWING: u32 = 1 << 31;

pub(crate) struct PageTable {
    buckets: HugeSlice<Bucket>,
    /// For each partition the highest index of its buckets, with all bits set below its highest bit: the mask of the hash. It
    /// changes with each growth and never comes back.
    spans: HugeSlice<AtomicU32>,
    /// For each partition how many places are taken.
    locks: Box<[CachePadded<Mutex<u32>>]>,
    seed: u64,
    /// The highest number of a partition: one less than a power of two.
    last_partition: usize,
}

/// What a lookup saw of its partition.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Span(u32);

/// A page as the table looks for it.
#[derive(Copy, Clone, Debug)]
struct Sought {
    /// The cluster's. Never zero, which stands for an empty place.
    key: u64,
    hash: u64,
    block: usize,
}

impl Sought {
    #[inline]
    fn bucket(self, span: u32) -> usize {
        // The highest bit, which says that the partition grows, does not belong to the index.
        (self.index() & span) as usize
    }

    #[inline]
    fn index(self) -> u32 {
        (self.hash >> 33) as u32
    }

    #[inline]
    fn place(self) -> usize {
        (((self.hash & 0xffff_ffff) * PLACES as u64) >> 32) as usize
    }
}

impl PageTable {
    pub(crate) fn new(frames: usize, most: usize) -> PoolResult<Self> {
        let partitions = most.div_ceil(PARTITION).next_power_of_two();
        let buckets_for = |places: usize| places.div_ceil(partitions * PLACES).next_power_of_two();
        let most_buckets = buckets_for(most + most.div_ceil(3));
        let buckets = buckets_for(frames.div_ceil(BLOCKS)).min(most_buckets);
        let span = (buckets * partitions - 1) as u32;
        let table = Self {
            buckets: HugeSlice::zeroed(most_buckets * partitions, buckets * partitions)?,
            spans: HugeSlice::new(partitions, || AtomicU32::new(span))?,
            locks: (0..partitions).map(|_| CachePadded::default()).collect(),
            seed: random_seed(),
            last_partition: partitions - 1,
        };
        // A forked process finds no page, and no partition whose growth never ends.
        table.buckets.keep_from_children();
        table.spans.keep_from_children();
        Ok(table)
    }

    pub(crate) fn memory(&self) -> usize {
        self.in_use() * size_of::<Bucket>() + size_of_val(&*self.spans) + size_of_val(&*self.locks)
    }

    /// Returns how many buckets, the first ones, are in use, but for some of them.
    fn in_use(&self) -> usize {
        let spans = self.spans.iter().map(|span| span.load(Ordering::Relaxed) & !GROWING);
        spans.max().map_or(0, |span| span as usize + 1)
    }

    #[inline]
    fn sought(&self, page: PageId) -> Sought {
        let key = key_of(page);
        Sought { key, hash: self.hash_of(key), block: block_of(page) }
    }

    /// Spreads the key over the upper bits of each half: two multiplications, and between them what is above to what is below.
    #[inline]
    fn hash_of(&self, key: u64) -> u64 {
        let spread_up = (key ^ self.seed).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (spread_up ^ (spread_up >> 32)).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
    }

    #[inline]
    fn partition_of(&self, sought: Sought) -> usize {
        sought.index() as usize & self.last_partition
    }

    #[inline]
    fn span_word(&self, sought: Sought) -> &AtomicU32 {
        let partition = self.partition_of(sought);
        debug_assert!(partition < self.spans.len());
        // SAFETY: the number is a remainder of the count of partitions.
        unsafe { self.spans.get_unchecked(partition) }
    }

    #[inline]
    fn bucket(&self, sought: Sought, span: u32) -> &Bucket {
        let bucket = sought.bucket(span);
        debug_assert!(bucket < self.buckets.len());
        // SAFETY: a span is the highest number of a bucket, and all bits below its highest are set: so the masked hash is no higher.
        unsafe { self.buckets.get_unchecked(bucket) }
    }

    /// Finds the page's frame without a lock (see the module's head); otherwise returns the span in which it was sought.
    #[inline(always)]
    pub(crate) fn find(&self, page: PageId) -> Result<Translation<'_>, Span> {
        let sought = self.sought(page);
        let span_word = self.span_word(sought);
        let span = span_word.load(Ordering::Acquire);
        let bucket = self.bucket(sought, span);
        let is_where_it_belongs = bucket.keys[sought.place()].load(Ordering::Acquire) == sought.key;
        let found =
            if is_where_it_belongs { Some((bucket, sought.place())) } else { self.look(sought, span) };
        let (bucket, place) = found.ok_or(Span(span))?;
        Translation::seen(sought, bucket, place, span_word, span).ok_or(Span(span))
    }

    /// Finds the page's frame, also while its cluster is moved to another place.
    pub(crate) fn find_at_rest(&self, page: PageId) -> Option<Translation<'_>> {
        match self.find(page) {
            Ok(found) => Some(found),
            Err(span) => self.find_again(page, span),
        }
    }

    /// Finds a page that was not found in this span, perhaps because its cluster was being moved to another place.
    #[cold]
    pub(crate) fn find_again(&self, page: PageId, Span(span): Span) -> Option<Translation<'_>> {
        let now = self.span_word(self.sought(page)).load(Ordering::Acquire);
        if span & GROWING == 0 && now == span { None } else { self.find_locked(page) }
    }

    /// Finds the page's frame, for certain.
    #[cold]
    pub(crate) fn find_locked(&self, page: PageId) -> Option<Translation<'_>> {
        self.lock(page).translation()
    }

    #[inline(never)] // So that a hit at the first place saves no registers for this.
    fn look(&self, sought: Sought, span: u32) -> Option<(&Bucket, usize)> {
        let bucket = self.bucket(sought, span);
        match bucket.place_of(sought.key) {
            Some(place) => Some((bucket, place)),
            None if bucket.passed_on() == 0 => None,
            None => self.look_further(sought, span),
        }
    }

    /// Looks through the buckets behind the first, to which clusters were passed on.
    #[cold]
    fn look_further(&self, sought: Sought, span: u32) -> Option<(&Bucket, usize)> {
        for bucket in self.path(sought, span).skip(1) {
            if let Some(place) = bucket.place_of(sought.key) {
                return Some((bucket, place));
            }
            if bucket.passed_on() == 0 {
                break;
            }
        }
        None
    }

    /// Returns the buckets where the cluster may be, in the order in which they are tried.
    fn path(&self, sought: Sought, span: u32) -> impl ExactSizeIterator<Item = &Bucket> {
        let (first, span, partitions) = (sought.bucket(span), (span & !GROWING) as usize, self.spans.len());
        (0..span + 1).step_by(partitions).map(move |further| &self.buckets[(first + further) & span])
    }

    /// Has the processor load what a lookup of the page reads first.
    #[inline]
    pub(crate) fn prefetch(&self, page: PageId) {
        let sought = self.sought(page);
        let bucket = self.bucket(sought, self.span_word(sought).load(Ordering::Relaxed));
        prefetch(&bucket.keys[sought.place()]);
        prefetch(&bucket.clusters[sought.place()]);
    }

    /// Returns whether a page of this page's cluster has a frame. False is probable only, as when a lookup finds none.
    pub(crate) fn has_any_of_cluster(&self, page: PageId) -> bool {
        let sought = self.sought(page);
        let span = self.span_word(sought).load(Ordering::Acquire);
        span & GROWING != 0 || self.look(sought, span).is_some()
    }

    /// Lists the pages of these blocks that have frames, in the order of these, those of a cluster as of one moment.
    pub(crate) fn list(&self, file: FileId, blocks: Range<u32>) -> Vec<(FrameNo, PageId)> {
        let mut listed = Vec::new();
        for first in (blocks.start & !(BLOCKS as u32 - 1)..blocks.end).step_by(BLOCKS) {
            listed.extend(self.lock(PageId::new(file, first)).list());
        }
        listed.retain(|(_, page)| blocks.contains(&page.block.0));
        listed.sort_unstable();
        listed
    }

    /// Returns all pages that have frames, of a table that does not change meanwhile.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (FrameNo, PageId)> {
        self.buckets[..self.in_use()].iter().flat_map(Bucket::entries)
    }

    pub(crate) fn clusters_of(blocks: &Range<u32>) -> usize {
        blocks.len().div_ceil(BLOCKS)
    }
}

/// Returns whether both pages are in one cluster, and so are changed under one lock.
pub(crate) fn are_in_one_cluster(page: PageId, other: PageId) -> bool {
    key_of(page) == key_of(other)
}

/// Returns how many of the pages, from the first on, are in one cluster.
pub(crate) fn in_one_cluster(mut pages: impl Iterator<Item = PageId>) -> usize {
    let Some(first) = pages.next() else { return 0 };
    1 + pages.take_while(|&page| are_in_one_cluster(first, page)).count()
}

/// A page's frame, and where the table said so.
pub(crate) struct Translation<'a> {
    entry: u32,
    sought: Sought,
    key: &'a AtomicU64,
    slot: &'a Slot,
    span_word: &'a AtomicU32,
    span: u32,
}

impl<'a> Translation<'a> {
    #[inline(always)]
    fn seen(
        sought: Sought,
        bucket: &'a Bucket,
        place: usize,
        span_word: &'a AtomicU32,
        span: u32,
    ) -> Option<Self> {
        let slot = &bucket.clusters[place][sought.block];
        let entry = slot.raw();
        (entry != 0).then(|| Self {
            entry,
            sought,
            key: &bucket.keys[place],
            slot,
            span_word,
            span: span & !GROWING,
        })
    }

    #[inline]
    pub(crate) fn frame(&self) -> FrameNo {
        FrameNo(self.entry - 1)
    }

    /// Returns whether the frame holds that very page. Asked by a thread that has pinned the frame meanwhile.
    ///
    /// While it is pinned the frame keeps its page, and only the page's own slot names it. So if this slot does, it was the page's at
    /// that moment, unless clusters have been moved; and then the key, read before the slot, was the page's too: a cluster that has a page
    /// keeps its place, and a key that came after it would have shown the slot empty.
    #[inline(always)]
    pub(crate) fn still_holds(&self) -> bool {
        self.key.load(Ordering::Acquire) == self.sought.key
            && self.slot.raw() == self.entry
            && self.span_word.load(Ordering::Acquire) == self.span
    }
}

/// A cache line of keys, then a line of frame numbers for each cluster: half a kilobyte.
///
/// Changed under the partition's lock, read by all threads at any time. What is written is released and what is read acquired, so
/// a reader that sees a change sees what was changed before it. An empty place names no frames.
#[repr(C, align(64))]
#[derive(Default)]
struct Bucket {
    /// What is in which place; zero where nothing is.
    keys: [AtomicU64; PLACES],
    /// How many clusters belong here or in an earlier bucket and were passed on.
    passed_on: AtomicU64,
    clusters: [Cluster; PLACES],
}

type Cluster = [Slot; BLOCKS];

/// The frame of a page, its number and one; zero where the page has none.
#[derive(Default)]
struct Slot(AtomicU32);

// SAFETY: it is made of atomics, which have the bytes of their integers, and all of them begin as zero.
unsafe impl Zeroed for Bucket {}

impl Slot {
    /// Returns the word as it is: another value stands for another frame, and zero for none.
    #[inline]
    fn raw(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    #[inline]
    fn load(&self) -> Option<FrameNo> {
        self.raw().checked_sub(1).map(FrameNo)
    }

    fn store(&self, frame: Option<FrameNo>) {
        self.0.store(frame.map_or(0, |FrameNo(no)| no + 1), Ordering::Release);
    }
}

#[inline]
fn key_of(page: PageId) -> u64 {
    page.to_word() / BLOCKS as u64 + 1
}

#[inline]
fn block_of(page: PageId) -> usize {
    page.block.0 as usize % BLOCKS
}

fn mapped_in(key: u64, cluster: &Cluster) -> impl Iterator<Item = (FrameNo, PageId)> {
    let first = (key - 1) * BLOCKS as u64;
    let slots = cluster.iter().enumerate();
    slots.filter_map(move |(block, slot)| Some((slot.load()?, PageId::from_word(first + block as u64))))
}

impl Bucket {
    #[inline]
    fn keys(&self) -> impl Iterator<Item = (usize, u64)> {
        self.keys.iter().map(|key| key.load(Ordering::Acquire)).enumerate()
    }

    fn entries(&self) -> impl Iterator<Item = (FrameNo, PageId)> {
        let taken = self.keys().filter(|&(_, key)| key != 0);
        taken.flat_map(|(place, key)| mapped_in(key, &self.clusters[place]))
    }

    #[inline]
    fn place_of(&self, key: u64) -> Option<usize> {
        // All are compared, without a branch, since the processor cannot guess which it is.
        let here = self.keys().fold(0_u32, |here, (place, at)| here | u32::from(at == key) << place);
        (here != 0).then(|| here.trailing_zeros() as usize)
    }

    fn passed_on(&self) -> u64 {
        self.passed_on.load(Ordering::Acquire)
    }

    fn pass_on(&self, more: u64) {
        self.passed_on.store(self.passed_on().wrapping_add(more), Ordering::Release);
    }
}
