//! P5: CPU per page of random reads, user and system, of the whole process, against the bare ring's.

use lab::report::FigureRow;
use lab::{Result, Sample};

use crate::bench::{BARE_RING, Bench, Goal};
use crate::p01_random_read::{places_of, readers};
use crate::race::race;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let outcome = race(bench, bench.input()?, "P5", readers(bench, 64)?, places_of(bench)?)?;
    let in_words = |arm: &str| format!("{:.2} us", outcome.summary(arm).cpu_us_per_page);
    let of = |arm, name| {
        let goal = Goal::at_most("P5", name, 1.4);
        goal.ratio(&outcome, (arm, BARE_RING), Sample::cpu_us_per_page, in_words)
    };
    Ok(vec![
        of("prefetch", "prefetch, 64 in flight"),
        of("read stream", "read stream, 64 in flight"),
        of("tasks", "1,000 tasks, 64 in flight"),
    ])
}
