//! P2: what an engine gains by looking ahead through the ring, against the same pool with the `sync` method, both driven by
//! one thread in the same way.

use lab::Result;
use lab::Sample;
use lab::report::FigureRow;

use crate::bench::{Bench, FRAMES, Goal, PAGE, rate};
use crate::p01_random_read::places_of;
use crate::race::{Reader, race};
use crate::support::{Window, methods};

/// Pages a round of the slow arm: as long as the other arm takes for all of them.
const PAGES_OF_SYNC: usize = 6_000;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let input = bench.input()?;
    let window = Window::of_single_pages(64);
    let readers = vec![
        Reader::ahead(input, "io_uring", &methods::uring(64), FRAMES, PAGE as usize, window)?,
        Reader::ahead(input, "sync", &methods::sync(), FRAMES, PAGE as usize, window)?.at_most(PAGES_OF_SYNC),
    ];
    let outcome = race(bench, bench.input()?, "P2", readers, places_of(bench)?)?;
    let goal = Goal::at_least("P2", "io_uring to sync", 3.0);
    Ok(vec![goal.ratio(&outcome, ("io_uring", "sync"), Sample::pages_per_s, rate(&outcome))])
}
