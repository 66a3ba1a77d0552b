//! Room in registered memory for the copies that a codec seals: a fixed number of pages at the start of the arena, none without a codec.
//!
//! Copies of neighbours are made in stretches. A writer that finds no room waits for an earlier write: that is the back-pressure of
//! sealed writes. A fetch does not: dirty victims without room are to it [as those that are being written](CopyRoom::has_room_for), and
//! the first room that is given back wakes the line for frames.
//!
//! **No file has them all** (C6): its writes may not come back. A file gets a stretch only if it then has at most three quarters
//! of what the other files leave, or one page.

use std::mem;

use crate::{
    id::FileId,
    sync::{Condvar, Mutex},
};

/// The fewest pages, where there are any: three for one file, and one for another.
pub(crate) const COPIES_MIN: usize = 4;

/// The most pages, so that one run of them is one registered buffer.
pub(crate) const COPIES_MAX: usize = 256;

/// Returns how many more a file may have, of which it has `own` and `left` are free: it has at most three quarters of what the other
/// files leave, or one.
pub(crate) fn left_to_one(left: usize, own: usize) -> usize {
    ((left + own) * 3 / 4).max(1).saturating_sub(own).min(left)
}

struct Owners {
    pages: Box<[Option<FileId>]>,
    /// Whether a caller that does not wait has found no room since some was last given back.
    is_wanted: bool,
}

impl Owners {
    fn left_for(&self, file: FileId) -> usize {
        let free = self.pages.iter().filter(|owner| owner.is_none()).count();
        let own = self.pages.iter().filter(|&&owner| owner == Some(file)).count();
        if seeded!("one_file_has_all_copies") { free } else { left_to_one(free, own) }
    }

    /// Returns the first stretch of `wanted` free pages, or else the longest there is.
    fn find(&self, wanted: usize) -> std::ops::Range<usize> {
        let (mut best, mut start) = (0..0, 0);
        for page in 0..self.pages.len() {
            if best.len() == wanted {
                break;
            } else if self.pages[page].is_some() {
                start = page + 1;
            } else if page + 1 - start > best.len() {
                best = start..page + 1;
            }
        }
        best
    }
}

pub(crate) struct CopyRoom {
    /// Whether pages are written as copies.
    is_used: bool,
    owners: Mutex<Owners>,
    freed: Condvar,
}

/// A stretch of the room: the right to its bytes. Given back by hand, since it does not know its pool.
#[derive(Debug)]
pub(crate) struct CopyRun {
    pub(super) first: usize,
    pub(crate) pages: usize,
}

impl CopyRoom {
    pub(crate) fn new(pages: usize) -> Self {
        assert!(pages <= COPIES_MAX);
        let owners = Owners { pages: vec![None; pages].into(), is_wanted: false };
        Self { is_used: pages > 0, owners: Mutex::new(owners), freed: Condvar::new() }
    }

    pub(crate) fn try_take(&self, wanted: usize, file: FileId) -> Option<CopyRun> {
        let mut owners = self.owners.lock();
        let found = owners.find(wanted.min(owners.left_for(file)));
        for page in found.clone() {
            assert!(owners.pages[page].replace(file).is_none(), "room {page} for a copy is taken twice");
        }
        owners.is_wanted |= found.is_empty();
        (!found.is_empty()).then_some(CopyRun { first: found.start, pages: found.len() })
    }

    /// Returns whether a page of the file can be written without a wait. If not, [`shrink`](Self::shrink) tells of the next that can.
    pub(crate) fn has_room_for(&self, file: FileId) -> bool {
        if !self.is_used {
            return true;
        }
        let mut owners = self.owners.lock();
        let has_room = owners.left_for(file) > 0;
        owners.is_wanted |= !has_room;
        has_room
    }

    /// Waits for writes in flight, until there is room for a page of the file; another writer may take it first. The caller must
    /// hold nothing that is not submitted, and no latch.
    pub(crate) fn wait_for_room(&self, file: FileId) {
        let mut owners = self.owners.lock();
        while owners.left_for(file) == 0 {
            owners = self.freed.wait(owners);
        }
    }

    /// Shrinks the run to its first `pages` pages. Returns whether a caller that does not wait has wanted room since some was last freed.
    #[must_use]
    pub(super) fn shrink(&self, run: &mut CopyRun, pages: usize) -> bool {
        let (from, to) = (run.first + pages, run.first + run.pages);
        if from == to {
            return false;
        }
        let mut owners = self.owners.lock();
        for page in from..to {
            assert!(owners.pages[page].take().is_some(), "room {page} for a copy is given back twice");
        }
        let is_wanted = mem::take(&mut owners.is_wanted);
        drop(owners);
        run.pages = pages;
        self.freed.notify_all();
        is_wanted
    }

    pub(crate) fn taken(&self) -> Vec<usize> {
        let owners = self.owners.lock();
        (0..owners.pages.len()).filter(|&page| owners.pages[page].is_some()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    const ONE: FileId = FileId(1);

    fn give_back(room: &CopyRoom, mut run: CopyRun) -> bool {
        room.shrink(&mut run, 0)
    }

    #[test]
    fn room_is_given_in_stretches_and_never_twice() {
        let room = CopyRoom::new(12);
        let first = room.try_take(4, ONE).unwrap();
        let second = room.try_take(4, ONE).unwrap();
        let rest = room.try_take(4, ONE).unwrap();
        assert_eq!([first.pages, second.pages, rest.pages], [4, 4, 1]);
        assert!(room.try_take(1, ONE).is_none());
        let _ = give_back(&room, first);
        let again = room.try_take(3, ONE).unwrap();
        assert_eq!((again.first, again.pages), (0, 3));
        let _ = give_back(&room, second);
        let _ = give_back(&room, again);
        let _ = give_back(&room, rest);
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
        assert!(!room.shrink(&mut run, 3), "no caller wanted any");
        assert_eq!((run.pages, room.try_take(8, ONE).unwrap().pages), (3, 3));
    }

    #[test]
    fn room_that_was_wanted_is_announced_once_when_it_is_given_back() {
        let room = CopyRoom::new(2);
        let runs = [(); 2].map(|()| room.try_take(1, ONE));
        let [Some(first), None] = runs else { panic!("one file has one of two: {runs:?}") };
        assert!(give_back(&room, first), "the second try wanted it");
        let [first, second] = [ONE, FileId(2)].map(|file| room.try_take(1, file).unwrap());
        assert!(!give_back(&room, first), "there was room for each");
        assert!(room.has_room_for(FileId(3)));
        let first = room.try_take(1, ONE).unwrap();
        assert!(!room.has_room_for(FileId(3)) && give_back(&room, second) && !give_back(&room, first));
        assert!(CopyRoom::new(0).has_room_for(ONE), "no page is copied");
    }

    #[test]
    fn a_writer_that_finds_no_room_gets_it_when_a_write_ends() {
        let room = CopyRoom::new(1);
        let run = room.try_take(1, ONE).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| room.wait_for_room(FileId(2)));
            thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished(), "there is no room");
            let _ = give_back(&room, run);
            waiting.join().unwrap();
            assert!(room.try_take(1, ONE).is_some());
        });
    }
}
