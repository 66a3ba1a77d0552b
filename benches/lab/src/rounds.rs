//! Arms in turn: how two ways of doing the same thing are compared on a machine that is never quiet.
//!
//! A round runs every arm once, in an order that is shuffled anew each time. What slows the machine for a while slows the
//! arms of a round alike, so the figure is the **median of the ratios within the rounds**, not the ratio of two medians. One
//! arm can run twice a round; the ratio to its twin is the noise that no figure of the run can be finer than.
//!
//! A run says how much of the machine other processes used while its arms ran. A [disturbed](Outcome::disturbance) one neither
//! fails nor passes a figure.

use std::fmt;
use std::thread;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::load::Load;
use crate::measure::Sample;
use crate::stats::{Spread, median};
use crate::{Failure, Result};

/// The share of the machine that other processes may use before a run counts as disturbed.
pub const OTHERS_MAY_USE: f64 = 0.10;

/// The rounds that a figure needs at least.
pub const ROUNDS_OF_A_FIGURE: u32 = 15;

/// One of the ways that are compared.
pub struct Arm<'a> {
    name: String,
    run: Box<dyn FnMut(u32) -> Result<Sample> + 'a>,
}

impl<'a> Arm<'a> {
    /// Makes an arm that `run`, given the number of the round, carries out once. All arms should go to the same places in one
    /// round and may go to others in the next.
    pub fn new(name: impl Into<String>, run: impl FnMut(u32) -> Result<Sample> + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

impl fmt::Debug for Arm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Arm").field(&self.name).finish()
    }
}

/// How to run arms in turn.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// How many rounds.
    pub rounds: u32,
    /// What the order of the arms is drawn from.
    pub seed: u64,
    /// Pause before each arm, for devices that do work later that earlier requests caused.
    pub pause: Duration,
    /// The arm that runs twice a round to show the noise.
    pub twin: Option<String>,
}

impl Rounds {
    /// Makes a plan of this many rounds, without a pause and without a twin.
    #[must_use]
    pub fn new(rounds: u32) -> Self {
        Self { rounds, seed: 1, pause: Duration::ZERO, twin: None }
    }

    /// Sets the arm that is run twice a round.
    #[must_use]
    pub fn twin(self, name: impl Into<String>) -> Self {
        Self { twin: Some(name.into()), ..self }
    }

    /// Runs all arms for all rounds, and calls `progress` with each arm's name before it starts.
    ///
    /// # Errors
    ///
    /// The first failure of an arm, with its name.
    ///
    /// # Panics
    ///
    /// If there is no arm of the twin's name.
    pub fn run(&self, arms: Vec<Arm<'_>>, progress: impl FnMut(&str)) -> Result<Outcome> {
        self.run_all(arms, progress, |arm, error| Err(format!("{arm}: {error}").into()))
    }

    /// Runs all rounds. An arm that fails is not run again and is not in the outcome; `failed` is called with its name and the
    /// error, and the other arms run on.
    ///
    /// # Panics
    ///
    /// If there is no arm of the twin's name.
    pub fn run_without_failed(
        &self,
        arms: Vec<Arm<'_>>,
        progress: impl FnMut(&str),
        mut failed: impl FnMut(&str, Failure),
    ) -> Outcome {
        let note = |arm: &str, error| {
            failed(arm, error);
            Ok(())
        };
        self.run_all(arms, progress, note).expect("a failure that is noted ends nothing")
    }

