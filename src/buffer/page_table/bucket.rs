//! A bucket of the table: a cache line of keys, then a line of frame numbers for each cluster.
//!
//! Changed under the partition's lock, read by all threads at any time. What is written is released and what is read acquired, so
//! a reader that sees a change sees what was changed before it. An empty place names no frames.

use std::array::from_fn;

use crate::{
    buffer::memory::huge_slice::Zeroed,
    id::{FrameNo, PageId},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

/// Blocks of a cluster; a power of two.
pub(super) const BLOCKS: usize = if cfg!(loom) { 2 } else { 16 };

/// Clusters of a bucket.
pub(super) const PLACES: usize = if cfg!(loom) { 2 } else { 7 };

/// Half a kilobyte.
#[repr(C, align(64))]
pub(super) struct Bucket {
    /// What is in which place; zero where nothing is.
    keys: [AtomicU64; PLACES],
    /// How many clusters belong here or in an earlier bucket and were passed on.
    passed_on: AtomicU64,
    clusters: [Cluster; PLACES],
}

/// The frames of consecutive blocks.
pub(super) type Cluster = [Slot; BLOCKS];

/// The frame of a page, its number and one; zero where the page has none.
pub(super) struct Slot(AtomicU32);

// SAFETY: it is made of atomics, which have the bytes of their integers, and all of them begin as zero.
#[allow(unsafe_code)]
unsafe impl Zeroed for Bucket {
    fn first() -> Self {
        Self {
            keys: from_fn(|_| AtomicU64::new(0)),
            passed_on: AtomicU64::new(0),
            clusters: from_fn(|_| from_fn(|_| Slot(AtomicU32::new(0)))),
        }
    }
}

impl Slot {
    /// Returns the word as it is: another value stands for another frame, and zero for none.
    #[inline]
    pub(super) fn raw(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn load(&self) -> Option<FrameNo> {
        self.0.load(Ordering::Acquire).checked_sub(1).map(FrameNo)
    }

    pub(super) fn store(&self, frame: Option<FrameNo>) {
        self.0.store(frame.map_or(0, |FrameNo(no)| no + 1), Ordering::Release);
    }
}

/// Returns the key of the page's cluster.
#[inline]
pub(super) fn key_of(page: PageId) -> u64 {
    page.to_word() / BLOCKS as u64 + 1
}

/// Returns the page's place in its cluster.
#[inline]
pub(super) fn block_of(page: PageId) -> usize {
    page.block.0 as usize % BLOCKS
}

/// Returns the pages of the cluster that have frames.
pub(super) fn mapped_in(key: u64, cluster: &Cluster) -> impl Iterator<Item = (FrameNo, PageId)> {
    let first = (key - 1) * BLOCKS as u64;
    let slots = cluster.iter().enumerate();
    slots.filter_map(move |(block, slot)| Some((slot.load()?, PageId::from_word(first + block as u64))))
}

impl Bucket {
    #[inline]
    pub(super) fn key(&self, place: usize) -> &AtomicU64 {
        &self.keys[place]
    }

    /// Returns all places and what is in them.
    #[inline]
    pub(super) fn keys(&self) -> impl Iterator<Item = (usize, u64)> {
        self.keys.iter().map(|key| key.load(Ordering::Acquire)).enumerate()
    }

    /// Returns the pages that are mapped here.
    pub(super) fn entries(&self) -> impl Iterator<Item = (FrameNo, PageId)> {
        let taken = self.keys().filter(|&(_, key)| key != 0);
        taken.flat_map(|(place, key)| mapped_in(key, self.cluster(place)))
    }

    /// Returns the place of this key.
    #[inline]
    pub(super) fn place_of(&self, key: u64) -> Option<usize> {
        // All are compared, without a branch, since the processor cannot guess which it is.
        let here = self.keys().fold(0_u32, |here, (place, at)| here | u32::from(at == key) << place);
        (here != 0).then(|| here.trailing_zeros() as usize)
    }

    #[inline]
    pub(super) fn cluster(&self, place: usize) -> &Cluster {
        &self.clusters[place]
    }

    pub(super) fn passed_on(&self) -> u64 {
        self.passed_on.load(Ordering::Acquire)
    }

    pub(super) fn pass_on(&self, more: u64) {
        self.passed_on.store(self.passed_on().wrapping_add(more), Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))] // Whose atomics are larger.
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_line_of_keys_and_a_line_for_each_cluster() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (512, 64));
        assert_eq!(std::mem::offset_of!(Bucket, clusters), 64);
    }
}
