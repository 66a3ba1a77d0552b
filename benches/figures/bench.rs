//! What all figures share: where the files are, how many rounds, and how a ratio becomes a row.

use std::cell::OnceCell;
use std::path::PathBuf;

use lab::files::TestFile;
use lab::report::{FigureRow, Relation};
use lab::rounds::Outcome;
use lab::stats::Spread;
use lab::{Arm, Result, Rounds, Sample, progress};

use crate::support::{Input, Wish, scratch};

/// Bytes a page, in all figures but where memory is short.
pub(crate) const PAGE: u32 = 8192;

/// The test file: large enough that a pool of [`FRAMES`] keeps next to nothing of it.
const FILE_BYTES: u64 = 1 << 30;

/// Frames of a pool that reads: 64 MiB.
pub(crate) const FRAMES: u32 = 8192;

/// The arm with which the others are compared, and which runs twice a round.
pub(crate) const BARE_RING: &str = "bare ring";

/// A run of figures.
pub(crate) struct Bench {
    pub(crate) dir: PathBuf,
    /// The device of P6.
    pub(crate) device: Option<PathBuf>,
    pub(crate) rounds: u32,
    file: OnceCell<(TestFile, Input)>,
}

impl Bench {
    pub(crate) fn new(dir: PathBuf, device: Option<PathBuf>, rounds: u32) -> Self {
        Self { dir, device, rounds, file: OnceCell::new() }
    }

    /// Returns the test file, which is made at the first call.
    pub(crate) fn input(&self) -> Result<&Input> {
        if self.file.get().is_none() {
            let file = scratch::create(&self.dir, PAGE, FILE_BYTES)?;
            let input = Input::new(vec![file.path().to_owned()], PAGE, Wish::Direct)?;
            if let Some(why) = input.buffered() {
                println!("buffered I/O ({why}): figures of devices say nothing here");
            }
            // No other thread sets it: there is one.
            let _ = self.file.set((file, input));
        }
        Ok(&self.file.get().expect("it was set above").1)
    }

    /// Runs the arms in turn, `twin` twice a round.
    pub(crate) fn run(&self, figure: &str, twin: &str, arms: Vec<Arm<'_>>) -> Result<Outcome> {
        progress::in_turn(&Rounds::new(self.rounds).twin(twin), figure, arms)
    }
}

/// A goal: which figure, which of its values, and where it has to be, if anywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal<'a> {
    pub(crate) figure: &'a str,
    pub(crate) name: &'a str,
    goal: Option<(Relation, f64)>,
}

impl<'a> Goal<'a> {
    pub(crate) const fn at_least(figure: &'a str, name: &'a str, goal: f64) -> Self {
        Self { figure, name, goal: Some((Relation::AtLeast, goal)) }
    }

    pub(crate) const fn at_most(figure: &'a str, name: &'a str, goal: f64) -> Self {
        Self { figure, name, goal: Some((Relation::AtMost, goal)) }
    }

    /// Makes a goal without a bound: the value is only reported.
    pub(crate) const fn none(figure: &'a str, name: &'a str) -> Self {
        Self { figure, name, goal: None }
    }

    /// Makes the row of a ratio of two arms of `outcome` by a metric; `absolute` says what the numbers behind it are.
    pub(crate) fn ratio(
        self,
        outcome: &Outcome,
        (of, to): (&str, &str),
        metric: fn(&Sample) -> f64,
        absolute: impl Fn(&str) -> String,
    ) -> FigureRow {
        let Some(ratio) = outcome.ratio(of, to, metric) else {
            return self.missing("there were no rounds");
        };
        let absolute = format!("{of} {}, {to} {}", absolute(of), absolute(to));
        self.spread(outcome, ratio, outcome.noise(metric), &absolute)
    }

    /// Makes the row of a value that was found in every round.
    pub(crate) fn spread(
        self,
        outcome: &Outcome,
        value: Spread,
        noise: Option<Spread>,
        absolute: &str,
    ) -> FigureRow {
        let noise = noise.map_or_else(String::new, |noise| {
            format!("; same arm {:.3} ({:.3} to {:.3})", noise.median, noise.lower, noise.upper)
        });
        let detail = format!("quartiles {:.3} to {:.3}{noise}; {absolute}", value.lower, value.upper);
        self.value(outcome, value.median, detail)
    }

    /// Makes the row of one number of a run.
    pub(crate) fn value(self, outcome: &Outcome, value: f64, detail: String) -> FigureRow {
        let row = self.alone(value, detail);
        match outcome.disturbance() {
            Some(why) => row.undecided(&why),
            None => row,
        }
    }

    /// Makes the row of a number that nothing can disturb.
    pub(crate) fn alone(self, value: f64, detail: String) -> FigureRow {
        FigureRow::measured((self.figure, self.name), value, self.goal, detail)
    }

    pub(crate) fn missing(self, why: impl Into<String>) -> FigureRow {
        FigureRow::missing((self.figure, self.name), self.goal, why)
    }
}

/// Returns a function that formats the pages a second of an arm.
pub(crate) fn rate(outcome: &Outcome) -> impl Fn(&str) -> String {
    |arm| format!("{:.0} pages/s", outcome.summary(arm).pages_per_s)
}
