//! What an open pool costs that nobody uses: how often its threads run, and for how long. It has dirty pages, so that there is
//! something that could be done, and has been used before.
//!
//! The system counts both for each thread (`/proc/self/task/*/schedstat`), so that what measures is not measured.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use lab::report::FigureRow;
use lab::{Arm, Meter, Result, Sample, places};
use ringpool::BackgroundWriter;

use crate::bench::{Bench, Goal};
use crate::support::{Candidate, PoolArm, PoolSpec, methods};

/// How long nothing is done.
const REST: Duration = Duration::from_millis(500);

/// Threads that did what had to be done once leave within this time.
const SETTLED: Duration = Duration::from_secs(6);

const FRAMES: u32 = 1024;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let (uring, worker) =
        (IdlePool::open(bench, methods::uring(64))?, IdlePool::open(bench, methods::worker(8))?);
    thread::sleep(SETTLED);
    let arms =
        [("io_uring", &uring), ("worker", &worker)].map(|(name, pool)| Arm::new(name, |_| pool.rest()));
    let outcome = bench.run("idle", "io_uring", arms.into())?;
    let row = |goal: Goal<'_>, arm, metric: fn(&Sample) -> f64| match outcome.spread(arm, metric) {
        Some(spread) => goal.spread(&outcome, spread, None, &format!("{REST:?} a round")),
        None => goal.missing("there were no rounds"),
    };
    let cpu = |sample: &Sample| sample.cpu_seconds * 1e6 / sample.seconds;
    Ok(vec![
        row(Goal::at_most("idle", "io_uring, wake-ups a second", 0.0), "io_uring", Sample::pages_per_s),
        row(Goal::none("idle", "io_uring, us of CPU a second"), "io_uring", cpu),
        row(Goal::at_most("idle", "worker, wake-ups a second", 0.0), "worker", Sample::pages_per_s),
        row(Goal::none("idle", "worker, us of CPU a second"), "worker", cpu),
    ])
}

/// A pool that was used once, and its threads.
struct IdlePool<'a> {
    threads: Threads,
    /// Open for as long as its threads are looked at.
    _pool: PoolArm<'a>,
}

impl<'a> IdlePool<'a> {
    fn open(bench: &'a Bench, candidate: Candidate) -> Result<Self> {
        let before = Threads::all()?;
        let spec = PoolSpec { method: candidate.method, frames: FRAMES, combine: 128 << 10 };
        let writer = BackgroundWriter::Ready { low: 8, high: 64 };
        let pool =
            PoolArm::open_with(bench.input()?, &spec, true, |builder| builder.background_writer(writer))?;
        pool.change(&places::sequential(&[2 * FRAMES], 1), |_, page| page[0] = 1)?;
        let threads = Threads::all()?.but(&before);
        if threads.run()?.times == 0 {
            return Err("the pool's threads have run, and the system has not counted it".into());
        }
        Ok(Self { threads, _pool: pool })
    }

    /// Does nothing for a while. The sample's pages are the times that a thread ran.
    fn rest(&self) -> Result<Sample> {
        let before = self.threads.run()?;
        let meter = Meter::start();
        thread::sleep(REST);
        let elapsed = meter.stop();
        let after = self.threads.run()?;
        let sample = elapsed.sample(after.times.saturating_sub(before.times), 0);
        Ok(Sample { cpu_seconds: after.seconds - before.seconds, ..sample })
    }
}

/// Threads of this process.
struct Threads(BTreeSet<String>);

/// How often and for how long some threads have run.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    times: u64,
    seconds: f64,
}

impl Threads {
    fn all() -> Result<Self> {
        let tasks = fs::read_dir("/proc/self/task").map_err(|error| format!("/proc/self/task: {error}"))?;
        Ok(Self(tasks.filter_map(|task| task.ok()?.file_name().into_string().ok()).collect()))
    }

    fn but(self, others: &Self) -> Self {
        Self(self.0.difference(&others.0).cloned().collect())
    }

    /// Those that are gone run no more, and count no more.
    fn run(&self) -> Result<Run> {
        let mut all = Run::default();
        for thread in &self.0 {
            let Ok(counts) = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")) else {
                continue;
            };
            let mut counts = counts.split_ascii_whitespace().map(str::parse::<u64>);
            if let (Some(running), Some(_waiting), Some(times)) =
                (counts.next(), counts.next(), counts.next())
            {
                all.seconds += running? as f64 / 1e9;
                all.times += times?;
            }
        }
        Ok(all)
    }
}
