//! P4: one thread misses, waits, and only then knows which page it wants next: nothing can be overlapped, and a pool can
//! only add to what `pread` takes.

use lab::report::FigureRow;
use lab::{Result, Sample, places};

use crate::bench::{Bench, Goal};
use crate::race::{Reader, race};
use crate::support::methods;

/// Pages a round.
const PAGES: usize = 1_500;

/// Frames of the pool: some of the misses of a round replace pages of the same.
const FRAMES: u32 = 1024;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let input = bench.input()?;
    let mut readers = vec![Reader::pread(input)?];
    let mut rows = Vec::new();
    let mut measured = Vec::new();
    for candidate in methods::all(64, 8) {
        let goal = Goal::at_most("P4", candidate.name, 1.05);
        match Reader::one_by_one(input, candidate.name, &candidate, FRAMES) {
            Ok(reader) => {
                readers.push(reader);
                measured.push(goal);
            }
            Err(error) => rows.push(goal.missing(error.to_string())),
        }
    }
    let blocks = input.blocks();
    let outcome = race(bench, bench.input()?, "P4", readers, |round, _| {
        places::random_distinct(&blocks, PAGES, round.into())
    })?;
    let p50 = |sample: &Sample| sample.p50_us().unwrap_or(f64::NAN);
    let in_words = |arm: &str| format!("{:.1} us", outcome.summary(arm).p50_us.unwrap_or(f64::NAN));
    rows.extend(measured.iter().map(|goal| goal.ratio(&outcome, (goal.name, "pread"), p50, in_words)));
    Ok(rows)
}
