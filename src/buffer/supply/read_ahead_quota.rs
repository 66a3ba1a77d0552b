//! The quota of frames that look-ahead may hold, so that it never starves fetches that need a page now.
//!
//! A page that is read ahead has its place without a pin (prefetch) until its read ends; with one (a read stream), for as long as the
//! stream has it pinned. A stream that lets go of a page that is still being read leaves the place to the read. **No file has them
//! all** (C6): its reads may not come back. A file that is not open alone gets [its share](left_to_one) at most.

use crate::{
    buffer::frame::copy_room::left_to_one,
    id::FileId,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Files are counted apart by the last bits of their numbers. Those that agree in these share what one may have.
const FILES: usize = if cfg!(loom) { 1 } else { 256 };

pub(crate) struct ReadAheadQuota {
    taken: AtomicUsize,
    by_file: Box<[AtomicUsize]>,
    limit: AtomicUsize,
}

/// Places that were taken for pages of a file, and not used yet. Those that are left are given back when this is dropped.
pub(crate) struct UnusedPlaces<'q> {
    quota: &'q ReadAheadQuota,
    file: FileId,
    places: usize,
}

impl UnusedPlaces<'_> {
    pub(crate) fn use_one(&mut self) {
        self.places -= 1;
    }
}

impl Drop for UnusedPlaces<'_> {
    fn drop(&mut self) {
        if self.places > 0 {
            self.quota.give_back(self.file, self.places);
        }
    }
}

impl ReadAheadQuota {
    /// Makes a quota of three quarters of the frames, or one place where there is only one frame.
    pub(crate) fn new(frames: u32) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            by_file: (0..FILES).map(|_| AtomicUsize::new(0)).collect(),
            limit: AtomicUsize::new(share_of(frames)),
        }
    }

    /// Makes it a quota of `frames` frames. Places that are taken beyond it are given back when their time comes.
    pub(crate) fn resize(&self, frames: u32) {
        self.limit.store(share_of(frames), Ordering::Relaxed);
    }

    /// Takes up to `places` places for pages of the file, and returns how many it took. `is_alone`: no other file is open.
    pub(crate) fn take(&self, file: FileId, places: usize, is_alone: bool) -> usize {
        let [all, own] = [&self.taken, self.of(file)].map(|taken| taken.fetch_add(places, Ordering::Relaxed));
        let left = self.limit().saturating_sub(all);
        let has_all = is_alone || seeded!("one_file_has_all_places_ahead");
        let granted = if has_all { left } else { left_to_one(left, own) }.min(places);
        self.give_back(file, places - granted);
        granted
    }

    pub(crate) fn unused(&self, file: FileId, places: usize) -> UnusedPlaces<'_> {
        UnusedPlaces { quota: self, file, places }
    }

    pub(crate) fn give_back(&self, file: FileId, places: usize) {
        for taken in [&self.taken, self.of(file)] {
            let before = taken.fetch_sub(places, Ordering::Relaxed);
            assert!(
                before >= places,
                "{places} places of look-ahead given back, of {before} that were taken"
            );
        }
    }

    fn of(&self, file: FileId) -> &AtomicUsize {
        &self.by_file[file.0 as usize % FILES]
    }

    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.by_file)
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }
}

fn share_of(frames: u32) -> usize {
    let frames = frames as usize;
    if seeded!("look_ahead_takes_all") { frames } else { (frames * 3 / 4).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileId = FileId(7);

    #[test]
    fn look_ahead_gets_its_share_and_no_more() {
        for (frames, share) in [(1, 1), (2, 1), (3, 2), (16, 12)] {
            let look_ahead = ReadAheadQuota::new(frames);
            let take = |places| look_ahead.take(FILE, places, true);
            assert_eq!((0..100).filter(|_| take(1) == 1).count(), share, "{frames} frames");
            assert_eq!(look_ahead.taken(), share);
            look_ahead.give_back(FILE, 1);
            assert_eq!((take(5), take(5)), (1, 0), "what is left, and then nothing");
            assert_eq!(look_ahead.taken(), share);
        }
    }

    #[test]
    fn c6_each_file_leaves_a_quarter_of_what_others_have_left() {
        let look_ahead = ReadAheadQuota::new(64);
        let all = [0, 1, 2].map(|file| look_ahead.take(FileId(file), 100, false));
        assert_eq!(all, [36, 9, 2], "of 48, 12 and 3");
        let more = [0, 1, 2, 3].map(|file| look_ahead.take(FileId(file), 100, false));
        assert_eq!(more, [0, 0, 0, 1], "one place, as long as any is free");
        assert_eq!((look_ahead.taken(), look_ahead.take(FileId(4), 1, false)), (48, 0));
        look_ahead.give_back(FileId(0), 36);
        assert_eq!(look_ahead.take(FileId(1), 100, false), 24, "it has 9, of three quarters of 45");
        for file in [0, 1, 2] {
            let look_ahead = ReadAheadQuota::new(1);
            assert_eq!(look_ahead.take(FileId(file), 2, false), 1);
        }
    }

    #[test]
    fn a_share_that_shrinks_takes_no_place_away_and_grants_none_until_there_is_one() {
        let look_ahead = ReadAheadQuota::new(16);
        let take = |places| look_ahead.take(FILE, places, true);
        assert_eq!(take(10), 10);
        look_ahead.resize(8);
        assert_eq!(take(1), 0);
        look_ahead.give_back(FILE, 5);
        assert_eq!((take(3), look_ahead.taken()), (1, 6));
    }
}