    fn run_all(
        &self,
        arms: Vec<Arm<'_>>,
        mut progress: impl FnMut(&str),
        mut failed: impl FnMut(&str, Failure) -> Result<()>,
    ) -> Result<Outcome> {
        let names: Vec<String> = arms.iter().map(|arm| arm.name.clone()).collect();
        let mut arms: Vec<Option<Arm<'_>>> = arms.into_iter().map(Some).collect();
        let twin = self.twin.as_ref().map(|name| position(names.iter(), name));
        // The twin has a number of its own, so that chance decides which of the two runs comes first in a round: the second one
        // often finds the device warm.
        let runs: Vec<usize> = (0..arms.len()).chain(twin).collect();
        let mut samples: Vec<Vec<Sample>> = runs.iter().map(|_| Vec::new()).collect();
        let mut load = Some(Load::default());
        let mut rng = SmallRng::seed_from_u64(self.seed);
        for round in 0..self.rounds {
            let mut order: Vec<usize> = (0..runs.len()).collect();
            order.shuffle(&mut rng);
            for number in order {
                let Some(arm) = &mut arms[runs[number]] else { continue };
                progress(&arm.name);
                thread::sleep(self.pause);
                let before = Load::now();
                let sample = match (arm.run)(round) {
                    Ok(sample) => sample,
                    Err(error) => {
                        failed(&arm.name, error)?;
                        arms[runs[number]] = None;
                        continue;
                    }
                };
                let used = Load::now().zip(before).map(|(after, before)| after.since(before));
                load = load.zip(used).map(|(sum, used)| sum.and(used));
                samples[number].push(sample);
            }
        }
        let of_twin = samples.split_off(arms.len()).pop();
        let twin = twin.filter(|&number| arms[number].is_some());
        let twin = twin.map(|number| arms[..number].iter().flatten().count()).zip(of_twin);
        let whole = arms.iter().map(Option::is_some);
        let arms = names.into_iter().zip(samples).zip(whole);
        let arms = arms.filter_map(|(arm, whole)| whole.then_some(arm)).collect();
        Ok(Outcome { arms, twin, others_share: load.and_then(Load::others_share) })
    }
}

/// What the arms of a run did.
#[derive(Clone, Debug)]
pub struct Outcome {
    arms: Vec<(String, Vec<Sample>)>,
    /// The arm that ran twice a round, and the samples of its twin.
    twin: Option<(usize, Vec<Sample>)>,
    /// The share of the machine that other processes used while arms ran.
    pub others_share: Option<f64>,
}

impl Outcome {
    /// Returns the names of the arms in the order they were given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.arms.iter().map(|(name, _)| &name[..])
    }

    /// Returns the samples of an arm, one a round.
    ///
    /// # Panics
    ///
    /// If there is no such arm.
    #[must_use]
    pub fn samples(&self, arm: &str) -> &[Sample] {
        &self.arms[position(self.names(), arm)].1
    }

    /// Returns the middle of a metric over the rounds of an arm.
    #[must_use]
    pub fn spread(&self, arm: &str, metric: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.samples(arm).iter().map(metric))
    }

    /// Returns the ratios of a metric within each round, `of` over `to`. `None` only if there were no rounds.
    #[must_use]
    pub fn ratio(&self, of: &str, to: &str, metric: impl Fn(&Sample) -> f64) -> Option<Spread> {
        ratios(self.samples(of), self.samples(to), metric)
    }

    /// Returns the ratios of the arm that ran twice to itself: the noise of this run.
    #[must_use]
    pub fn noise(&self, metric: impl Fn(&Sample) -> f64) -> Option<Spread> {
        let (arm, twin) = self.twin.as_ref()?;
        ratios(twin, &self.arms[*arm].1, metric)
    }

    /// Returns the medians of an arm.
    ///
    /// # Panics
    ///
    /// If there is no such arm, or there were no rounds.
    #[must_use]
    pub fn summary(&self, arm: &str) -> Summary {
        let samples = self.samples(arm);
        let middle =
            |metric: fn(&Sample) -> f64| median(samples.iter().map(metric)).expect("there were rounds");
        let middle_of_known = |metric: fn(&Sample) -> Option<f64>| median(samples.iter().filter_map(metric));
        Summary {
            pages: middle(|sample| sample.pages as f64) as u64,
            seconds: middle(|sample| sample.seconds),
            pages_per_s: middle(Sample::pages_per_s),
            mb_per_s: middle(Sample::mb_per_s),
            cpu_us_per_page: middle(Sample::cpu_us_per_page),
            cpu_us_per_s: middle(Sample::cpu_us_per_s),
            p50_us: middle_of_known(Sample::p50_us),
            p99_us: middle_of_known(Sample::p99_us),
            longest_us: middle_of_known(Sample::longest_us),
            wakeups_per_s: middle_of_known(Sample::wakeups_per_s),
            digest: self.digest(arm),
        }
    }

    /// Returns the digest of all that an arm read in all rounds; `None` where it took none. Arms that went to the same places in
    /// every round have the same.
    #[must_use]
    pub fn digest(&self, arm: &str) -> Option<u64> {
        self.samples(arm).iter().try_fold(0_u64, |sum, sample| Some(sum.wrapping_add(sample.digest?)))
    }

    /// Makes an outcome from this one with each sample replaced by a view of it: [by its writes](Sample::by_writes), for example.
    #[must_use]
    pub fn seen(&self, otherwise: fn(&Sample) -> Sample) -> Self {
        let all = |samples: &Vec<Sample>| samples.iter().map(otherwise).collect();
        Self {
            arms: self.arms.iter().map(|(name, samples)| (name.clone(), all(samples))).collect(),
            twin: self.twin.as_ref().map(|(arm, samples)| (*arm, all(samples))),
            others_share: self.others_share,
        }
    }

    /// Returns why this run proves nothing, if so: other processes used too much of the machine.
    #[must_use]
    pub fn disturbance(&self) -> Option<String> {
        let share = self.others_share.filter(|&share| share > OTHERS_MAY_USE)?;
        Some(format!("disturbed: others used {:.0} % of the machine", share * 100.0))
    }
}

