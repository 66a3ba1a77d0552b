//! How the arms of any workload are proven, timed and reported.
//!
//! The proof is apart from the timing because a digest costs more CPU a page than some arms do.

use std::collections::HashMap;

use lab::rounds::Outcome;
use lab::stats::Spread;
use lab::{Arm, Result, Rounds, Sample, progress};

use crate::entrants::{Card, Entrant};
use crate::options::Options;

/// One workload.
#[derive(Clone, Copy)]
pub(crate) struct Contest<'a> {
    pub(crate) workload: &'static str,
    pub(crate) options: &'a Options,
}

/// What came of each arm's work, and what should.
pub(crate) struct Proof {
    pub(crate) expected: u64,
    pub(crate) found: HashMap<String, u64>,
}

/// What the arms of a workload took.
pub(crate) struct Timed {
    pub(crate) workload: &'static str,
    pub(crate) page_size: u32,
    pub(crate) cards: Vec<Card>,
    pub(crate) outcome: Outcome,
}

impl Timed {
    /// Pages a second of an arm to those of another, where both took part.
    pub(crate) fn rate(&self, of: &str, to: &str) -> Option<Spread> {
        let took_part = |arm| self.cards.iter().any(|card| card.name == arm);
        (took_part(of) && took_part(to)).then(|| self.outcome.ratio(of, to, Sample::pages_per_s)).flatten()
    }

    /// The same, with each sample seen otherwise.
    pub(crate) fn seen(&self, workload: &'static str, otherwise: fn(&Sample) -> Sample) -> Self {
        Self { workload, cards: self.cards.clone(), outcome: self.outcome.seen(otherwise), ..*self }
    }
}

impl Contest<'_> {
    /// Has each arm do its work once, of which `digest_of` gives the digest.
    pub(crate) fn prove<W>(
        &self,
        arms: &mut [Entrant<W>],
        expected: u64,
        mut digest_of: impl FnMut(&mut W) -> Result<u64>,
    ) -> Result<Proof> {
        let bar = progress::steps(arms.len() as u64);
        let mut found = HashMap::new();
        for Entrant { card, way } in arms {
            bar.set_message(format!("{}: proof of {}", self.workload, card.name));
            let digest =
                digest_of(way).map_err(|error| format!("{}, {}: {error}", self.workload, card.name))?;
            found.insert(card.name.clone(), digest);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(Proof { expected, found })
    }

    /// Runs the arms in turn, the first one twice a round to show the noise.
    pub(crate) fn time<W>(
        &self,
        arms: &mut [Entrant<W>],
        run: impl Fn(&mut W, u32) -> Result<Sample>,
    ) -> Result<Timed> {
        let twin = arms[0].card.name.clone();
        self.run(&Rounds::new(self.options.rounds()).twin(twin), arms, run)
    }

    /// The same without a twin, where there is no rate whose noise could be shown.
    pub(crate) fn watch<W>(
        &self,
        arms: &mut [Entrant<W>],
        run: impl Fn(&mut W, u32) -> Result<Sample>,
    ) -> Result<Timed> {
        self.run(&Rounds::new(self.options.rounds()), arms, run)
    }

    fn run<W>(
        &self,
        rounds: &Rounds,
        arms: &mut [Entrant<W>],
        run: impl Fn(&mut W, u32) -> Result<Sample>,
    ) -> Result<Timed> {
        let cards = arms.iter().map(|arm| arm.card.clone()).collect();
        let run = &run;
        let in_turn = arms
            .iter_mut()
            .map(|Entrant { card, way }| Arm::new(card.name.clone(), move |round| run(way, round)));
        let outcome = progress::in_turn(rounds, self.workload, in_turn.collect())?;
        Ok(Timed { workload: self.workload, page_size: self.options.page_size, cards, outcome })
    }
}
