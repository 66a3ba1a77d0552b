//! Room in registered memory for pages on their way to disk.
//!
//! Write-out copies pages here and writes the copy: neighbours in the file become neighbours in memory, a codec can seal
//! the copy, and who wants to change a page waits for a copy, never for the device. The room is a fixed number of pages at
//! the start of the arena; a bitmap says which are taken. When there is none, the writer waits for an earlier write: that is
//! the back-pressure of write-out.

#![allow(unsafe_code)]

use std::{ptr, slice};

use crate::{
    config::STAGING_PAGES_MAX,
    pool::{frame_pool::FramePool, handle::Pin},
    sync::{Condvar, Mutex},
};

const BITS: usize = 64;

/// Which pages of the room are taken.
struct Bitmap([u64; STAGING_PAGES_MAX / BITS]);

impl Bitmap {
    fn is_taken(&self, page: usize) -> bool {
        self.0[page / BITS] & (1 << (page % BITS)) != 0
    }

    fn set(&mut self, pages: std::ops::Range<usize>, taken: bool) {
        for page in pages {
            let bit = 1 << (page % BITS);
            debug_assert_ne!(self.is_taken(page), taken, "page {page} of staging changes hands twice");
            self.0[page / BITS] ^= bit;
        }
    }

    /// The first stretch of `wanted` free pages among `pages`, or else the longest there is.
    fn find(&self, pages: usize, wanted: usize) -> std::ops::Range<usize> {
        let (mut best, mut start) = (0..0, 0);
        for page in 0..pages {
            if self.is_taken(page) {
                start = page + 1;
            } else if page + 1 - start > best.len() {
                best = start..page + 1;
                if best.len() == wanted {
                    break;
                }
            }
        }
        best
    }
}

pub(crate) struct Staging {
    pages: usize,
    taken: Mutex<Bitmap>,
    freed: Condvar,
}

/// A stretch of the room: the right to the bytes of its pages. Given back by hand, since it does not know its pool.
#[derive(Debug)]
pub(crate) struct StagingRun {
    first: usize,
    pages: usize,
}

impl StagingRun {
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }
}

impl Staging {
    pub(super) fn new(pages: usize) -> Self {
        assert!((1..=STAGING_PAGES_MAX).contains(&pages));
        let bitmap = Bitmap([0; STAGING_PAGES_MAX / BITS]);
        Self { pages, taken: Mutex::new(bitmap), freed: Condvar::new() }
    }

    /// Room for up to `wanted` pages, if there is any at all.
    pub(crate) fn try_take(&self, wanted: usize) -> Option<StagingRun> {
        Self::take_from(&mut self.taken.lock(), self.pages, wanted)
    }

    /// Room for up to `wanted` pages. Waits for writes in flight: call it with nothing in hand that is not submitted.
    pub(crate) fn take(&self, wanted: usize) -> StagingRun {
        let mut taken = self.taken.lock();
        loop {
            if let Some(run) = Self::take_from(&mut taken, self.pages, wanted) {
                return run;
            }
            taken = self.freed.wait(taken);
        }
    }

    fn take_from(taken: &mut Bitmap, pages: usize, wanted: usize) -> Option<StagingRun> {
        let found = taken.find(pages, wanted);
        taken.set(found.clone(), true);
        (!found.is_empty()).then_some(StagingRun { first: found.start, pages: found.len() })
    }

    /// Gives back all but the first `pages` pages.
    pub(crate) fn shrink(&self, run: &mut StagingRun, pages: usize) {
        let (from, to) = (run.first + pages, run.first + run.pages);
        self.taken.lock().set(from..to, false);
        run.pages = pages;
        self.freed.notify_all();
    }

    pub(crate) fn give_back(&self, mut run: StagingRun) {
        self.shrink(&mut run, 0);
    }
}

impl FramePool {
    /// Where in the arena the run's bytes start.
    pub(crate) fn staging_offset(&self, run: &StagingRun) -> usize {
        run.first * self.page_size().bytes()
    }

    /// Copies a frame's bytes into page `index` of the run. The caller holds a latch on the frame.
    pub(crate) fn stage(&self, run: &mut StagingRun, index: usize, latched: &Pin) {
        let size = self.page_size().bytes();
        debug_assert!(index < run.pages && ptr::eq(latched.pool(), self));
        let from = self.address_of(latched.frame_no()).as_ptr();
        let to = self.arena().at(self.staging_offset(run) + index * size).as_ptr();
        // SAFETY: 1. a latch is held, so nobody changes the frame's bytes; 2. the run is borrowed mutably and its pages
        // are nobody else's; 3. frames and staging do not overlap, and both are `size` bytes long.
        unsafe { ptr::copy_nonoverlapping(from, to, size) };
    }

    /// All pages of the run.
    pub(crate) fn staged<'a>(&'a self, run: &'a StagingRun) -> &'a [u8] {
        let address = self.arena().at(self.staging_offset(run)).as_ptr();
        // SAFETY: the run's pages are nobody else's, it is borrowed, and the arena is initialised memory.
        unsafe { slice::from_raw_parts(address, run.pages * self.page_size().bytes()) }
    }

    /// Page `index` of the run, for a codec to seal.
    pub(crate) fn staged_mut<'a>(&'a self, run: &'a mut StagingRun, index: usize) -> &'a mut [u8] {
        let size = self.page_size().bytes();
        debug_assert!(index < run.pages);
        let address = self.arena().at(self.staging_offset(run) + index * size).as_ptr();
        // SAFETY: the run's pages are nobody else's, it is borrowed mutably, and the arena is initialised memory.
        unsafe { slice::from_raw_parts_mut(address, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_in_stretches_and_never_twice() {
        let staging = Staging::new(10);
        let first = staging.try_take(4).unwrap();
        let second = staging.try_take(4).unwrap();
        let rest = staging.try_take(4).unwrap();
        assert_eq!([first.pages, second.pages, rest.pages], [4, 4, 2]);
        assert!(staging.try_take(1).is_none());
        staging.give_back(first);
        let again = staging.try_take(3).unwrap();
        assert_eq!((again.first, again.pages), (0, 3));
        staging.give_back(second);
        staging.give_back(again);
        staging.give_back(rest);
        assert_eq!(staging.try_take(STAGING_PAGES_MAX).unwrap().pages, 10);
    }

    #[test]
    fn a_run_that_shrinks_leaves_its_tail_to_others() {
        let staging = Staging::new(8);
        let mut run = staging.try_take(8).unwrap();
        staging.shrink(&mut run, 3);
        assert_eq!(staging.try_take(8).unwrap().pages, 5);
    }

    #[test]
    fn who_finds_no_room_gets_it_when_a_write_ends() {
        let staging = Staging::new(1);
        let run = staging.try_take(1).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| staging.take(1).pages);
            staging.give_back(run);
            assert_eq!(waiting.join().unwrap(), 1);
        });
    }
}