/// The medians of an arm over the rounds, each metric on its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Pages a round.
    pub pages: u64,
    /// Wall time of a round.
    pub seconds: f64,
    /// Pages a second.
    pub pages_per_s: f64,
    /// Megabytes (10^6) a second.
    pub mb_per_s: f64,
    /// Microseconds of CPU a page; no number where no page was moved.
    pub cpu_us_per_page: f64,
    /// Microseconds of CPU a second.
    pub cpu_us_per_s: f64,
    /// Median latency in microseconds: the median of the rounds' medians.
    pub p50_us: Option<f64>,
    /// 99th percentile in microseconds: the median of the rounds' percentiles.
    pub p99_us: Option<f64>,
    /// Longest latency in microseconds: the median of the rounds' longest.
    pub longest_us: Option<f64>,
    /// How often a second the threads that were looked at began to run.
    pub wakeups_per_s: Option<f64>,
    /// Digest of all that was read in all rounds.
    pub digest: Option<u64>,
}

fn ratios(of: &[Sample], to: &[Sample], metric: impl Fn(&Sample) -> f64) -> Option<Spread> {
    Spread::of(of.iter().zip(to).map(|(of, to)| metric(of) / metric(to)))
}

fn position<S: AsRef<str>>(mut names: impl Iterator<Item = S>, wanted: &str) -> usize {
    names.position(|name| name.as_ref() == wanted).unwrap_or_else(|| panic!("there is no arm {wanted:?}"))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::measure::Elapsed;

    fn sample(seconds: f64) -> Sample {
        Elapsed { seconds, cpu_seconds: seconds / 2.0, thread_cpu_seconds: 0.0 }.sample(100, 819_200)
    }

    /// Returns a machine that slows down tenfold in some rounds, and an arm that always takes twice as long as the other.
    fn slow_by_rounds(rounds: u32) -> Outcome {
        let base = |round: u32| if round.is_multiple_of(3) { 10.0 } else { 1.0 };
        let arms = vec![
            Arm::new("fast", move |round| Ok(sample(base(round)).with_digest(u64::from(round)))),
            Arm::new("slow", move |round| Ok(sample(base(round) * 2.0))),
        ];
        Rounds::new(rounds).twin("fast").run(arms, |_| ()).unwrap()
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let outcome = slow_by_rounds(5);
        let ratio = outcome.ratio("slow", "fast", Sample::pages_per_s).unwrap();
        assert_eq!((ratio.min, ratio.median, ratio.max), (0.5, 0.5, 0.5));
        assert_eq!(outcome.noise(Sample::pages_per_s).unwrap().median, 1.0);
    }

    #[test]
    fn summaries_are_medians_and_digests_are_of_all_rounds() {
        let outcome = slow_by_rounds(5);
        let fast = outcome.summary("fast");
        assert_eq!((fast.pages_per_s, fast.seconds, fast.p50_us), (100.0, 1.0, None));
        assert_eq!((fast.digest, outcome.digest("slow")), (Some(1 + 2 + 3 + 4), None));
    }

    #[test]
    fn a_run_can_be_seen_by_its_writes_twin_and_all() {
        let arm = Arm::new("update", |round| Ok(sample(1.0).with_written(u64::from(round) + 50, 0)));
        let outcome = Rounds::new(3).twin("update").run(vec![arm], |_| ()).unwrap();
        let writes = outcome.seen(Sample::by_writes);
        assert_eq!((outcome.summary("update").pages, writes.summary("update").pages), (100, 51));
        assert_eq!(writes.noise(Sample::pages_per_s).unwrap().median, 1.0);
    }

    #[test]
    fn every_round_runs_every_arm_once_and_the_twin_twice_in_changing_order() {
        let ran = RefCell::new(Vec::new());
        let arm = |name: &'static str| {
            let ran = &ran;
            Arm::new(name, move |_| {
                ran.borrow_mut().push(name);
                Ok(sample(1.0))
            })
        };
        Rounds::new(20).twin("b").run(vec![arm("a"), arm("b"), arm("c")], |_| ()).unwrap();
        let ran = ran.borrow();
        for round in ran.chunks(4) {
            let mut sorted = round.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, ["a", "b", "b", "c"]);
        }
        assert!(ran.chunks(4).any(|round| round != &ran[..4]));
    }

    #[test]
    fn a_failing_arm_is_named() {
        let error = Rounds::new(1).run(vec![Arm::new("bad", |_| Err("no disk".into()))], |_| ()).unwrap_err();
        assert_eq!(error.to_string(), "bad: no disk");
    }

    #[test]
    fn an_arm_that_fails_is_told_and_left_out_and_the_others_run_on() {
        let failing =
            |from: u32| move |round| if round < from { Ok(sample(1.0)) } else { Err("no disk".into()) };
        let ran = RefCell::new(0);
        let good = |_| {
            *ran.borrow_mut() += 1;
            Ok(sample(2.0))
        };
        let arms = vec![Arm::new("bad", failing(1)), Arm::new("good", good), Arm::new("worse", failing(0))];
        let mut failures = Vec::new();
        let note = |arm: &str, error: Failure| failures.push(format!("{arm}: {error}"));
        let outcome = Rounds::new(3).twin("good").run_without_failed(arms, |_| (), note);
        failures.sort_unstable();
        assert_eq!(failures, ["bad: no disk", "worse: no disk"]);
        assert_eq!((outcome.names().collect::<Vec<_>>(), *ran.borrow()), (vec!["good"], 6));
        assert_eq!(outcome.noise(Sample::pages_per_s).unwrap().median, 1.0);
    }

    #[test]
    fn the_noise_is_not_known_where_the_arm_that_shows_it_failed() {
        let arms = vec![Arm::new("bad", |_| Err("no disk".into())), Arm::new("good", |_| Ok(sample(1.0)))];
        let outcome = Rounds::new(2).twin("bad").run_without_failed(arms, |_| (), |_, _| ());
        assert!(outcome.noise(Sample::pages_per_s).is_none());
        assert_eq!(outcome.summary("good").pages_per_s, 100.0);
    }

    #[test]
    fn a_busy_machine_disturbs() {
        let outcome = |share| Outcome { arms: Vec::new(), twin: None, others_share: share };
        assert_eq!(outcome(Some(0.31)).disturbance().unwrap(), "disturbed: others used 31 % of the machine");
        assert_eq!(outcome(Some(0.05)).disturbance(), None);
        assert_eq!(outcome(None).disturbance(), None);
    }
}
