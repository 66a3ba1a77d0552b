//! Pages that are lent to SQLite: `xFetch` and `xUnfetch`.
//!
//! SQLite gets the address of the frame and reads the page there, without a copy. While it does, the connection keeps a guard of the
//! page: the pin keeps the page in its frame, the share latch keeps its bytes as they are. So a page that is lent cannot change,
//! whatever happens: `xWrite` needs the exclusive latch, waits for it for a bounded time, and fails if it does not get it.
//!
//! SQLite gives a page back after each step down a tree, and asks for the root again at once. So some guards are kept, in *slots* by
//! the page's number, until the transaction ends: to the locks that is as if SQLite had not given these pages back. A page that was
//! asked for again is not put out of its slot by the first other page. Pages without a slot are found by their offset, from the newest
//! back: one connection lends few at a time.
//!
//! Invariant: [`release_kept`](Lent::release_kept) at the end of a transaction and before a change leaves guards of pages on loan only.

use ringpool::OwnedPageRead;

/// The most slots.
const SLOTS: u32 = 64;
/// Of so many frames one may be kept by each connection.
const FRAMES_A_SLOT: u32 = 256;

/// The pages that one connection has borrowed.
#[derive(Debug)]
pub struct Lent {
    slots: Box<[Slot]>,
    /// The slots that have a page.
    filled: Vec<usize>,
    /// Pages without a slot.
    pages: Vec<(u64, OwnedPageRead)>,
    most: usize,
}

#[derive(Debug, Default)]
struct Slot {
    offset: u64,
    page: Option<OwnedPageRead>,
    /// How often it is on loan now.
    loans: u32,
    /// Whether it was asked for again since another page wanted the slot.
    is_used: bool,
    /// Whether the guard outlives the last loan.
    is_kept: bool,
}

impl Lent {
    /// Makes one for at most so many pages at a time, of a pool of so many frames.
    #[must_use]
    pub fn new(most: usize, frames: u32) -> Self {
        let slots = 1 << (frames / FRAMES_A_SLOT).clamp(1, SLOTS).ilog2();
        let slots = (0..slots).map(|_| Slot::default()).collect();
        Self { slots, filled: Vec::new(), pages: Vec::new(), most }
    }

    /// Returns whether another page may be lent: else lent pages could take all frames of the pool.
    #[must_use]
    #[inline]
    pub fn has_room(&self) -> bool {
        self.pages.len() + self.filled.len() < self.most
    }

    #[inline]
    fn slot_of(&self, block: u32) -> usize {
        block as usize & (self.slots.len() - 1)
    }

    /// Lends a page whose guard is here. Returns it.
    #[inline]
    pub fn lend_again(&mut self, offset: u64, block: u32) -> Option<&OwnedPageRead> {
        let at = self.slot_of(block);
        let slot = &mut self.slots[at];
        let page = slot.page.as_ref().filter(|_| slot.offset == offset)?;
        slot.loans += 1;
        slot.is_used = true;
        Some(page)
    }

    /// Keeps the page until it is given back, or longer. Returns the address of its first byte.
    #[inline]
    pub fn lend(&mut self, offset: u64, block: u32, page: OwnedPageRead) -> *const u8 {
        let (address, at) = (page.as_ptr(), self.slot_of(block));
        let slot = &mut self.slots[at];
        if slot.loans > 0 || std::mem::take(&mut slot.is_used) {
            self.pages.push((offset, page));
        } else {
            let former = slot.page.replace(page);
            (slot.offset, slot.loans, slot.is_kept) = (offset, 1, true);
            if former.is_none() {
                self.filled.push(at);
            }
        }
        address
    }

    /// Takes back a page that was lent for this offset, of this block. Returns whether there was one.
    #[inline]
    pub fn give_back(&mut self, offset: u64, block: u32) -> bool {
        let at = self.slot_of(block);
        let slot = &mut self.slots[at];
        if slot.loans > 0 && slot.offset == offset {
            slot.loans -= 1;
            if slot.loans == 0 && !slot.is_kept {
                slot.page = None;
                self.filled.retain(|&filled| filled != at);
            }
            return true;
        }
        let found = self.pages.iter().rposition(|(of, _)| *of == offset);
        found.map(|at| self.pages.swap_remove(at)).is_some()
    }

    /// Drops the guards of pages that were given back, and keeps none of those on loan for longer.
    #[inline]
    pub fn release_kept(&mut self) {
        let slots = &mut self.slots;
        self.filled.retain(|&at| {
            let slot = &mut slots[at];
            (slot.is_kept, slot.is_used) = (false, false);
            if slot.loans == 0 {
                slot.page = None;
            }
            slot.loans > 0
        });
    }

