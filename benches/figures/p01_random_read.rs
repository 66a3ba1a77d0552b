//! P1: random reads of single pages that are known ahead, against the bare ring with as many in flight.

use lab::baseline::ring::RingOptions;
use lab::report::FigureRow;
use lab::{Place, Result, Sample, places};

use ringpool::StreamOptions;

use crate::bench::{BARE_RING, Bench, FRAMES, Goal, PAGE, rate};
use crate::race::{Reader, race};
use crate::support::{Window, methods};

/// Pages a round: three times what the pool holds.
const PAGES: usize = 24_000;

/// Tasks of one thread, of which the ring has as many in flight as it may.
const TASKS: usize = 1000;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let mut rows = Vec::new();
    for (depth, names) in [
        (64, ["prefetch, 64 in flight", "read stream, 64 in flight", "1,000 tasks, 64 in flight"]),
        (128, ["prefetch, 128 in flight", "read stream, 128 in flight", "1,000 tasks, 128 in flight"]),
    ] {
        let outcome = race(bench, bench.input()?, "P1", readers(bench, depth)?, places_of(bench)?)?;
        for (arm, name) in ["prefetch", "read stream", "tasks"].into_iter().zip(names) {
            let goal = Goal::at_least("P1", name, 0.97);
            rows.push(goal.ratio(&outcome, (arm, BARE_RING), Sample::pages_per_s, rate(&outcome)));
        }
    }
    Ok(rows)
}

/// Makes the readers: the bare ring, and the pool by prefetch, by read stream and by tasks, all with `depth` requests in flight.
pub(crate) fn readers(bench: &Bench, depth: u32) -> Result<Vec<Reader<'_>>> {
    let input = bench.input()?;
    let window = Window::of_single_pages(depth);
    Ok(vec![
        Reader::ring(input, BARE_RING, RingOptions::new(PAGE, depth as usize))?,
        Reader::ahead(input, "prefetch", &methods::uring(depth), FRAMES, PAGE as usize, window)?,
        Reader::stream(input, "read stream", &methods::uring(depth), FRAMES, StreamOptions::new())?,
        Reader::tasks(input, "tasks", &methods::uring(depth), FRAMES, TASKS)?,
    ])
}

/// Returns a function that draws other places for every round, none twice in one.
pub(crate) fn places_of(bench: &Bench) -> Result<impl Fn(u32, u32) -> Vec<Place>> {
    let blocks = bench.input()?.blocks();
    Ok(move |round: u32, _| places::random_distinct(&blocks, PAGES, round.into()))
}
