//! P6: random reads of a device that is faster than the processor, by read stream, against the bare ring with as many in
//! flight. The device hides nothing: what the pool costs shows in the rate.
//!
//! `benches/ram_device` makes such a device, which takes root, and names it to this figure.

use lab::baseline::ring::RingOptions;
use lab::report::FigureRow;
use lab::{Result, Sample, places};

use ringpool::StreamOptions;

use crate::bench::{BARE_RING, Bench, FRAMES, Goal, PAGE, rate};
use crate::race::{Reader, race};
use crate::support::{Input, Wish, methods};

/// Pages a round: three times what the pool holds.
const PAGES: usize = 24_000;

const DEPTH: u32 = 64;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let goal = Goal::at_least("P6", "64 in flight", 0.9);
    let Some(device) = &bench.device else {
        return Ok(vec![goal.missing("needs a --device in memory: run benches/ram_device")]);
    };
    let input = Input::new(vec![device.clone()], PAGE, Wish::Direct)?;
    if let Some(why) = input.buffered() {
        return Ok(vec![goal.missing(format!("{} has no direct I/O: {why}", device.display()))]);
    }
    let readers = vec![
        Reader::ring(&input, BARE_RING, RingOptions::new(PAGE, DEPTH as usize))?,
        Reader::stream(&input, "pool", &methods::uring(DEPTH), FRAMES, StreamOptions::new())?,
    ];
    let blocks = input.blocks();
    let places_of = |round: u32, _| places::random_distinct(&blocks, PAGES, round.into());
    let outcome = race(bench, &input, "P6", readers, places_of)?;
    Ok(vec![goal.ratio(&outcome, ("pool", BARE_RING), Sample::pages_per_s, rate(&outcome))])
}
