//! Shadow pages: memory on the heap for the bytes of pages that are changed while the device reads them.
//!
//! The device never touches them, so they are not registered, and are allocated one by one when needed. There are as many as pages
//! that were changed while they were being written, and have not been copied back since: nearly always none. A few are
//! [kept](KEPT_MAX) for the next ones from the start, and while more are used, as many: new memory may cost the system a hundred
//! times a copy. Readers find the address without a lock. Lock order: their lock, a leaf, for changes.

#[cfg(test)]
use std::sync::atomic::AtomicBool;
use std::{collections::BTreeMap, iter, ptr, ptr::NonNull};

use smallvec::SmallVec;

use crate::{
    buffer::memory::huge_slice::HugeSlice,
    error::Result,
    id::{FrameNo, PageSize},
    sync::{
        Mutex,
        atomic::{AtomicPtr, Ordering},
    },
};

/// The most that are kept while hardly any are used; a quarter of the frames of a small pool.
const KEPT_MAX: usize = 8;

/// What the memory of a shadow page is made of. It is aligned as pages of the arena are, for engines that read words.
#[repr(align(4096))]
struct Block(#[expect(dead_code, reason = "only its size matters")] [u8; 4096]);

type ShadowPage = Vec<Block>;

pub(crate) struct ShadowPages {
    page_size: PageSize,
    /// The address of each frame's shadow page, if it has one. Changed by the thread that may move the frame's bytes, and so
    /// stable while a latch is held.
    addresses: HugeSlice<AtomicPtr<u8>>,
    /// How many are kept though none is used.
    kept_at_least: usize,
    pages: Mutex<Pages>,
    /// Set where the system has no more memory.
    #[cfg(test)]
    pub(crate) is_refused: AtomicBool,
}

#[derive(Default)]
struct Pages {
    used: BTreeMap<FrameNo, ShadowPage>,
    kept: Vec<ShadowPage>,
}

impl ShadowPages {
    /// Makes room for the shadow pages of `most` frames, of which the first `present` have theirs from the start.
    pub(crate) fn new(page_size: PageSize, present: usize, most: usize) -> Result<Self> {
        let kept_at_least = present.div_ceil(4).min(KEPT_MAX);
        // Those that the system has no memory for are not kept.
        let kept = iter::repeat_with(|| new_memory(page_size)).take(kept_at_least).flatten().collect();
        Ok(Self {
            page_size,
            addresses: HugeSlice::zeroed(most, present)?,
            kept_at_least,
            pages: Mutex::new(Pages { used: BTreeMap::new(), kept }),
            #[cfg(test)]
            is_refused: AtomicBool::new(false),
        })
    }

    /// Adds a shadow page to the frame, which has none. Returns `false` where the system has no memory.
    #[must_use]
    pub(super) fn add(&self, no: FrameNo) -> bool {
        #[cfg(test)]
        if self.is_refused.load(Ordering::Relaxed) {
            return false;
        }
        // Not under the lock: the system may take its time.
        let kept = self.pages.lock().kept.pop();
        let Some(mut memory) = kept.or_else(|| new_memory(self.page_size)) else { return false };
        self.addresses[no.index()].store(memory.as_mut_ptr().cast(), Ordering::Relaxed);
        let other = self.pages.lock().used.insert(no, memory);
        assert!(other.is_none(), "frame {} has a shadow page already", no.0);
        true
    }

    /// Returns the address of the frame's shadow page. It stays until that is [removed](Self::remove).
    pub(super) fn address_of(&self, no: FrameNo) -> NonNull<u8> {
        let address = NonNull::new(self.addresses[no.index()].load(Ordering::Relaxed));
        address.unwrap_or_else(|| panic!("frame {} has no shadow page", no.0))
    }

    /// Takes the shadow page back from a frame that no longer wants it.
    pub(super) fn remove(&self, no: FrameNo) {
        self.addresses[no.index()].store(ptr::null_mut(), Ordering::Relaxed);
        let mut pages = self.pages.lock();
        let memory = pages.used.remove(&no);
        pages.kept.push(memory.unwrap_or_else(|| panic!("frame {} has no shadow page to give back", no.0)));
        let most = pages.used.len().max(self.kept_at_least);
        let from = pages.kept.len().min(most);
        let too_many: SmallVec<[ShadowPage; 2]> = pages.kept.drain(from..).collect();
        drop(pages);
        // To the system, which may take its time for that too.
        drop(too_many);
    }

    pub(crate) fn owners(&self) -> Vec<FrameNo> {
        self.pages.lock().used.keys().copied().collect()
    }

    /// Returns the bytes of the addresses of `frames` frames, and of the shadow pages, with those that are kept.
    pub(crate) fn memory(&self, frames: usize) -> usize {
        let pages = self.pages.lock();
        let blocks: usize = pages.used.values().chain(&pages.kept).map(Vec::capacity).sum();
        self.addresses.len().min(frames) * size_of::<AtomicPtr<u8>>() + blocks * size_of::<Block>()
    }
}

fn new_memory(page_size: PageSize) -> Option<ShadowPage> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(page_size.bytes().div_ceil(size_of::<Block>())).ok()?;
    Some(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes room for 8 frames, and so with two pages that are kept.
    fn shadow_pages() -> ShadowPages {
        ShadowPages::new(PageSize::MAX, 8, 8).unwrap()
    }

    #[test]
    fn each_frame_has_its_own_memory_for_as_long_as_it_wants_it() {
        let shadows = shadow_pages();
        assert!(shadows.add(FrameNo(1)) && shadows.add(FrameNo(7)));
        let (one, other) = (shadows.address_of(FrameNo(1)), shadows.address_of(FrameNo(7)));
        assert_eq!((one.addr().get() % 4096, other.addr().get() % 4096), (0, 0));
        assert!(one.addr().get().abs_diff(other.addr().get()) >= PageSize::MAX.bytes());
        assert!(shadows.add(FrameNo(3)));
        assert_eq!(shadows.address_of(FrameNo(1)), one, "it does not move");
        assert_eq!(shadows.memory(0), 3 * PageSize::MAX.bytes());
        shadows.remove(FrameNo(1));
        assert_eq!(shadows.owners(), [3, 7].map(FrameNo));
        assert!(shadows.add(FrameNo(1)));
        assert_eq!(shadows.address_of(FrameNo(1)), one, "it was kept");
        assert_eq!(shadows.address_of(FrameNo(7)), other);
    }

    #[test]
    fn a_few_are_kept_from_the_start_and_no_more_than_are_used() {
        let shadows = shadow_pages();
        let memory = |pages| pages * PageSize::MAX.bytes();
        assert_eq!(shadows.memory(0), memory(2));
        assert!((0..6).all(|no| shadows.add(FrameNo(no))));
        for (removed, expected) in [6, 6, 6, 4, 3, 2].into_iter().enumerate() {
            assert_eq!(shadows.owners().len(), 6 - removed);
            shadows.remove(FrameNo(removed as u32));
            assert_eq!(shadows.memory(0), memory(expected), "{removed}");
        }
        let of_a_few_frames = |frames| ShadowPages::new(PageSize::MAX, frames, frames).unwrap().memory(0);
        assert_eq!([0, 1, 12, 1000].map(of_a_few_frames), [0, 1, 3, KEPT_MAX].map(memory));
    }
}
