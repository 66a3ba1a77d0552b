//! How many reads ahead are enough: the knee of a device, found while it works. Pure: no clock, no I/O.
//!
//! With more requests in flight a device gets faster until its parallelism is used up; from there on (the knee) throughput
//! stays and every request just waits longer (Little's law), those that somebody waits for as well. Where the knee is
//! depends on the device, the size of requests and who else uses it, and no device says it. So it is found by trial: for a
//! while, short stretches of work with fewer reads in flight alternate with stretches at the most there may be, and the
//! ratio of their rates, pair by pair, says what the lower limit costs. Pairs, because a device's rate drifts; the median of
//! many, because single stretches are disturbed; always against the most, so that small losses do not add up step by step.
//!
//! The search begins at the most, so that it never costs what it has not measured to be nothing, and goes down the ladder
//! while that loses less than one per cent. Then it rests, longer and longer, checks that the rung still holds, and goes
//! up again where it does not. Stretches in which there was too little to do say nothing and are left out. Requests of
//! different sizes have different knees, so each class of size has a search of its own.

use std::time::Duration;

/// Pairs of stretches that a trial compares.
const PAIRS: usize = 15;

/// A lower rung is taken where it keeps so much of the rate.
const AS_FAST: f64 = 0.99;

/// The rung is left for the next higher one where it keeps less.
const TOO_SLOW: f64 = 0.97;

/// The lowest rung: where fewer in flight would be enough, so few cost nobody much.
const LEAST: u32 = 4;

/// Stretches between trials, at first and at most.
const REST: (u32, u32) = (64, 4096);

/// Classes of request sizes: up to 4 KiB, 8 KiB, and so on up to 512 KiB and more.
const CLASSES: usize = 8;

/// A stretch of work under one limit.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Stretch {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    /// The fewest reads ahead that were in flight or waiting at any time: what a limit below this held back.
    pub(crate) load: u32,
}

impl Stretch {
    fn rate(&self) -> f64 {
        self.bytes as f64 / self.took.as_secs_f64().max(1e-9)
    }

    fn class(&self) -> usize {
        let pages = (self.bytes / self.requests.max(1)).div_ceil(4096).max(1);
        (pages.next_power_of_two().ilog2() as usize).min(CLASSES - 1)
    }
}

/// The search for the knee.
#[derive(Clone, Debug)]
pub(crate) struct DepthSearch {
    /// BacklogLimits to choose from; the last one is the most there may be.
    ladder: Vec<u32>,
    searches: [SearchState; CLASSES],
    /// The class of the last stretch.
    class: usize,
}

/// The search for requests of one class.
#[derive(Copy, Clone, Debug)]
struct SearchState {
    /// The lowest rung that is known to be as fast as the highest.
    rung: usize,
    phase: SearchPhase,
    /// How long the next rest is.
    rest: u32,
}

#[derive(Copy, Clone, Debug)]
enum SearchPhase {
    /// So many stretches are left of a rest.
    Rest(u32),
    Trial(Trial),
}

/// A rung against the highest.
#[derive(Copy, Clone, Debug)]
struct Trial {
    rung: usize,
    ratios: [f64; PAIRS],
    pairs: usize,
    /// The rate of the pair's first stretch. Pairs begin with either of the two by turns.
    first: Option<f64>,
}

impl DepthSearch {
    /// A search between a few and `most`.
    pub(crate) fn new(most: u32) -> Self {
        let steps = (0..).flat_map(|power| [2 << power, 3 << power]);
        let mut ladder: Vec<u32> =
            steps.skip_while(|&rung| rung < LEAST).take_while(|&rung| rung < most).collect();
        ladder.push(most);
        let search = SearchState { rung: ladder.len() - 1, phase: SearchPhase::Rest(0), rest: REST.0 };
        Self { ladder, searches: [search; CLASSES], class: 0 }
    }

    /// The limit of the next stretch.
    pub(crate) fn limit(&self) -> u32 {
        let search = &self.searches[self.class];
        self.ladder[match search.phase {
            SearchPhase::Trial(trial) if trial.is_for_the_most() => self.ladder.len() - 1,
            SearchPhase::Trial(trial) => trial.rung,
            SearchPhase::Rest(_) => search.rung,
        }]
    }

    /// Takes what came of a stretch under [`limit`](Self::limit).
    pub(crate) fn observe(&mut self, stretch: &Stretch) {
        let class = stretch.class();
        if class != self.class {
            // It was begun under the limit of another class.
            if let SearchPhase::Trial(trial) = &mut self.searches[class].phase {
                trial.first = None;
            }
            self.class = class;
            return;
        }
        let top = self.ladder.len() - 1;
        let search = &mut self.searches[class];
        match &mut search.phase {
            SearchPhase::Rest(0) => search.try_next(top),
            SearchPhase::Rest(left) if stretch.load > self.ladder[search.rung.saturating_sub(1)] => {
                *left -= 1;
            }
            SearchPhase::Rest(_) => {}
            SearchPhase::Trial(trial) if stretch.load > self.ladder[trial.rung] => {
                if let Some(kept) = trial.observe(stretch.rate()) {
                    let rung = trial.rung;
                    search.conclude(rung, kept, top);
                }
            }
            // Too little to do: what this stretch would say is about who reads, not about the device.
            SearchPhase::Trial(trial) => trial.first = None,
        }
    }
}

