//! A bucket of the table: ten places in a cache line, of which one look finds those of a page.
//!
//! Changed by who holds the partition's lock, read by everybody. A place is filled frame first, then tag, so who sees the tag
//! sees that frame or one that came later; a place that is cleared keeps its frame number, which nobody looks at any more.

use std::array::from_fn;

use crate::{
    id::FrameNo,
    pool::huge_slice::Zeroed,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

/// A part of the hash that tells the pages of a bucket apart. Never zero, which stands for an empty place, nor one, which a look
/// at several lanes at once may take zero for: an empty place still names the frame that it had.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag(pub(super) u16);

impl Tag {
    #[inline]
    pub(super) fn of(hash: u64) -> Self {
        Self((hash as u16).max(2))
    }
}

/// Places of a bucket.
pub(super) const PLACES: usize = 10;

/// Bits of a tag, and tags of a word.
const LANE: u32 = 16;
const LANES: usize = (u64::BITS / LANE) as usize;

/// One in every lane, and the highest bit of every lane.
const ONES: u64 = 0x0001_0001_0001_0001;
const TOPS: u64 = ONES << (LANE - 1);

/// A cache line. Changed under the partition's lock, a word at a time.
#[repr(C, align(64))]
pub(super) struct Bucket {
    /// The tags of the places, four to a word; the last word has two, and the count of pages passed on above them.
    tags: [AtomicU64; 3],
    frames: [AtomicU32; PLACES],
}

/// Where in the last word the count is.
const PASSED_ON_SHIFT: u32 = 2 * LANE;

/// The lanes of the last word that are no tags, made to look like none that anybody seeks.
const ABOVE_LAST_TWO: u64 = TOPS >> PASSED_ON_SHIFT << PASSED_ON_SHIFT;

// SAFETY: it is made of atomics, which have the bytes of their integers, and all of them begin as zero.
#[allow(unsafe_code)]
unsafe impl Zeroed for Bucket {
    fn first() -> Self {
        Self { tags: from_fn(|_| AtomicU64::new(0)), frames: from_fn(|_| AtomicU32::new(0)) }
    }
}

impl Bucket {
    /// The places whose tag is `tag`, and whether pages that belong here went on. May name the place of another page, never too
    /// few and never an empty one.
    #[inline]
    pub(super) fn places_of(&self, tag: Tag) -> (Places, bool) {
        let [first, second, last] = [0, 1, 2].map(|word| self.tags[word].load(Ordering::Acquire));
        let sought = u64::from(tag.0) * ONES;
        // The top bits of the lanes that are zero. Exact up to the lowest of them, and so never blind to one.
        let zero_lanes = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
        let [first, second, last_two] =
            [first ^ sought, second ^ sought, (last ^ sought) | ABOVE_LAST_TWO].map(zero_lanes);
        let found = first >> (LANE - 1) | second >> (LANE - 2) | last_two >> (LANE - 3);
        (Places(found), last >> PASSED_ON_SHIFT != 0)
    }

    /// The pages that belong here or before and went on.
    #[cfg(test)]
    pub(super) fn passed_on(&self) -> u64 {
        self.tags[2].load(Ordering::Relaxed) >> PASSED_ON_SHIFT
    }

    /// Has the processor fetch the cache line. What it gives means nothing.
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        self.tags[0].load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn frame(&self, place: usize) -> FrameNo {
        FrameNo(self.frames[place].load(Ordering::Relaxed))
    }

    /// A place that nobody has.
    pub(super) fn empty(&self) -> Option<usize> {
        let tag_at =
            |place: usize| self.tags[place / LANES].load(Ordering::Relaxed) >> lane_shift(place) & 0xffff;
        (0..PLACES).find(|&place| tag_at(place) == 0)
    }

    /// The frame first: who sees the tag sees the frame.
    pub(super) fn fill(&self, place: usize, tag: Tag, frame: FrameNo) {
        self.frames[place].store(frame.0, Ordering::Relaxed);
        self.change(place / LANES, |word| word | u64::from(tag.0) << lane_shift(place));
    }

    pub(super) fn clear(&self, place: usize) {
        self.change(place / LANES, |word| word & !(0xffff << lane_shift(place)));
    }

    pub(super) fn pass_on(&self, more: i32) {
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
pub(super) struct Places(u64);

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[cfg(not(loom))] // Whose atomics are larger.
    #[test]
    fn a_bucket_is_a_cache_line() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
    }

    proptest! {
        /// Whatever the tags, the places that have the one sought are named, and a count above them is no tag.
        #[test]
        fn no_place_is_overlooked(tags in prop::array::uniform10(prop::sample::select(&[0_u16, 2, 3, 4, 5])), sought in 2_u16..6, passed in 0_i32..3) {
            let bucket = Bucket::first();
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
    }
}
