//! The number of frames to keep ready: a pure function of how many were wanted lately.
//!
//! The rule is that of PostgreSQL's background writer (`BgBufferSync`): a rise in demand counts at once, a fall only little by
//! little, since misses come in bursts. Enough frames for the demand of two rounds are kept ready, since during the next round as
//! many will be wanted again while its pages are still being written; and always a number between the two marks.

use crate::runtime::config::Marks;

/// In each round a fall in demand counts by one part in this many.
const DECAY: usize = 16;

/// Rounds of demand that are kept ready.
const ROUNDS: usize = 2;

#[derive(Copy, Clone, Debug)]
pub(crate) struct CleanTarget {
    marks: Marks,
    /// Frames a round, in parts of [`DECAY`].
    smoothed: usize,
}

impl CleanTarget {
    pub(crate) fn new(marks: Marks) -> Self {
        Self { marks, smoothed: 0 }
    }

    /// Sets the bounds of the number kept ready from here on.
    pub(crate) fn keep_to(&mut self, marks: Marks) {
        self.marks = marks;
    }

    /// Notes that `wanted` frames were wanted since the last round.
    pub(crate) fn observe(&mut self, wanted: usize) {
        let recent = wanted.saturating_mul(DECAY);
        self.smoothed = recent.max(self.smoothed - (self.smoothed - recent.min(self.smoothed)) / DECAY);
    }

    /// Returns how many frames are to be ready at the end of a round.
    pub(crate) fn target(&self) -> usize {
        let demand = self.smoothed.div_ceil(DECAY).saturating_mul(ROUNDS);
        demand.saturating_add(self.marks.low).min(self.marks.high)
    }

    /// Returns the number of ready frames below which the next round begins.
    pub(crate) fn wake_below(&self) -> usize {
        self.target().div_ceil(2).max(self.marks.low)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARKS: Marks = Marks { low: 16, high: 512 };

    fn after(rounds: impl IntoIterator<Item = usize>) -> CleanTarget {
        let mut pace = CleanTarget::new(MARKS);
        rounds.into_iter().for_each(|wanted| pace.observe(wanted));
        pace
    }

    #[test]
    fn a_rise_is_believed_at_once_and_a_fall_little_by_little() {
        assert_eq!((after([]).target(), after([]).wake_below()), (16, 16));
        assert_eq!((after([100]).target(), after([100]).wake_below()), (216, 108));
        assert_eq!(after([100, 20]).target(), 206, "one part in sixteen of the way from 100 to 20");
        assert_eq!(after([100, 20, 150]).target(), 316);
        assert_eq!(after([100_000]).target(), 512);
        assert!(after([100_000].into_iter().chain([0; 300])).target() < 20);
    }

    #[test]
    fn other_marks_hold_from_the_next_look_on_and_what_is_known_of_the_demand_stays() {
        let mut pace = after([100]);
        pace.keep_to(Marks { low: 1, high: 150 });
        assert_eq!(pace.target(), 150);
        pace.keep_to(Marks { low: 1, high: 1000 });
        assert_eq!(pace.target(), 201);
    }

    proptest! {
        #[test]
        fn the_marks_hold_whatever_is_wanted(
            rounds in prop::collection::vec(any::<usize>(), 0..50), low in 1_usize..1000, above in 0_usize..1000,
        ) {
            let marks = Marks { low, high: low + above };
            let mut pace = CleanTarget::new(marks);
            for wanted in rounds {
                pace.observe(wanted);
                prop_assert!((marks.low..=marks.high).contains(&pace.target()));
                prop_assert!((marks.low..=pace.target()).contains(&pace.wake_below()));
            }
        }
    }
}