impl SearchState {
    /// Begins the trials of a round: first whether the rung still holds, which the highest always does.
    fn try_next(&mut self, top: usize) {
        if self.rung == top {
            self.try_lower();
        } else {
            self.phase = SearchPhase::Trial(Trial::of(self.rung));
        }
    }

    fn try_lower(&mut self) {
        self.phase =
            if self.rung == 0 { self.begin_rest() } else { SearchPhase::Trial(Trial::of(self.rung - 1)) };
    }

    fn begin_rest(&mut self) -> SearchPhase {
        let rest = self.rest;
        self.rest = (2 * rest).min(REST.1);
        SearchPhase::Rest(rest)
    }

    /// Takes the result of a trial: the share of the highest rung's rate that `rung` kept.
    fn conclude(&mut self, rung: usize, kept: f64, top: usize) {
        if rung < self.rung {
            if kept < AS_FAST {
                self.phase = self.begin_rest();
                return;
            }
            (self.rung, self.rest) = (rung, REST.0);
            self.try_lower();
        } else if kept < TOO_SLOW {
            (self.rung, self.rest) = (rung + 1, REST.0);
            self.phase =
                if self.rung == top { self.begin_rest() } else { SearchPhase::Trial(Trial::of(self.rung)) };
        } else {
            self.try_lower();
        }
    }
}

impl Trial {
    fn of(rung: usize) -> Self {
        Self { rung, ratios: [0.0; PAIRS], pairs: 0, first: None }
    }

    /// Whether the next stretch is to be under the highest limit: first in every other pair, second in the others.
    fn is_for_the_most(&self) -> bool {
        self.pairs.is_multiple_of(2) != self.first.is_some()
    }

