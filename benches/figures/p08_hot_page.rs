//! P8, the other side: how long a thread that keeps changing one page waits while checkpoints write that page among others.
//!
//! The page lies in the middle of what is dirty. Each checkpoint has one moment that matters, so the value is the median of
//! the longest wait within a checkpoint; the same thread without checkpoints shows what the machine itself adds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lab::report::FigureRow;
use lab::rounds::Outcome;
use lab::stats::Spread;
use lab::{Arm, Latencies, Meter, Place, Result, Sample, places};
use ringpool::PinnedPage;

use crate::bench::{Bench, Goal, PAGE};
use crate::support::{PoolArm, PoolSpec, methods};

/// Pages of a checkpoint, one behind the other.
const PAGES: u32 = 8192;

/// The longest that the thread may wait: far above a copy, far below a checkpoint.
const GOAL_US: f64 = 500.0;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let input = bench.input()?;
    let spec = PoolSpec { method: methods::uring(64).method, frames: PAGES + PAGES / 4, combine: 128 << 10 };
    let pool = PoolArm::open(input, &spec, true)?;
    let pages = places::sequential(&[PAGES], 1);
    let hot = pages[pages.len() / 2];
    let arms = vec![
        Arm::new("alone", |_| {
            let wait = Duration::from_millis(50);
            changing(&pool, hot, || {
                thread::sleep(wait);
                Ok(0)
            })
        }),
        Arm::new("checkpoint", |round| {
            pool.change(&pages, |_, page| page[0] = round as u8)?;
            changing(&pool, hot, || Ok(pool.checkpoint()?.pages))
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
    let longest = |sample: &Sample| sample.latencies.as_ref().and_then(|waits| waits.quantile_us(1.0));
    Spread::of(outcome.samples(arm).iter().filter_map(longest))
}

/// Changes the hot page over and over while `work` runs; the latencies are those of getting at it.
fn changing(pool: &PoolArm<'_>, hot: Place, work: impl FnOnce() -> Result<u64>) -> Result<Sample> {
    let page = pool.pool().fetch(pool.page(hot)).wait()?;
    let over = AtomicBool::new(false);
    let meter = Meter::start();
    let (written, waits) = thread::scope(|scope| {
        let changer = scope.spawn(|| change_until(&over, &page));
        let written = work();
        over.store(true, Ordering::Relaxed);
        (written, changer.join().expect("a changer that does not panic"))
    });
    let pages = written?;
    Ok(meter.stop().sample(pages, pages * u64::from(PAGE)).with_latencies(waits?))
}

fn change_until(over: &AtomicBool, page: &PinnedPage) -> Result<Latencies> {
    let mut waits = Latencies::new();
    while !over.load(Ordering::Relaxed) {
        let started = Instant::now();
        let mut bytes = page.write()?;
        waits.record(started.elapsed());
        bytes[1] = bytes[1].wrapping_add(1);
        drop(bytes);
        thread::yield_now();
    }
    Ok(waits)
}
