//! Hits, counted [by thread](super::by_thread) and by file.
//!
//! There is a place for each of [`PLACES`] files, by their ids. The table of open files gives a file an [id](free_id) whose place no
//! other open file has, as long as there is one; then the hits of the place, since the file was opened, are the file's. If there is
//! none, files share a place and have no count of their own.

use crate::{
    id::FileId,
    observe::{by_thread::ByThread, thread_index},
};

/// Places for files: as many as there are bits in a word, in 32 KiB of memory.
pub(crate) const PLACES: usize = u64::BITS as usize;

/// The first of the places that further files share when all places are taken: the places before it are not shared.
const FIRST_SHARED: u64 = PLACES as u64 / 2;

pub(crate) struct Hits(ByThread<PLACES>);

impl Hits {
    pub(crate) fn new() -> Self {
        Self(ByThread::new())
    }

    #[inline]
    pub(crate) fn add(&self, file: FileId, n: u64) {
        self.add_by(thread_index::current(), file, n);
    }

    /// Counts `n` more hits of the file by the calling thread, which has that index.
    #[inline]
    pub(crate) fn add_by(&self, thread: usize, file: FileId, n: u64) {
        self.0.add(thread, place_of(file), n);
    }

    pub(crate) fn all(&self) -> u64 {
        (0..PLACES).map(|place| self.0.get(place)).fold(0, u64::wrapping_add)
    }

    /// Returns the hits so far of all files that have had the place of this one.
    pub(crate) fn at_place_of(&self, file: FileId) -> u64 {
        self.0.get(place_of(file))
    }

    pub(crate) fn memory(&self) -> usize {
        self.0.memory()
    }
}

#[inline]
fn place_of(file: FileId) -> usize {
    file.get() as usize % PLACES
}

/// Returns the bit of the file's place in a word of places.
pub(crate) fn place_bit(file: FileId) -> u64 {
    1 << place_of(file)
}

/// How many ids are looked at for a place that is free.
const LOOK_AHEAD: usize = 8;

/// Returns the id for a file that is opened, `next` or a little more: of the next [`LOOK_AHEAD`] the first whose place is not in `taken`;
/// where all of those are, the first in the upper half of the places, taken or not. `None` where the numbers are used up.
pub(crate) fn free_id(next: u32, taken: u64) -> Option<FileId> {
    let place = |id: u64| id % PLACES as u64;
    let is_free = |&id: &u64| taken >> place(id) & 1 == 0;
    let mut near = (u64::from(next)..).take(LOOK_AHEAD);
    let id = near.find(is_free).or_else(|| (u64::from(next)..).find(|&id| place(id) >= FIRST_SHARED))?;
    // The highest number stands for no file.
    u32::try_from(id).ok().filter(|&id| id != u32::MAX).map(FileId)
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;
    use crate::observe::by_thread::ROWS;

    #[test]
    fn no_hit_is_lost_however_many_threads_there_are_at_once() {
        const HITS: u64 = 20_000;
        let threads = ROWS as u32 + 20;
        let (hits, all_are_there) = (Hits::new(), Barrier::new(threads as usize));
        for _ in 0..2 {
            thread::scope(|scope| {
                for thread in 0..threads {
                    let (hits, all_are_there) = (&hits, &all_are_there);
                    // Those that have no row share one.
                    scope.spawn(move || {
                        thread_index::current();
                        all_are_there.wait();
                        (0..HITS).for_each(|_| hits.add(FileId(thread % 2), 1));
                    });
                }
            });
        }
        let half = u64::from(threads) * HITS;
        let of = |file| hits.at_place_of(FileId(file));
        assert_eq!((of(0), of(1), of(2), hits.all()), (half, half, 0, 2 * half));
    }

    #[test]
    fn a_file_gets_a_place_of_its_own_as_long_as_there_is_one() {
        let id = |next, taken| free_id(next, taken).map(FileId::get);
        assert_eq!([id(0, 0), id(7, 0), id(64, 0)], [Some(0), Some(7), Some(64)]);
        assert_eq!([id(64, 0b1), id(64, 0b1011), id(63, 1 << 63)], [Some(65), Some(66), Some(64)]);
        assert_eq!(id(62, !(1 << 5)), Some(69), "the only one that is free");
        assert_eq!([id(61, !(1 << 5)), id(70, !(1 << 5))], [Some(61), Some(96)], "that one is too far ahead");
        let all = u64::MAX;
        assert_eq!(
            [id(0, all), id(40, all), id(64, all), id(127, all)],
            [Some(32), Some(40), Some(96), Some(127)]
        );
        let last = u32::MAX - 1;
        assert_eq!([id(last, 0), id(last, 1 << 62), id(u32::MAX, 0)], [Some(last), None, None]);
    }

    #[test]
    fn a_file_that_is_opened_again_and_again_beside_63_others_takes_few_ids() {
        const OPENINGS: u32 = 1000;
        for free in 0..PLACES {
            let others = !(1 << free);
            let next = (0..OPENINGS).fold(64, |next, _| free_id(next, others).unwrap().get() + 1);
            assert!(next < 8 * OPENINGS, "{next} ids for {OPENINGS} openings, where {free} is free");
        }
    }
}