    /// Returns whether one of these bytes is in a page that is lent.
    #[must_use]
    pub fn has_any_of(&self, from: u64, to: u64) -> bool {
        let in_slots = self.slots.iter().filter_map(|slot| Some((slot.offset, slot.page.as_ref()?)));
        in_slots.chain(self.pages.iter().map(|(offset, page)| (*offset, page))).any(|(offset, page)| {
            let begin = offset - offset % page.len() as u64;
            begin < to && from < begin + page.len() as u64
        })
    }
}

#[cfg(test)]
mod tests {
    use ringpool::{BufferPool, FileId, IoMethod, OpenOptions, PageId, testing::SimDisk};

    use super::*;

    const PAGE: u64 = 512;

    fn pool() -> (BufferPool, FileId) {
        let disk = SimDisk::new();
        disk.put("data", vec![1; 16 * PAGE as usize]);
        let builder = BufferPool::builder().frames(16).page_size(PAGE as u32).io_method(IoMethod::Sync);
        let pool = builder.storage(disk).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        (pool, file)
    }

    /// One slot, so that all blocks want the same.
    #[test]
    fn a_guard_is_kept_until_it_is_released_and_a_page_in_use_keeps_its_slot_once() {
        let (pool, file) = pool();
        let mut lent = Lent::new(4, 16);
        let guard = |block| pool.read(PageId::new(file, block)).wait().unwrap();
        let pins = || pool.stats().frames.pins;
        let lend = |lent: &mut Lent, block: u32| {
            lent.lend(u64::from(block) * PAGE, block, guard(block));
        };
        lend(&mut lent, 1);
        assert!(lent.give_back(PAGE, 1));
        assert_eq!((pins(), lent.has_any_of(PAGE, PAGE + 1)), (1, true), "it is kept");
        assert!(lent.lend_again(PAGE, 1).is_some() && lent.lend_again(PAGE, 1).is_some());
        assert!(lent.lend_again(2 * PAGE, 2).is_none());
        lend(&mut lent, 2);
        assert!(lent.give_back(2 * PAGE, 2) && !lent.give_back(2 * PAGE, 2));
        assert_eq!(pins(), 1, "the slot is taken, so the second was not kept");
        assert!(lent.give_back(PAGE, 1) && lent.give_back(PAGE, 1));
        assert!(!lent.give_back(PAGE, 1), "both loans are over");
        lent.lend_again(PAGE, 1).unwrap();
        assert!(lent.give_back(PAGE, 1));
        lend(&mut lent, 2);
        assert!(lent.give_back(2 * PAGE, 2));
        assert!(lent.lend_again(PAGE, 1).is_some(), "it was asked for again");
        assert!(lent.give_back(PAGE, 1));
        lend(&mut lent, 2);
        lend(&mut lent, 3);
        assert!(lent.lend_again(PAGE, 1).is_none(), "two others wanted its slot, and it was not asked for");
        assert!(lent.lend_again(3 * PAGE, 3).is_some());
    }

    #[test]
    fn what_is_on_loan_when_the_transaction_ends_is_not_kept_after_it() {
        let (pool, file) = pool();
        let mut lent = Lent::new(4, 16);
        let guard = |block| pool.read(PageId::new(file, block)).wait().unwrap();
        lent.lend(0, 0, guard(0));
        lent.release_kept();
        assert!(pool.stats().frames.pins == 1 && lent.has_any_of(0, 1), "it is on loan");
        assert!(lent.give_back(0, 0));
        assert_eq!(pool.stats().frames.pins, 0);
        lent.lend(0, 0, guard(0));
        assert!(lent.give_back(0, 0));
        assert_eq!(pool.stats().frames.pins, 1);
        lent.release_kept();
        assert!(pool.stats().frames.pins == 0 && !lent.has_any_of(0, 1) && lent.lend_again(0, 0).is_none());
    }

    #[test]
    fn lent_pages_and_kept_ones_are_bounded_together() {
        let (pool, file) = pool();
        let mut lent = Lent::new(2, 16);
        let guard = |block| pool.read(PageId::new(file, block)).wait().unwrap();
        assert!(lent.has_room());
        lent.lend(0, 0, guard(0));
        lent.lend(PAGE, 1, guard(1));
        assert!(!lent.has_room());
        assert!(lent.give_back(PAGE, 1));
        assert!(lent.has_room());
    }
}
