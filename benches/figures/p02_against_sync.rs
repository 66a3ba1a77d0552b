//! P2: what an engine gains by looking ahead through the ring, against the same pool with the `sync` method, both driven by one
//! thread in the same way; and how much that is of the most that the device allows, which is what the bare ring gains over `pread`
//! in the same rounds.

use lab::baseline::ring::RingOptions;
use lab::report::FigureRow;
use lab::{Result, Sample};

use crate::bench::{BARE_RING, Bench, FRAMES, Goal, PAGE, rate};
use crate::p01_random_read::places_of;
use crate::race::{Reader, race};
use crate::support::{Window, methods};

/// Pages a round of the slow arms: they take as long for these as the other arms for all of them.
const PAGES_OF_SYNC: usize = 6_000;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let input = bench.input()?;
    let window = Window::of_single_pages(64);
    let readers = vec![
        Reader::ring(input, BARE_RING, RingOptions::new(PAGE, 64))?,
        Reader::pread(input)?.at_most(PAGES_OF_SYNC),
        Reader::ahead(input, "io_uring", &methods::uring(64), FRAMES, PAGE as usize, window)?,
        Reader::ahead(input, "sync", &methods::sync(), FRAMES, PAGE as usize, window)?.at_most(PAGES_OF_SYNC),
    ];
    let outcome = race(bench, bench.input()?, "P2", readers, places_of(bench)?)?;
    let gain_of = |of, to| outcome.ratio(of, to, Sample::pages_per_s);
    let goal = Goal::at_least("P2", "io_uring to sync, as a share of the bare ring to pread", 0.95);
    let share = match (gain_of("io_uring", "sync"), gain_of(BARE_RING, "pread")) {
        (Some(own), Some(bare)) => {
            let words = format!("io_uring to sync {own}; bare ring to pread {bare}");
            goal.value(&outcome, own.median / bare.median, words)
        }
        _ => goal.missing("there were no rounds"),
    };
    let gain = Goal::none("P2", "io_uring to sync");
    Ok(vec![share, gain.ratio(&outcome, ("io_uring", "sync"), Sample::pages_per_s, rate(&outcome))])
}
