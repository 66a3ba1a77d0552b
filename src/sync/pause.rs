//! Pauses between tries after failures: twice as long each time, and none after a success. Pure: the clock is the caller's.

use crate::sync::time::{Duration, Instant};

/// The pause after a first failure.
const SHORTEST: Duration = Duration::from_millis(2);

/// The pause after many failures in a row.
const LONGEST: Duration = Duration::from_millis(16);

/// When the next try may be made. At first there is no pause.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pause {
    length: Duration,
    until: Option<Instant>,
}

impl Pause {
    /// Begins the next pause: a try has failed.
    pub(crate) fn lengthen(&mut self, now: Instant) {
        self.lengthen_within([SHORTEST, LONGEST], now);
    }

    /// Begins the next pause, between these two lengths. Returns when it is over.
    pub(crate) fn lengthen_within(&mut self, [shortest, longest]: [Duration; 2], now: Instant) -> Instant {
        self.length = (2 * self.length).clamp(shortest, longest);
        *self.until.insert(now + self.length)
    }

    /// Ends the pause: a try has succeeded.
    pub(crate) fn end(&mut self) {
        *self = Self::default();
    }

    /// Returns whether the caller may try now. A pause is over for one caller: the next one finds another pause of the same length.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        let is_over = self.until.is_none_or(|until| now >= until);
        if is_over {
            self.until = self.until.map(|_| now + self.length);
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::time;

    #[test]
    fn pauses_become_longer_and_each_is_over_for_one_caller() {
        let begun = time::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut pause = Pause::default();
        assert!(pause.is_over(begun) && pause.is_over(begun), "nothing has failed");
        pause.lengthen(begun);
        let asked = [0, 1, 2, 2, 3, 4].map(|millis| pause.is_over(at(millis)));
        assert_eq!(asked, [false, false, true, false, false, true]);
        let lengths = [(); 5].map(|()| {
            pause.lengthen(begun);
            pause.length.as_millis()
        });
        assert_eq!(lengths, [4, 8, 16, 16, 16]);
        pause.end();
        assert!(pause.is_over(begun));
        let range = [10, 30].map(Duration::from_millis);
        let ends = [(); 3].map(|()| (pause.lengthen_within(range, begun) - begun).as_millis());
        assert_eq!(ends, [10, 20, 30]);
    }
}
