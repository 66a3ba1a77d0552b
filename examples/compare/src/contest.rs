//! How the arms of any workload are proven and timed.
//!
//! The proof is apart from the timing because a digest costs more CPU a page than some arms do. An arm that fails in either is
//! reported in the findings and dropped at once, so that nothing that it still had to write disturbs the other arms.

use std::collections::HashMap;
use std::time::Duration;

use lab::rounds::Outcome;
use lab::stats::Spread;
use lab::{Arm, Failure, Latencies, Result, Rounds, Sample};

use crate::entrants::{Card, Entrant};
use crate::findings::{Findings, PARTS};
use crate::options::Options;
use crate::progress::{Steps, Turn, say_what_begins};
use crate::verdict;

/// One workload.
#[derive(Clone)]
pub(crate) struct Contest<'a> {
    pub(crate) workload: String,
    pub(crate) options: &'a Options,
    pub(crate) turn: Turn,
    /// The arm that does the same in the plain way, to which rates are compared.
    pub(crate) plain: Option<&'static str>,
}

/// The digests of each arm's work, and the one that is expected.
pub(crate) struct Proof {
    pub(crate) expected: u64,
    pub(crate) found: HashMap<String, u64>,
}

/// The measurements of a workload's arms.
pub(crate) struct Timed {
    pub(crate) workload: String,
    pub(crate) page_size: u32,
    pub(crate) plain: Option<&'static str>,
    /// The arm that ran twice a round.
    pub(crate) twin: Option<String>,
    pub(crate) cards: Vec<Card>,
    pub(crate) outcome: Outcome,
}

impl Timed {
    /// Returns the ratio of the pages a second of two arms, where both took part.
    pub(crate) fn rate(&self, of: &str, to: &str) -> Option<Spread> {
        let took_part = |arm| self.cards.iter().any(|card| card.name == arm);
        (took_part(of) && took_part(to)).then(|| self.outcome.ratio(of, to, Sample::pages_per_s)).flatten()
    }

    /// Returns how far the arm that ran twice is from itself.
    pub(crate) fn noise(&self) -> Option<f64> {
        self.outcome.noise(Sample::pages_per_s).map(|to_itself| verdict::noise(&to_itself))
    }

    /// Returns the latencies of an arm in all rounds, by [`PARTS`].
    pub(crate) fn latencies(&self, arm: &str) -> Option<Vec<f64>> {
        let mut all = Latencies::new();
        self.outcome
            .samples(arm)
            .iter()
            .filter_map(|sample| sample.latencies.as_ref())
            .for_each(|of_round| all.merge(of_round));
        PARTS.iter().map(|&part| all.quantile_us(part)).collect()
    }

    /// Makes a contest from this one with each sample replaced by another view of it.
    pub(crate) fn seen(&self, workload: &str, otherwise: fn(&Sample) -> Sample) -> Self {
        Self {
            workload: workload.to_owned(),
            twin: self.twin.clone(),
            cards: self.cards.clone(),
            outcome: self.outcome.seen(otherwise),
            ..*self
        }
    }
}

