//! Room in registered memory for the copies that a codec seals.
//!
//! A fixed number of pages at the start of the arena; none in a pool without a codec, whose pages are written [from their
//! frames](super::shadow). Copies of neighbours are made in stretches. A writer that wants a stretch and finds none waits for an
//! earlier write: that is the back-pressure of sealed writes.
//!
//! **No file has them all** (C6): its writes may not come back. A file gets a stretch only if it then has at most three quarters
//! of what the other files leave. So each further file whose writes do not come back takes three quarters of what is left, and
//! one page as long as any is free.

use crate::{
    id::FileId,
    sync::{Condvar, Mutex},
};

/// The fewest pages, where there are any: three for one file, and one for another.
pub(crate) const COPIES_MIN: usize = 4;

/// The most pages, so that one run of them is one registered buffer.
pub(crate) const COPIES_MAX: usize = 256;

/// The files that have the pages, by their numbers.
struct Owners(Box<[Option<FileId>]>);

impl Owners {
    fn is_taken(&self, page: usize) -> bool {
        self.0[page].is_some()
    }

    fn take(&mut self, pages: std::ops::Range<usize>, file: FileId) {
        for page in pages {
            assert!(self.0[page].replace(file).is_none(), "room {page} for a copy is taken twice");
        }
    }

    fn give_back(&mut self, pages: std::ops::Range<usize>) {
        for page in pages {
            assert!(self.0[page].take().is_some(), "room {page} for a copy is given back twice");
        }
    }

    /// Returns how many more pages the file may have.
    fn left_for(&self, file: FileId) -> usize {
        let free = self.0.iter().filter(|owner| owner.is_none()).count();
        let own = self.0.iter().filter(|&&owner| owner == Some(file)).count();
        let share = if seeded!("one_file_has_all_copies") { free + own } else { (free + own) * 3 / 4 };
        share.max(1).saturating_sub(own).min(free)
    }

    /// Returns the first stretch of `wanted` free pages, or else the longest there is.
    fn find(&self, wanted: usize) -> std::ops::Range<usize> {
        let (mut best, mut start) = (0..0, 0);
        for page in (0..self.0.len()).take_while(|_| wanted > 0) {
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

pub(crate) struct CopyRoom {
    owners: Mutex<Owners>,
    freed: Condvar,
}

/// A stretch of the room: the right to its bytes. Given back by hand, since it does not know its pool.
#[derive(Debug)]
pub(crate) struct CopyRun {
    first: usize,
    pages: usize,
}

impl CopyRun {
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// Returns the number of its first page.
    pub(crate) fn first(&self) -> usize {
        self.first
    }
}

impl CopyRoom {
    pub(crate) fn new(pages: usize) -> Self {
        assert!(pages <= COPIES_MAX);
        Self { owners: Mutex::new(Owners(vec![None; pages].into())), freed: Condvar::new() }
    }

    /// Takes room for up to `wanted` pages of the file, if there is any at all.
    pub(crate) fn try_take(&self, wanted: usize, file: FileId) -> Option<CopyRun> {
        let mut owners = self.owners.lock();
        let found = owners.find(wanted.min(owners.left_for(file)));
        owners.take(found.clone(), file);
        (!found.is_empty()).then_some(CopyRun { first: found.start, pages: found.len() })
    }

    /// Waits for writes in flight, until there is room for a page of the file; another writer may take it first. The caller must
    /// hold nothing that is not submitted, and no latch.
    pub(crate) fn wait_for_room(&self, file: FileId) {
        let mut owners = self.owners.lock();
        while owners.left_for(file) == 0 {
            owners = self.freed.wait(owners);
        }
    }

    /// Shrinks the run to its first `pages` pages, and frees the others.
    pub(crate) fn shrink(&self, run: &mut CopyRun, pages: usize) {
        let (from, to) = (run.first + pages, run.first + run.pages);
        self.owners.lock().give_back(from..to);
        run.pages = pages;
        self.freed.notify_all();
    }

    pub(crate) fn give_back(&self, mut run: CopyRun) {
        self.shrink(&mut run, 0);
    }

    /// Returns the numbers of the pages that are taken.
    pub(crate) fn taken(&self) -> Vec<usize> {
        let owners = self.owners.lock();
        (0..owners.0.len()).filter(|&page| owners.is_taken(page)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    const ONE: FileId = FileId(1);

    #[test]
    fn room_is_given_in_stretches_and_never_twice() {
        let room = CopyRoom::new(12);
        let first = room.try_take(4, ONE).unwrap();
        let second = room.try_take(4, ONE).unwrap();
        let rest = room.try_take(4, ONE).unwrap();
        assert_eq!([first.pages, second.pages, rest.pages], [4, 4, 1]);
        assert!(room.try_take(1, ONE).is_none());
        room.give_back(first);
        let again = room.try_take(3, ONE).unwrap();
        assert_eq!((again.first, again.pages), (0, 3));
        room.give_back(second);
        room.give_back(again);
        room.give_back(rest);
        assert_eq!(room.try_take(COPIES_MAX, ONE).unwrap().pages, 9);
        assert!(room.taken().into_iter().eq(0..9));
    }

    #[test]
    fn c6_files_that_take_all_they_can_get_leave_something_for_the_next() {
        let room = CopyRoom::new(COPIES_MAX);
        let taken = (1..=6).map_while(|file| {
            let runs = std::iter::from_fn(|| room.try_take(16, FileId(file)));
            Some(runs.map(|run| run.pages).sum::<usize>()).filter(|&pages| pages > 0)
        });
        assert!(taken.eq([192, 48, 12, 3, 1]));
        let smallest = CopyRoom::new(1);
        assert_eq!(smallest.try_take(4, ONE).unwrap().pages, 1);
    }

    #[test]
    fn a_run_that_shrinks_leaves_its_tail_to_others() {
        let room = CopyRoom::new(8);
        let mut run = room.try_take(8, ONE).unwrap();
        room.shrink(&mut run, 3);
        assert_eq!((run.pages, room.try_take(8, ONE).unwrap().pages), (3, 3));
    }

    #[test]
    fn a_writer_that_finds_no_room_gets_it_when_a_write_ends() {
        let room = CopyRoom::new(1);
        let run = room.try_take(1, ONE).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| room.wait_for_room(FileId(2)));
            thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished(), "there is no room");
            room.give_back(run);
            waiting.join().unwrap();
            assert!(room.try_take(1, ONE).is_some());
        });
    }
}
