//! Extra pages: ordinary memory for the bytes of pages that are changed while the device reads them, where all spare pages are
//! taken.
//!
//! The device never touches them: what it reads is at the frame's home, and what is in an extra page goes home before it is
//! written. So they need not be registered, and come one by one when they are wanted. There are as many as pages that were
//! changed while they were being written, and went home neither then nor since (see [`lending`](super::lending)): none, nearly
//! always. While there are some, as many are kept for the next ones: new memory may cost the system a hundred times a copy.
//!
//! Lock order: their lock, a leaf. Only who deals with a page that is on one takes it.

#[cfg(test)]
use std::sync::atomic::{AtomicBool, Ordering};
use std::{collections::BTreeMap, ptr::NonNull};

use smallvec::SmallVec;

use crate::{
    id::{FrameNo, PageSize},
    sync::Mutex,
};

/// What the memory of an extra page is made of, so that it lies as pages of the arena lie, for engines that look at words.
#[repr(align(4096))]
struct Block(#[expect(dead_code, reason = "only its size matters")] [u8; 4096]);

/// An extra page. It holds whatever was in that memory.
type ExtraPage = Vec<Block>;

pub(crate) struct ExtraPages {
    page_size: PageSize,
    pages: Mutex<Pages>,
    /// The system has no more memory.
    #[cfg(test)]
    pub(crate) is_refused: AtomicBool,
}

#[derive(Default)]
struct Pages {
    /// By the frame that lives on them.
    used: BTreeMap<FrameNo, ExtraPage>,
    /// No more than are used.
    kept: Vec<ExtraPage>,
}

impl ExtraPages {
    pub(crate) fn new(page_size: PageSize) -> Self {
        Self {
            page_size,
            pages: Mutex::new(Pages::default()),
            #[cfg(test)]
            is_refused: AtomicBool::new(false),
        }
    }

    /// Gives one to the frame, which has none. `false` where the system has no memory.
    #[must_use]
    pub(crate) fn add(&self, no: FrameNo) -> bool {
        #[cfg(test)]
        if self.is_refused.load(Ordering::Relaxed) {
            return false;
        }
        // Not under the lock: the system may take its time.
        let kept = self.pages.lock().kept.pop();
        let Some(memory) = kept.or_else(|| self.new_memory()) else { return false };
        let other = self.pages.lock().used.insert(no, memory);
        assert!(other.is_none(), "frame {} has an extra page already", no.0);
        true
    }

    fn new_memory(&self) -> Option<ExtraPage> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(self.page_size.bytes().div_ceil(size_of::<Block>())).ok()?;
        Some(memory)
    }

    /// The address of the frame's extra page. It stays until that is [removed](Self::remove).
    pub(crate) fn address_of(&self, no: FrameNo) -> NonNull<u8> {
        let mut pages = self.pages.lock();
        let memory = pages.used.get_mut(&no).unwrap_or_else(|| panic!("frame {} has no extra page", no.0));
        NonNull::new(memory.as_mut_ptr().cast()).expect("memory that was reserved has an address")
    }

    /// The frame wants its extra page no more.
    pub(crate) fn remove(&self, no: FrameNo) {
        let mut pages = self.pages.lock();
        let memory = pages.used.remove(&no);
        pages.kept.push(memory.unwrap_or_else(|| panic!("frame {} has no extra page to give back", no.0)));
        let from = pages.used.len().min(pages.kept.len());
        let too_many: SmallVec<[ExtraPage; 2]> = pages.kept.drain(from..).collect();
        drop(pages);
        // To the system, which may take its time for that too.
        drop(too_many);
    }

    /// The frames that have one.
    pub(crate) fn owners(&self) -> Vec<FrameNo> {
        self.pages.lock().used.keys().copied().collect()
    }

    /// The bytes they take.
    pub(crate) fn memory(&self) -> usize {
        let pages = self.pages.lock();
        pages.used.values().chain(&pages.kept).map(|memory| memory.capacity() * size_of::<Block>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_has_its_own_memory_for_as_long_as_it_wants_it() {
        let extra = ExtraPages::new(PageSize::MAX);
        assert!(extra.add(FrameNo(1)) && extra.add(FrameNo(7)));
        let (one, other) = (extra.address_of(FrameNo(1)), extra.address_of(FrameNo(7)));
        assert_eq!((one.addr().get() % 4096, other.addr().get() % 4096), (0, 0));
        assert!(one.addr().get().abs_diff(other.addr().get()) >= PageSize::MAX.bytes());
        assert!(extra.add(FrameNo(3)));
        assert_eq!(extra.address_of(FrameNo(1)), one, "it does not move");
        assert_eq!(extra.memory(), 3 * PageSize::MAX.bytes());
        extra.remove(FrameNo(1));
        assert_eq!(extra.owners(), [3, 7].map(FrameNo));
        assert!(extra.add(FrameNo(1)));
        assert_eq!(extra.address_of(FrameNo(1)), one, "it was kept");
        assert_eq!(extra.address_of(FrameNo(7)), other);
    }

    #[test]
    fn no_more_are_kept_than_are_used() {
        let extra = ExtraPages::new(PageSize::MAX);
        let memory = |pages| pages * PageSize::MAX.bytes();
        assert!((0..4).all(|no| extra.add(FrameNo(no))));
        for (removed, expected) in [4, 4, 2, 0].into_iter().enumerate() {
            assert_eq!(extra.owners().len(), 4 - removed);
            extra.remove(FrameNo(removed as u32));
            assert_eq!(extra.memory(), memory(expected), "{removed}");
        }
    }
}
