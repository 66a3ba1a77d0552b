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

use crossbeam_utils::CachePadded;

use crate::{
    error::Result as PoolResult,
    id::{FrameNo, PageId},
    pool::huge_slice::HugeSlice,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicU64, Ordering},
        random_seed,
    },
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
    /// A table for a pool of `frames`.
    pub(crate) fn new(frames: usize) -> PoolResult<Self> {
        let wanted = frames.div_ceil(PAGES_PER_BUCKET);
        let partition = wanted.next_power_of_two().min(PARTITION);
        let partitions = wanted.div_ceil(partition);
        Ok(Self {
            buckets: HugeSlice::new(partitions * partition, Bucket::new)?,
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
        let (places, passed_on) = bucket.places_of(slot.tag);
        let found = places.map(|place| bucket.frame(place)).find_map(&mut probe);
        if found.is_none() && passed_on { self.find_further(slot, probe) } else { found }
    }

    #[cold]
    fn find_further<T>(&self, slot: Slot, mut probe: impl FnMut(FrameNo) -> Option<T>) -> Option<T> {
        for bucket in self.path(slot).skip(1) {
            let (places, passed_on) = bucket.places_of(slot.tag);
            let found = places.map(|place| bucket.frame(place)).find_map(&mut probe);
            if found.is_some() || !passed_on {
                return found;
            }
        }
        None
    }

    /// Has the processor fetch what a look for the slot's page begins with. What it gives means nothing.
    #[inline]
    pub(crate) fn touch(&self, slot: Slot) -> u64 {
        self.buckets[slot.bucket].tags[0].load(Ordering::Relaxed)
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

/// A part of the hash that tells the pages of a bucket apart. Never zero, which stands for an empty place, nor one, which a look
/// at several lanes at once may take zero for: an empty place still names the frame that it had.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Tag(u16);

impl Tag {
    #[inline]
    fn of(hash: u64) -> Self {
        Self((hash as u16).max(2))
    }
}

/// Places of a bucket.
const PLACES: usize = 10;

/// Bits of a tag, and tags of a word.
const LANE: u32 = 16;
const LANES: usize = (u64::BITS / LANE) as usize;

/// One in every lane, and the highest bit of every lane.
const ONES: u64 = 0x0001_0001_0001_0001;
const TOPS: u64 = ONES << (LANE - 1);

/// A cache line. Changed under the partition's lock, a word at a time.
#[repr(C, align(64))]
struct Bucket {
    /// The tags of the places, four to a word; the last word has two, and the count of pages passed on above them.
    tags: [AtomicU64; 3],
    frames: [AtomicU32; PLACES],
}

/// Where in the last word the count is.
const PASSED_ON_SHIFT: u32 = 2 * LANE;

/// The lanes of the last word that are no tags, made to look like none that anybody seeks.
const ABOVE_LAST_TWO: u64 = TOPS >> PASSED_ON_SHIFT << PASSED_ON_SHIFT;

impl Bucket {
    fn new() -> Self {
        Self { tags: [const { AtomicU64::new(0) }; 3], frames: [const { AtomicU32::new(0) }; PLACES] }
    }

    /// The places whose tag is `tag`, and whether pages that belong here went on. May name the place of another page, never too
    /// few and never an empty one.
    #[inline]
    fn places_of(&self, tag: Tag) -> (Places, bool) {
        let [first, second, last] = [0, 1, 2].map(|word| self.tags[word].load(Ordering::Acquire));
        let sought = u64::from(tag.0) * ONES;
        // The top bits of the lanes that are zero. Exact up to the lowest of them, and so never blind to one.
        let zero_lanes = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
        let [first, second, last_two] =
            [first ^ sought, second ^ sought, (last ^ sought) | ABOVE_LAST_TWO].map(zero_lanes);
        let found = first >> (LANE - 1) | second >> (LANE - 2) | last_two >> (LANE - 3);
        (Places(found), last >> PASSED_ON_SHIFT != 0)
    }

    #[inline]
    fn frame(&self, place: usize) -> FrameNo {
        FrameNo(self.frames[place].load(Ordering::Relaxed))
    }

    /// A place that nobody has.
    fn empty(&self) -> Option<usize> {
        let tag_at =
            |place: usize| self.tags[place / LANES].load(Ordering::Relaxed) >> lane_shift(place) & 0xffff;
        (0..PLACES).find(|&place| tag_at(place) == 0)
    }

    /// The frame first: who sees the tag sees the frame.
    fn fill(&self, place: usize, tag: Tag, frame: FrameNo) {
        self.frames[place].store(frame.0, Ordering::Relaxed);
        self.change(place / LANES, |word| word | u64::from(tag.0) << lane_shift(place));
    }

    fn clear(&self, place: usize) {
        self.change(place / LANES, |word| word & !(0xffff << lane_shift(place)));
    }

    fn pass_on(&self, more: i32) {
        let more = i64::from(more) << PASSED_ON_SHIFT;
        self.change(2, |word| word.wrapping_add_signed(more));
    }

    /// Under the partition's lock, so nobody else writes meanwhile.
    fn change(&self, word: usize, change: impl FnOnce(u64) -> u64) {
        let word = &self.tags[word];
        word.store(change(word.load(Ordering::Relaxed)), Ordering::Release);
    }
}

/// How far up in its word the tag of a place is.
fn lane_shift(place: usize) -> usize {
    place % LANES * LANE as usize
}

/// Places of a bucket, as bits: the lane is that of the tag, the bit in the lane the number of its word.
#[derive(Copy, Clone)]
struct Places(u64);

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        let (lane, word) = (bit / LANE as usize, bit % LANE as usize);
        Some(word * LANES + lane)
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::id::FileId;

    fn page(file: u32, block: u32) -> PageId {
        PageId::new(FileId(file), block)
    }

    fn table(frames: usize) -> PageTable {
        PageTable::new(frames).unwrap()
    }

    fn all(table: &PageTable, slot: Slot) -> Vec<FrameNo> {
        let mut all = Vec::new();
        table.find(slot, |frame| {
            all.push(frame);
            None::<()>
        });
        all
    }

    fn passed_on(bucket: &Bucket) -> u64 {
        bucket.tags[2].load(Ordering::Relaxed) >> PASSED_ON_SHIFT
    }

    #[test]
    fn a_bucket_is_a_cache_line() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
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
            let table = table(FRAMES as usize);
            let mut longest = 0;
            for n in 0..FRAMES {
                let slot = table.slot(pattern(n));
                table.lock(slot).insert(FrameNo(n)).unwrap();
                longest = longest.max(table.path(slot).take_while(|bucket| passed_on(bucket) > 0).count());
            }
            let passed: u64 = table.buckets.iter().map(passed_on).sum();
            assert!(longest < 8, "{name}: a probe of {longest} buckets");
            assert!(passed < u64::from(FRAMES) / 33, "{name}: {passed} pages are not where they belong");
        }
    }

    #[test]
    fn a_full_partition_says_so_and_still_ends_probes() {
        let table = table(1);
        let mut pages = (0..).map(|block| page(0, block));
        let fits = pages
            .by_ref()
            .take_while(|&page| table.lock(table.slot(page)).insert(FrameNo(7)).is_ok())
            .count();
        assert_eq!(fits, PLACES);
        assert!(all(&table, table.slot(page(9, 9))).len() <= PLACES);
    }

    /// Pages that all belong to the first bucket of a table.
    fn neighbours(table: &PageTable, count: usize) -> Vec<PageId> {
        (0..).map(|block| page(1, block)).filter(|&page| table.slot(page).bucket == 0).take(count).collect()
    }

    #[test]
    fn what_a_bucket_cannot_hold_is_found_further_on_and_leaves_no_trace() {
        let table = table(8 * PAGES_PER_BUCKET);
        let pages = neighbours(&table, 2 * PLACES + 3);
        for (n, &page) in pages.iter().enumerate() {
            table.lock(table.slot(page)).insert(FrameNo(n as u32)).unwrap();
        }
        let (first, second) = (&table.buckets[0], &table.buckets[1]);
        assert_eq!((passed_on(first), passed_on(second)), (PLACES as u64 + 3, 3));
        for (n, &page) in pages.iter().enumerate() {
            assert!(all(&table, table.slot(page)).contains(&FrameNo(n as u32)), "{page}");
        }
        for (n, &page) in pages.iter().enumerate() {
            let slot = table.slot(page);
            table.lock(slot).remove(FrameNo(n as u32));
            assert!(!all(&table, slot).contains(&FrameNo(n as u32)), "{page}");
        }
        assert!(table.buckets.iter().all(|bucket| passed_on(bucket) == 0));
    }

    #[test]
    fn the_probe_of_a_partitions_last_bucket_goes_on_with_its_first() {
        let table = table(2 * PARTITION * PAGES_PER_BUCKET);
        assert_eq!(table.locks.len(), 2);
        assert_eq!((table.next(PARTITION - 1), table.next(2 * PARTITION - 1)), (0, PARTITION));
        let slot = Slot { bucket: 2 * PARTITION - 1, tag: Tag(1) };
        assert_eq!(table.path(slot).count(), PARTITION);
        assert!(std::ptr::eq(table.path(slot).nth(1).unwrap(), &raw const table.buckets[PARTITION]));
    }

    proptest! {
        /// Whatever the tags, the places that have the one sought are named, and a count above them is no tag.
        #[test]
        fn no_place_is_overlooked(tags in prop::array::uniform10(prop::sample::select(&[0_u16, 2, 3, 4, 5])), sought in 2_u16..6, passed in 0_i32..3) {
            let bucket = Bucket::new();
            bucket.pass_on(passed * 0x10001);
            for (place, &tag) in tags.iter().enumerate().filter(|(_, tag)| **tag != 0) {
                bucket.fill(place, Tag(tag), FrameNo(place as u32));
            }
            let (places, passed_on) = bucket.places_of(Tag(sought));
            let found: Vec<usize> = places.collect();
            prop_assert_eq!(passed_on, passed > 0);
            for (place, &tag) in tags.iter().enumerate() {
                prop_assert!(tag != sought || found.contains(&place), "place {} of {:?}", place, tags);
            }
            // A place too many is that of a tag one beside the sought one, behind a true one: a borrow. Never an empty one.
            prop_assert!(found.iter().all(|&place| tags[place] == sought || tags[place] == sought ^ 1 && tags[place] != 0));
        }

        /// Any order of insertions and removals leaves exactly what a map would hold, in a table small enough for buckets to
        /// overflow.
        #[test]
        fn agrees_with_a_map(ops in prop::collection::vec((0_u32..48, any::<bool>()), 1..300)) {
            let table = table(16);
            let mut map = HashMap::new();
            for (n, (block, add)) in ops.into_iter().enumerate() {
                let slot = table.slot(page(1, block));
                if add && !map.contains_key(&block) && map.len() < 40 {
                    table.lock(slot).insert(FrameNo(n as u32)).unwrap();
                    map.insert(block, FrameNo(n as u32));
                } else if let Some(frame) = map.remove(&block) {
                    table.lock(slot).remove(frame);
                }
                for block in 0..48 {
                    let found = all(&table, table.slot(page(1, block)));
                    prop_assert!(map.get(&block).is_none_or(|frame| found.contains(frame)));
                    prop_assert!(found.iter().all(|frame| map.values().any(|mapped| mapped == frame)));
                }
            }
        }
    }
}
