//! How many reads ahead the worker has in flight: told once, or found by the [`DepthSearch`], for which the work is measured here.
//!
//! A stretch of work is measured from when requests under its limit have taken the place of those before it. The clock is read
//! once for each look at the completions, and not at all while there is hardly anything to hold back.

use super::ring::Reaped;
use crate::{
    io::{
        backlog::{
            depth_search::{DepthSearch, Stretch},
            share,
        },
        options::BackgroundDepth,
    },
    sync::time::{self, Duration, Instant},
};

/// Requests of a stretch, at least.
const STRETCH: u64 = 256;

/// With fewer reads ahead than this, in flight and waiting, there is nothing to find out.
const HARDLY_ANY: usize = 4;

/// The limit of reads ahead.
pub(super) enum DepthController {
    Fixed(usize),
    Sought(Box<SearchRun>),
}

/// A search for the knee, and what is measured for it.
pub(super) struct SearchRun {
    knee: DepthSearch,
    stretch: Running,
}

/// A stretch that is being measured.
struct Running {
    /// So many requests of before are still to come out.
    before: u64,
    begun: Option<Instant>,
    measured: Stretch,
}

impl DepthController {
    pub(super) fn new(wanted: BackgroundDepth, depth: usize) -> Self {
        match wanted {
            BackgroundDepth::AtMost(requests) => Self::Fixed(requests as usize),
            BackgroundDepth::Adaptive => {
                let knee = DepthSearch::new(share(depth) as u32);
                let stretch = Running::after(u64::from(knee.limit()));
                Self::Sought(Box::new(SearchRun { knee, stretch }))
            }
        }
    }

    /// The limit now.
    pub(super) fn limit(&self) -> usize {
        match self {
            Self::Fixed(limit) => *limit,
            Self::Sought(search) => search.knee.limit() as usize,
        }
    }

    /// Takes what came out of the ring, and how many reads ahead were in flight or waiting then. Gives the limit if it is
    /// another one from here on.
    pub(super) fn note(&mut self, reaped: Reaped, load: usize) -> Option<usize> {
        let Self::Sought(search) = self else { return None };
        let SearchRun { knee, stretch } = &mut **search;
        let limit = knee.limit();
        if load < HARDLY_ANY {
            *stretch = Running::after(u64::from(limit));
            return None;
        }
        let over = stretch.note(reaped, load, time::now())?;
        knee.observe(&over);
        let next = knee.limit();
        *stretch = Running::after(if next == limit { 0 } else { u64::from(limit.max(next)) });
        (next != limit).then_some(next as usize)
    }
}

impl Running {
    /// A stretch that begins after so many requests.
    fn after(before: u64) -> Self {
        let measured = Stretch { requests: 0, bytes: 0, took: Duration::ZERO, load: u32::MAX };
        Self { before, begun: None, measured }
    }

    /// Gives the stretch when it is long enough.
    fn note(&mut self, reaped: Reaped, load: usize, now: Instant) -> Option<Stretch> {
        let Some(begun) = self.begun else {
            self.before = self.before.saturating_sub(reaped.completions);
            if self.before == 0 {
                self.begun = Some(now);
            }
            return None;
        };
        self.measured.requests += reaped.completions;
        self.measured.bytes += reaped.bytes;
        self.measured.load = self.measured.load.min(load as u32);
        self.measured.took = now.saturating_duration_since(begun);
        (self.measured.requests >= STRETCH).then_some(self.measured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_flight_before_is_not_measured() {
        let mut stretch = Running::after(100);
        let start = time::now();
        let reaped = |completions| Reaped { completions, bytes: completions * 8192 };
        let at = |millis| start + Duration::from_millis(millis);
        assert!(stretch.note(reaped(60), 300, at(0)).is_none());
        assert!(stretch.note(reaped(60), 300, at(10)).is_none());
        assert!(stretch.note(reaped(STRETCH - 1), 200, at(15)).is_none());
        let over = stretch.note(reaped(9), 250, at(20)).expect("it is long enough");
        assert_eq!((over.requests, over.bytes), (STRETCH + 8, (STRETCH + 8) * 8192));
        assert_eq!((over.took, over.load), (Duration::from_millis(10), 200));
    }

    #[test]
    fn a_told_limit_stays() {
        let mut pace = DepthController::new(BackgroundDepth::AtMost(7), 256);
        assert_eq!(pace.limit(), 7);
        let much = Reaped { completions: 10_000, bytes: 1 << 30 };
        assert!((0..1000).all(|_| pace.note(much, 300).is_none()));
        assert_eq!(
            DepthController::new(BackgroundDepth::Adaptive, 256).limit(),
            192,
            "it begins at the most"
        );
    }
}
