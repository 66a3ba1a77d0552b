//! P9: pages changed at random, in a working set that is four and eight times the pool, by 128 tasks on one thread; against the
//! bare ring, which does the same mix of reads and writes with as many requests in flight.
//!
//! Reads and writes are those that the pool counted while the clock ran. The pool is full of dirty pages at the start. The p99 of a
//! fetch is compared with that of the bare ring's requests.

use lab::baseline::ring::{BareRing, RingOptions};
use lab::report::FigureRow;
use lab::rounds::Outcome;
use lab::{Arm, Result, Sample};

use crate::bench::{BARE_RING, Bench, FRAMES, Goal, PAGE};
use crate::support::updates::{Mix, Updater};
use crate::support::{PoolArm, PoolSpec, methods};

const TASKS: u32 = 128;

/// Updates of a round.
const UPDATES: u32 = 12_000;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let mut rows = Vec::new();
    for (times, names) in [
        (4, ["4x, reads", "4x, writes", "4x, p99 of a fetch", "4x, batches that fetches wrote"]),
        (8, ["8x, reads", "8x, writes", "8x, p99 of a fetch", "8x, batches that fetches wrote"]),
    ] {
        rows.extend(updates(bench, Mix { working_set: times * FRAMES, updates: UPDATES }, names)?);
    }
    Ok(rows)
}

fn updates(bench: &Bench, mix: Mix, [reads, writes, p99, foreground]: [&str; 4]) -> Result<Vec<FigureRow>> {
    let input = bench.input()?;
    let spec = PoolSpec { method: methods::uring(TASKS).method, frames: FRAMES, combine: 128 << 10 };
    let updater = Updater::new(PoolArm::open(input, &spec, true)?, TASKS);
    updater.warm_up(&mix)?;
    let (files, mut ring) = (input.open_plain(true)?, BareRing::new(RingOptions::new(PAGE, TASKS as usize))?);
    let arms = vec![
        Arm::new(BARE_RING, |round| Ok(ring.update(&files, &mix.pairs(round), |_, _| ())?)),
        Arm::new("pool", |round| updater.count_up(&mix.places(round))),
    ];
    let before = updater.pool.counts();
    let outcome = bench.run("P9", BARE_RING, arms)?;
    let counts = updater.pool.counts() - before;
    let of_ring = outcome.summary(BARE_RING).pages_per_s;
    let absolute = format!("bare ring {of_ring:.0} reads/s and as many writes");
    let row = |name, outcome: &Outcome| {
        let goal = Goal::at_least("P9", name, 1.0);
        match outcome.ratio("pool", BARE_RING, Sample::pages_per_s) {
            Some(ratio) => goal.spread(outcome, ratio, outcome.noise(Sample::pages_per_s), &absolute),
            None => goal.missing("there were no rounds"),
        }
    };
    let p99_of = |sample: &Sample| sample.p99_us().unwrap_or(f64::NAN);
    let in_words = |arm: &str| format!("{:.0} us", outcome.summary(arm).p99_us.unwrap_or(f64::NAN));
    let detail = format!(
        "times that a fetch, of {}, had dirty victims written; the background writer wrote {} pages",
        UPDATES * bench.rounds,
        counts.pages_cleaned
    );
    Ok(vec![
        row(reads, &outcome),
        row(writes, &outcome.seen(Sample::by_writes)),
        Goal::at_most("P9", p99, 1.5).ratio(&outcome, ("pool", BARE_RING), p99_of, in_words),
        Goal::at_most("P9", foreground, 0.0).value(&outcome, counts.dirty_evictions as f64, detail),
    ])
}
