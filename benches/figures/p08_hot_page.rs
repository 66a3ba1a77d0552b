//! P8, the other side: how long a thread that keeps changing one page waits while checkpoints write that page among others.
//!
//! The page lies in the middle of what is dirty. Each checkpoint has one moment that matters, so the value is the median of
//! the longest wait within a checkpoint; the same thread without checkpoints shows what the machine itself adds.

use lab::report::FigureRow;
use lab::rounds::Outcome;
use lab::stats::Spread;
use lab::{Arm, Result, Sample, places};

use crate::bench::{Bench, Goal};
use crate::support::{PoolArm, PoolSpec, hot_page, methods};

/// Pages of a checkpoint, one behind the other.
const PAGES: u32 = 8192;

/// The longest that the thread may wait: far above a copy, far below a checkpoint.
const GOAL_US: f64 = 500.0;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let input = bench.input()?;
    let spec = PoolSpec { method: methods::uring(64).method, frames: PAGES + PAGES / 4, combine: 128 << 10 };
    let pool = PoolArm::open(input, &spec, true)?;
    let pages = places::sequential(&[PAGES], 1);
    let hot = hot_page::among(&pages);
    let arms = vec![
        Arm::new("alone", |_| hot_page::alone(&pool, hot)),
        Arm::new("checkpoint", |round| {
            pool.change(&pages, |_, page| page[0] = round as u8)?;
            hot_page::beside_a_checkpoint(&pool, hot)
        }),
    ];
    let outcome = bench.run("P8", "alone", arms)?;
    let goal = Goal::at_most("P8", "longest wait of a hot page's writer, us", GOAL_US);
    let longest = |arm| longest_waits(&outcome, arm);
    let (Some(during), Some(alone)) = (longest("checkpoint"), longest("alone")) else {
        return Ok(vec![goal.missing("there were no rounds")]);
    };
    let detail = format!("alone {:.0} us; at worst {:.0} us in a checkpoint", alone.median, during.max);
    Ok(vec![goal.spread(&outcome, during, None, &detail)])
}

fn longest_waits(outcome: &Outcome, arm: &str) -> Option<Spread> {
    Spread::of(outcome.samples(arm).iter().filter_map(Sample::longest_us))
}