    /// Takes the rate of a stretch. Gives the median of the pairs' ratios when there are enough.
    fn observe(&mut self, rate: f64) -> Option<f64> {
        let Some(first) = self.first.take() else {
            self.first = Some(rate);
            return None;
        };
        self.ratios[self.pairs] = if self.pairs.is_multiple_of(2) { rate / first } else { first / rate };
        self.pairs += 1;
        (self.pairs == PAIRS).then(|| {
            self.ratios.sort_unstable_by(f64::total_cmp);
            self.ratios[PAIRS / 2]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    const PAGE: u64 = 8192;
    const MOST: u32 = 192;

    /// Requests a second with so many in flight.
    type Device = Box<dyn Fn(u32) -> f64>;

    /// So many units that take so many seconds for a request.
    fn units(parallel: u32, seconds: f64) -> Device {
        Box::new(move |in_flight| f64::from(in_flight.min(parallel)) / seconds)
    }

    /// A service that answers after so many seconds, and so many times a second at most.
    fn bucket(seconds: f64, per_second: f64) -> Device {
        Box::new(move |in_flight| (f64::from(in_flight) / seconds).min(per_second))
    }

    /// One that gains less and less, as real ones do: half of its rate with `half` in flight.
    fn soft(half: f64) -> Device {
        Box::new(move |in_flight| 66_000.0 * f64::from(in_flight) / (f64::from(in_flight) + half))
    }

    /// Works for so many stretches with `load` reads wanted, with noise. Gives the limits that were kept, and the share of
    /// the rate without a limit.
    fn work(
        knee: &mut DepthSearch,
        device: &Device,
        load: u32,
        noise: f64,
        stretches: u32,
    ) -> (Vec<u32>, f64) {
        let mut rng = SmallRng::seed_from_u64(u64::from(stretches) + u64::from(load));
        let mut limits = Vec::new();
        let (mut took, mut took_unlimited) = (0.0, 0.0);
        for _ in 0..stretches {
            let limit = knee.limit();
            limits.push(limit);
            let requests = 256_u64;
            // Mostly a little off, now and then a lot.
            let hiccup = if rng.random_bool(0.05) { 3.0 * noise } else { 0.0 };
            let off = 1.0 + noise * (rng.random::<f64>() + rng.random::<f64>() - 1.0) * 1.5 + hiccup;
            let seconds = requests as f64 / device(limit.min(load)) * off;
            took += seconds;
            took_unlimited += requests as f64 / device(load.min(MOST)) * off;
            knee.observe(&Stretch {
                requests,
                bytes: requests * PAGE,
                took: Duration::from_secs_f64(seconds),
                load,
            });
        }
        (limits, took_unlimited / took)
    }

    fn settled(limits: &[u32]) -> u32 {
        let mut last: Vec<_> = limits[limits.len() / 2..].to_vec();
        last.sort_unstable();
        last[last.len() / 2]
    }

    #[test]
    fn the_knee_is_found_and_nothing_is_lost() {
        let rows = [
            ("8 units", units(8, 1e-4), 8..=12),
            ("32 units", units(32, 5e-4), 32..=48),
            ("100 units", units(100, 5e-4), 96..=128),
            ("more units than may be used", units(1000, 5e-4), MOST..=MOST),
            ("a bucket of 60,000", bucket(3e-4, 60_000.0), 16..=32),
            ("one unit", units(1, 1e-2), LEAST..=LEAST),
        ];
        for (name, device, expected) in rows {
            for noise in [0.0, 0.05, 0.1] {
                let mut knee = DepthSearch::new(MOST);
                let (limits, kept) = work(&mut knee, &device, 500, noise, 6000);
                let settled = settled(&limits);
                println!("{name}, noise {noise}: {settled}, {kept:.4} of the rate");
                assert!(expected.contains(&settled), "{name}, noise {noise}: settled at {settled}");
                assert!(kept > 0.97, "{name}, noise {noise}: {kept:.4} of the rate");
            }
        }
    }

    #[test]
    fn a_device_without_a_sharp_knee_loses_less_than_three_per_cent() {
        for (half, noise) in [(2.0, 0.0), (2.0, 0.1), (6.0, 0.0), (6.0, 0.1)] {
            let (limits, kept) = work(&mut DepthSearch::new(MOST), &soft(half), 500, noise, 6000);
            println!("half at {half}, noise {noise}: {}, {kept:.4}", settled(&limits));
            assert!(kept > 0.97, "half at {half}, noise {noise}: {kept:.4}");
        }
    }

    #[test]
    fn a_device_that_changes_is_followed() {
        let mut knee = DepthSearch::new(MOST);
        assert!(settled(&work(&mut knee, &units(16, 1e-4), 500, 0.05, 4000).0) <= 24);
        let (limits, _) = work(&mut knee, &units(96, 1e-4), 500, 0.05, 12_000);
        assert!(settled(&limits) >= 96, "{}", settled(&limits));
    }

    #[test]
    fn too_little_to_do_says_nothing() {
        // Half of what there may be is wanted: the rungs above that are not told apart.
        let (limits, kept) = work(&mut DepthSearch::new(MOST), &units(1000, 5e-4), 64, 0.05, 4000);
        assert!(kept > 0.999 && limits.iter().all(|&limit| limit >= 64 || limit == MOST), "{kept}");
        let (limits, _) = work(&mut DepthSearch::new(MOST), &units(2, 5e-4), 3, 0.05, 4000);
        assert!(limits.iter().all(|&limit| limit == MOST), "a few reads are never held back");
    }

    #[test]
    fn a_stretch_counts_only_if_its_limit_held_something_back() {
        let mut knee = DepthSearch::new(MOST);
        let mut observe = |load: u32| {
            let took = Duration::from_millis(1);
            knee.observe(&Stretch { requests: 10, bytes: 10 * PAGE, took, load });
            let search = knee.searches[knee.class];
            (search.rung, search.phase)
        };
        // Any depth is as fast, so it goes all the way down.
        let resting = |_| match observe(500) {
            (0, SearchPhase::Rest(left @ 1..)) => Some(left),
            _ => None,
        };
        let rest = (0..5000).find_map(resting).expect("a rest on the lowest rung");
        (0..100)
            .for_each(|_| assert!(matches!(observe(LEAST), (0, SearchPhase::Rest(left)) if left == rest)));
        assert!(matches!(observe(LEAST + 1), (0, SearchPhase::Rest(left)) if left == rest - 1));
        assert!(
            (0..rest).any(|_| matches!(observe(500).1, SearchPhase::Trial(_))),
            "the rest is over at last"
        );
        let is_unchanged = |trial: Trial| trial.pairs == 0 && trial.first.is_none();
        (0..100).for_each(|_| {
            assert!(matches!(observe(LEAST).1, SearchPhase::Trial(trial) if is_unchanged(trial)));
        });
        assert!(matches!(observe(LEAST + 1).1, SearchPhase::Trial(trial) if trial.first.is_some()));
    }

    #[test]
    fn each_size_of_request_has_its_own_knee() {
        let stretch = |requests: u64, bytes: u64| Stretch {
            requests,
            bytes: requests * bytes,
            took: Duration::from_millis(1),
            load: 500,
        };
        let mut knee = DepthSearch::new(MOST);
        (0..3000).for_each(|_| knee.observe(&stretch(256, 131_072)));
        assert_eq!(knee.searches[stretch(256, 131_072).class()].rung, 0, "any depth is as fast");
        knee.observe(&stretch(256, PAGE));
        assert_eq!(knee.limit(), MOST, "what was learned of large requests holds for them only");
        let classes = [512, 4096, 8192, 16_384, 131_072, 1 << 20].map(|bytes| stretch(10, bytes).class());
        assert_eq!(classes, [0, 0, 1, 2, 5, 7]);
    }

    #[test]
    fn few_places_make_a_short_ladder() {
        for most in 1..10 {
            let mut knee = DepthSearch::new(most);
            (0..200).for_each(|_| {
                assert!((1..=most).contains(&knee.limit()));
                let took = Duration::from_millis(1);
                knee.observe(&Stretch { requests: 10, bytes: 10 * PAGE, took, load: 500 });
            });
        }
        assert_eq!(DepthSearch::new(MOST).ladder, [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192]);
    }
}
