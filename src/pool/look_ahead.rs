//! The share of the frames that looking ahead may hold, so that it never starves those who need a page now.
//!
//! Every page that is read ahead has a place in the share: from the start of its read to its end where nobody holds it
//! (prefetch), else for as long as the one who looks ahead has it pinned (a read stream). Whoever lets go of a page that is
//! still being read leaves the place to the read ([`Pin::leave_unattended`](super::handle::Pin::leave_unattended)).

use crate::sync::atomic::{AtomicUsize, Ordering};

pub(crate) struct LookAhead {
    taken: AtomicUsize,
    limit: AtomicUsize,
}

impl LookAhead {
    /// Three quarters of the frames, but one where there is only one.
    pub(super) fn new(frames: u32) -> Self {
        Self { taken: AtomicUsize::new(0), limit: AtomicUsize::new(share_of(frames)) }
    }

    /// From here on it is a share of so many frames. Places that are taken beyond it are given back when their time comes.
    pub(super) fn resize(&self, frames: u32) {
        self.limit.store(share_of(frames), Ordering::Relaxed);
    }

    /// Takes so many places, or as many as are left: how many that is.
    pub(crate) fn take(&self, places: usize) -> usize {
        let taken = self.taken.fetch_add(places, Ordering::Relaxed);
        let granted = self.limit().saturating_sub(taken).min(places);
        if granted < places {
            self.give_back(places - granted);
        }
        granted
    }

    pub(crate) fn give_back(&self, places: usize) {
        let taken = self.taken.fetch_sub(places, Ordering::Relaxed);
        assert!(taken >= places, "{places} places of look-ahead given back, of {taken} that were taken");
    }

    /// Places that are taken now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// All places.
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

    #[test]
    fn look_ahead_gets_its_share_and_no_more() {
        for (frames, share) in [(1, 1), (2, 1), (3, 2), (16, 12)] {
            let look_ahead = LookAhead::new(frames);
            assert_eq!((0..100).filter(|_| look_ahead.take(1) == 1).count(), share, "{frames} frames");
            assert_eq!(look_ahead.taken(), share);
            look_ahead.give_back(1);
            assert_eq!((look_ahead.take(5), look_ahead.take(5)), (1, 0), "what is left, and then nothing");
            assert_eq!(look_ahead.taken(), share);
        }
    }

    #[test]
    fn a_share_that_shrinks_takes_no_place_away_and_grants_none_until_there_is_one() {
        let look_ahead = LookAhead::new(16);
        assert_eq!(look_ahead.take(10), 10);
        look_ahead.resize(8);
        assert_eq!(look_ahead.take(1), 0);
        look_ahead.give_back(5);
        assert_eq!((look_ahead.take(3), look_ahead.taken()), (1, 6));
    }
}
