//! Progress bars on a terminal, and nothing elsewhere. They go to the standard error and are drawn between runs only, so
//! that they cost no arm anything.

use indicatif::{ProgressBar, ProgressStyle};

use crate::Result;
use crate::rounds::{Arm, Outcome, Rounds};

/// Makes a bar of `length` steps. Its message says what goes on.
#[must_use]
pub fn steps(length: u64) -> ProgressBar {
    styled(ProgressBar::new(length), "{elapsed_precise} [{bar:30}] {pos}/{len} {msg}")
}

/// Runs the arms in turn under a bar that shows which of them runs, and for what.
///
/// # Errors
///
/// The first failure of an arm, with its name.
///
/// # Panics
///
/// If there is no arm of the twin's name.
pub fn in_turn(rounds: &Rounds, what: &str, arms: Vec<Arm<'_>>) -> Result<Outcome> {
    let runs = arms.len() + rounds.twin.iter().len();
    let bar = steps(u64::from(rounds.rounds) * runs as u64);
    let outcome = rounds.run(arms, |arm| {
        bar.set_message(format!("{what}: {arm}"));
        bar.inc(1);
    });
    bar.finish_and_clear();
    outcome
}

/// Makes a bar of `length` bytes. Its message says what they are.
#[must_use]
pub fn bytes(length: u64) -> ProgressBar {
    styled(ProgressBar::new(length), "{elapsed_precise} [{bar:30}] {bytes}/{total_bytes} {msg}")
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    bar.with_style(style.progress_chars("=> "))
}
