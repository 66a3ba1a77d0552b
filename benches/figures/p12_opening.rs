//! P12: opening a pool of 1 GiB as it comes, its memory faulted in and its I/O method started, against mapping and faulting
//! in as much memory and nothing else. Both ask for huge pages.

use lab::region::Region;
use lab::report::FigureRow;
use lab::{Arm, Meter, Result, Sample};
use ringpool::BufferPool;

use crate::bench::{Bench, Goal};
use crate::support::memory;

const MEMORY: usize = 1 << 30;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    memory::check(MEMORY as u64 * 11 / 10, "free some")?;
    // What was taken is given back when the clock has stopped.
    let arms = vec![
        Arm::new("faulting in", |_| {
            let meter = Meter::start();
            let region = Region::new(MEMORY)?;
            let elapsed = meter.stop();
            drop(region);
            Ok(elapsed.sample(1, MEMORY as u64))
        }),
        Arm::new("pool", |_| {
            let meter = Meter::start();
            let pool = BufferPool::builder().memory_bytes(MEMORY).build()?;
            let elapsed = meter.stop();
            drop(pool);
            Ok(elapsed.sample(1, MEMORY as u64))
        }),
    ];
    let outcome = bench.run("P12", "faulting in", arms)?;
    let in_words = |arm: &str| format!("{:.0} ms", outcome.summary(arm).seconds * 1e3);
    let seconds = |sample: &Sample| sample.seconds;
    let goal = Goal::at_most("P12", "opening 1 GiB", 1.05);
    Ok(vec![goal.ratio(&outcome, ("pool", "faulting in"), seconds, in_words)])
}
