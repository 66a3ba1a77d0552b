//! Spare pages in registered memory: for the bytes of a page of which one version is on its way to disk.
//!
//! A fixed number of pages at the start of the arena; a bitmap says which are taken. Who wants to change a page that the
//! device is reading moves it to one of them, if there is one (see [`lending`](crate::pool::lending)), and copies for a codec to
//! seal are made in stretches of them. Where a stretch is wanted and there is none, the writer waits for an earlier write: that
//! is the back-pressure of sealed writes.

use crate::{
    config::SPARE_PAGES_MAX,
    sync::{Condvar, Mutex},
};

const BITS: usize = 64;

/// Which pages of the room are taken.
struct Bitmap([u64; SPARE_PAGES_MAX.div_ceil(BITS)]);

impl Bitmap {
    fn is_taken(&self, page: usize) -> bool {
        self.0[page / BITS] & (1 << (page % BITS)) != 0
    }

    fn set(&mut self, pages: std::ops::Range<usize>, taken: bool) {
        for page in pages {
            let bit = 1 << (page % BITS);
            assert_ne!(self.is_taken(page), taken, "spare page {page} changes hands twice");
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

pub(crate) struct Spares {
    pages: usize,
    taken: Mutex<Bitmap>,
    freed: Condvar,
}

/// A stretch of spare pages: the right to their bytes. Given back by hand, since it does not know its pool.
#[derive(Debug)]
pub(crate) struct SpareRun {
    first: usize,
    pages: usize,
}

impl SpareRun {
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// The number of its first page.
    pub(super) fn first(&self) -> usize {
        self.first
    }
}

impl Spares {
    pub(super) fn new(pages: usize) -> Self {
        assert!((1..=SPARE_PAGES_MAX).contains(&pages));
        let bitmap = Bitmap([0; SPARE_PAGES_MAX.div_ceil(BITS)]);
        Self { pages, taken: Mutex::new(bitmap), freed: Condvar::new() }
    }

    /// Room for up to `wanted` pages, if there is any at all.
    pub(crate) fn try_take(&self, wanted: usize) -> Option<SpareRun> {
        let mut taken = self.taken.lock();
        let found = taken.find(self.pages, wanted);
        taken.set(found.clone(), true);
        (!found.is_empty()).then_some(SpareRun { first: found.start, pages: found.len() })
    }

    /// Waits for writes in flight, until there is room for a page; somebody else may take it first. Call it with nothing in hand that
    /// is not submitted, and no latch.
    pub(crate) fn wait_for_room(&self) {
        let mut taken = self.taken.lock();
        while taken.find(self.pages, 1).is_empty() {
            taken = self.freed.wait(taken);
        }
    }

    /// Gives back all but the first `pages` pages.
    pub(crate) fn shrink(&self, run: &mut SpareRun, pages: usize) {
        let (from, to) = (run.first + pages, run.first + run.pages);
        self.taken.lock().set(from..to, false);
        run.pages = pages;
        self.freed.notify_all();
    }

    pub(crate) fn give_back(&self, mut run: SpareRun) {
        self.shrink(&mut run, 0);
    }

    /// The numbers of the pages that are taken.
    pub(super) fn taken(&self) -> Vec<usize> {
        let taken = self.taken.lock();
        (0..self.pages).filter(|&page| taken.is_taken(page)).collect()
    }

    /// One page, for the bytes of a frame: its number.
    pub(super) fn try_take_page(&self) -> Option<usize> {
        self.try_take(1).map(|run| run.first)
    }

    pub(super) fn give_back_page(&self, number: usize) {
        self.give_back(SpareRun { first: number, pages: 1 });
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    #[test]
    fn room_is_given_in_stretches_and_never_twice() {
        let spares = Spares::new(10);
        let first = spares.try_take(4).unwrap();
        let second = spares.try_take(4).unwrap();
        let rest = spares.try_take(4).unwrap();
        assert_eq!([first.pages, second.pages, rest.pages], [4, 4, 2]);
        assert!(spares.try_take(1).is_none());
        spares.give_back(first);
        let again = spares.try_take(3).unwrap();
        assert_eq!((again.first, again.pages), (0, 3));
        spares.give_back(second);
        spares.give_back(again);
        spares.give_back(rest);
        assert_eq!(spares.try_take(SPARE_PAGES_MAX).unwrap().pages, 10);
    }

    #[test]
    fn a_run_that_shrinks_leaves_its_tail_to_others() {
        let spares = Spares::new(8);
        let mut run = spares.try_take(8).unwrap();
        spares.shrink(&mut run, 3);
        assert_eq!(spares.try_take(8).unwrap().pages, 5);
    }

    #[test]
    fn who_finds_no_room_gets_it_when_a_write_ends() {
        let spares = Spares::new(1);
        let run = spares.try_take(1).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| spares.wait_for_room());
            thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished(), "there is no room");
            spares.give_back(run);
            waiting.join().unwrap();
            assert!(spares.try_take(1).is_some());
        });
    }
}
