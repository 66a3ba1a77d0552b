//! P8, the other side: how long a thread that keeps changing one page waits while checkpoints write that page among others; and
//! one that changes all of those pages in turn, so that many of them are being written.
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

/// The longest that the writer of one page may wait: far above a copy, far below a checkpoint. (A writer that changes all pages
/// needs memory beyond the shadow pages that are kept, and the kernel takes its time to give it.)
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
        Arm::new("all pages", |round| {
            pool.change(&pages, |_, page| page[0] = round as u8)?;
            hot_page::all_beside_a_checkpoint(&pool, &pages)
        }),
    ];
    let outcome = bench.run("P8", "alone", arms)?;
    let longest = |arm| longest_waits(&outcome, arm);
    let row = |goal: Goal<'_>, arm| {
        let (Some(during), Some(alone)) = (longest(arm), longest("alone")) else {
            return goal.missing("there were no rounds");
        };
        let p99 = outcome.summary(arm).p99_us.unwrap_or(f64::NAN);
        let (alone, most) = (alone.median, during.max);
        let detail = format!("alone {alone:.0} us; at worst {most:.0} us in a checkpoint; p99 {p99:.1} us");
        goal.spread(&outcome, during, None, &detail)
    };
    Ok(vec![
        row(Goal::at_most("P8", "longest wait of a hot page's writer, us", GOAL_US), "checkpoint"),
        row(Goal::none("P8", "longest wait of the thread that changes all pages, us"), "all pages"),
    ])
}

fn longest_waits(outcome: &Outcome, arm: &str) -> Option<Spread> {
    Spread::of(outcome.samples(arm).iter().filter_map(Sample::longest_us))
}
