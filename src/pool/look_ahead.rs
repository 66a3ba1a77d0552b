//! The share of the frames that reading ahead may hold in flight, so that it never starves those who need a page now.

use crate::sync::atomic::{AtomicUsize, Ordering};

pub(crate) struct LookAhead {
    in_flight: AtomicUsize,
    limit: usize,
}

impl LookAhead {
    /// Three quarters of the frames, but one where there is only one.
    pub(super) fn new(frames: u32) -> Self {
        Self { in_flight: AtomicUsize::new(0), limit: (frames as usize * 3 / 4).max(1) }
    }

    /// Takes one place, if one is left.
    pub(crate) fn try_take(&self) -> bool {
        let taken = self.in_flight.fetch_add(1, Ordering::Relaxed);
        if taken >= self.limit {
            self.give_back(1);
        }
        taken < self.limit
    }

    pub(crate) fn give_back(&self, places: usize) {
        self.in_flight.fetch_sub(places, Ordering::Relaxed);
    }

    /// Pages being read ahead now.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_ahead_gets_its_share_and_no_more() {
        for (frames, share) in [(1, 1), (2, 1), (3, 2), (16, 12)] {
            let look_ahead = LookAhead::new(frames);
            assert_eq!((0..100).filter(|_| look_ahead.try_take()).count(), share, "{frames} frames");
            assert_eq!(look_ahead.in_flight(), share);
            look_ahead.give_back(1);
            assert!(look_ahead.try_take() && !look_ahead.try_take());
        }
    }
}
