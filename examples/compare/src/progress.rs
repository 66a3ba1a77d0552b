//! What is printed on the standard error while a run goes on: a bar on a terminal, a line a workload elsewhere, and what was not
//! available. A standard error that is closed is no reason to stop.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use lab::indicatif::ProgressBar;
use lab::progress;

/// Writes a line to the standard error.
pub(crate) fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Which workload of how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) number: usize,
    pub(crate) of: usize,
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.number, self.of)
    }
}

/// The steps of one part of a workload, under a bar.
pub(crate) struct Steps {
    bar: ProgressBar,
    what: String,
    begun: Instant,
}

impl Steps {
    pub(crate) fn new(turn: Turn, workload: &str, steps: usize) -> Self {
        let what = format!("{turn}: {workload}");
        Self { bar: progress::steps(steps as u64), what, begun: Instant::now() }
    }

    /// Shows that a step of this arm begins.
    pub(crate) fn next(&self, arm: &str) {
        self.bar.set_message(format!("{}: {arm}", self.what));
        self.bar.inc(1);
    }

    /// Removes the bar, and returns how long it was shown.
    pub(crate) fn end(&self) -> Duration {
        self.bar.finish_and_clear();
        self.begun.elapsed()
    }
}

/// Says which workload begins and how long it will take, where no bar shows that.
pub(crate) fn say_what_begins(turn: Turn, workload: &str, expected: Duration) {
    if !io::stderr().is_terminal() {
        say(format!("workload {turn}: {workload}, about {} s", expected.as_secs_f64().ceil()));
    }
}
