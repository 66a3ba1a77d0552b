//! What an open pool costs that is not used.

use std::thread;

use lab::report::FigureRow;
use lab::{Arm, Result, Sample};

use crate::bench::{Bench, Goal};
use crate::support::idle::{IdlePool, REST, SETTLED};
use crate::support::methods;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let input = bench.input()?;
    let uring = IdlePool::open(input, &methods::uring(64))?;
    let worker = IdlePool::open(input, &methods::worker(8))?;
    thread::sleep(SETTLED);
    let arms =
        [("io_uring", &uring), ("worker", &worker)].map(|(name, pool)| Arm::new(name, |_| pool.rest()));
    let outcome = bench.run("idle", "io_uring", arms.into())?;
    let row = |goal: Goal<'_>, arm, metric: fn(&Sample) -> f64| match outcome.spread(arm, metric) {
        Some(spread) => goal.spread(&outcome, spread, None, &format!("{REST:?} a round")),
        None => goal.missing("there were no rounds"),
    };
    let wakeups = |sample: &Sample| sample.wakeups_per_s().unwrap_or(f64::NAN);
    Ok(vec![
        row(Goal::at_most("idle", "io_uring, wake-ups a second", 0.0), "io_uring", wakeups),
        row(Goal::none("idle", "io_uring, us of CPU a second"), "io_uring", Sample::cpu_us_per_s),
        row(Goal::at_most("idle", "worker, wake-ups a second", 0.0), "worker", wakeups),
        row(Goal::none("idle", "worker, us of CPU a second"), "worker", Sample::cpu_us_per_s),
    ])
}