impl Contest<'_> {
    /// Has each arm do its work once, of which `digest_of` gives the digest.
    pub(crate) fn prove<W>(
        &self,
        arms: &mut Vec<Entrant<W>>,
        expected: u64,
        findings: &mut Findings,
        mut digest_of: impl FnMut(&mut W) -> Result<u64>,
    ) -> Result<Proof> {
        let proven = format!("{}: proof", self.workload);
        let steps = Steps::new(self.turn, &proven, arms.len());
        let mut found = HashMap::new();
        let mut able = Vec::new();
        for Entrant { card, mut way } in arms.drain(..) {
            steps.next(&card.name);
            match digest_of(&mut way) {
                Ok(digest) => {
                    found.insert(card.name.clone(), digest);
                    able.push(Entrant { card, way });
                }
                Err(error) => findings.fail(&self.workload, Some(&card.name), &error),
            }
        }
        let took = steps.end();
        if able.is_empty() {
            return Err("no arm is left".into());
        }
        let runs = self.options.rounds() * (able.len() as u32 + 1);
        say_what_begins(self.turn, &self.workload, took / able.len() as u32 * runs);
        *arms = able;
        Ok(Proof { expected, found })
    }

    /// Runs the arms in turn, the first one twice a round to show the noise.
    pub(crate) fn time<W>(
        &self,
        arms: &mut Vec<Entrant<W>>,
        findings: &mut Findings,
        run: impl Fn(&mut W, u32) -> Result<Sample>,
    ) -> Result<Timed> {
        let twin = arms.first().map(|arm| arm.card.name.clone());
        self.run(twin, arms, findings, run)
    }

    /// Runs the arms without a twin, where there is no rate whose noise could be shown.
    pub(crate) fn watch<W>(
        &self,
        arms: &mut Vec<Entrant<W>>,
        findings: &mut Findings,
        run: impl Fn(&mut W, u32) -> Result<Sample>,
    ) -> Result<Timed> {
        self.run(None, arms, findings, run)
    }

    /// Runs arms that need no proof; each takes the time `each`.
    pub(crate) fn watch_unproven<W>(
        &self,
        arms: &mut Vec<Entrant<W>>,
        each: Duration,
        findings: &mut Findings,
        run: impl Fn(&mut W, u32) -> Result<Sample>,
    ) -> Result<Timed> {
        say_what_begins(self.turn, &self.workload, each * self.options.rounds() * arms.len() as u32);
        self.run(None, arms, findings, run)
    }

    fn run<W>(
        &self,
        twin: Option<String>,
        arms: &mut Vec<Entrant<W>>,
        findings: &mut Findings,
        run: impl Fn(&mut W, u32) -> Result<Sample>,
    ) -> Result<Timed> {
        let mut rounds = Rounds::new(self.options.rounds());
        rounds.twin.clone_from(&twin);
        let steps = Steps::new(
            self.turn,
            &self.workload,
            self.options.rounds() as usize * (arms.len() + twin.iter().len()),
        );
        let mut entrants: Vec<(Card, Option<W>)> =
            arms.drain(..).map(|Entrant { card, way }| (card, Some(way))).collect();
        let (run, fails) = (&run, &self.options.fail);
        let in_turn = entrants.iter_mut().map(|(card, way)| {
            let told_to_fail = fails.as_ref() == Some(&card.name);
            Arm::new(card.name.clone(), move |round| {
                let running = way.as_mut().expect("an arm that failed is not run again");
                let sample = run(running, round);
                let sample = if told_to_fail && round > 0 { Err("told to fail".into()) } else { sample };
                if sample.is_err() {
                    *way = None;
                }
                sample
            })
        });
        let note = |arm: &str, error: Failure| findings.fail(&self.workload, Some(arm), &error);
        let outcome = rounds.run_without_failed(in_turn.collect(), |arm| steps.next(arm), note);
        steps.end();
        *arms = entrants.into_iter().filter_map(|(card, way)| Some(Entrant { card, way: way? })).collect();
        if arms.is_empty() {
            return Err("no arm is left".into());
        }
        let cards = arms.iter().map(|arm| arm.card.clone()).collect();
        let (workload, page_size) = (self.workload.clone(), self.options.page_size);
        Ok(Timed { workload, page_size, plain: self.plain, twin, cards, outcome })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use lab::measure::Elapsed;

    use super::*;
    use crate::verdict::Side;

    /// Makes an arm that succeeds this many times before it fails.
    fn arm(name: &str, successes: u32) -> Entrant<u32> {
        Entrant { card: Card::plain(name), way: successes }
    }

    fn work(left: &mut u32) -> Result<()> {
        *left = left.checked_sub(1).ok_or("no disk")?;
        Ok(())
    }

    fn run(arms: Vec<Entrant<u32>>) -> (Findings, Result<()>) {
        let options = Options::parse_from(["compare", "--rounds", "3"]);
        let turn = Turn { number: 1, of: 1 };
        let contest = Contest { workload: "reads".to_owned(), options: &options, turn, plain: Some("plain") };
        let (mut arms, mut findings) = (arms, Findings::default());
        let done =
            contest.prove(&mut arms, 7, &mut findings, |left| work(left).map(|()| 7)).and_then(|proof| {
                let timed = contest.time(&mut arms, &mut findings, |left, _| {
                    work(left)?;
                    Ok(Elapsed { seconds: 1.0, cpu_seconds: 0.1, thread_cpu_seconds: 0.1 }.sample(10, 10))
                })?;
                findings.add(&timed, Some(&proof));
                findings.check("reads", &proof);
                Ok(())
            });
        (findings, done)
    }

    fn names(findings: &Findings) -> Vec<&str> {
        findings.rows.iter().map(|finding| &finding.row.arm[..]).collect()
    }

    #[test]
    fn an_arm_that_fails_is_told_and_the_others_have_their_rows() {
        let arms = vec![arm("plain", 10), arm("not at all", 0), arm("half", 2), arm("pool, io_uring", 10)];
        let (findings, done) = run(arms);
        done.unwrap();
        assert_eq!(names(&findings), ["plain", "pool, io_uring"]);
        let failed: Vec<_> = findings.failures.iter().map(|failed| failed.arm.as_deref().unwrap()).collect();
        assert_eq!(failed, ["not at all", "half"]);
        assert_eq!(findings.failures[1].line(), "reads: half FAILED and is left out: no disk");
        assert_eq!(findings.verdicts.len(), 1);
        assert_eq!(findings.verdicts[0].side, Side::Within);
    }

    #[test]
    fn without_the_arm_that_shows_the_noise_nothing_is_decided() {
        let (findings, done) = run(vec![arm("first", 2), arm("plain", 10), arm("pool, io_uring", 10)]);
        done.unwrap();
        assert_eq!(names(&findings), ["plain", "pool, io_uring"]);
        assert_eq!(findings.verdicts[0].side, Side::Unknown);
    }

    #[test]
    fn a_workload_none_of_whose_arms_is_left_says_so() {
        let (findings, done) = run(vec![arm("plain", 2), arm("pool, io_uring", 0)]);
        assert_eq!(done.unwrap_err().to_string(), "no arm is left");
        assert_eq!((findings.failures.len(), findings.rows.len()), (2, 0));
    }
}
