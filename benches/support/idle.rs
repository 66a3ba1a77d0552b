//! A pool that is not used: how often its threads run, and for how long. It has dirty pages, so that there is something that
//! could be done, and has been used before.

use std::thread;
use std::time::Duration;

use lab::threads::Threads;
use lab::{Meter, Result, Sample, places};
use ringpool::options::BackgroundWriter;

use super::{Candidate, Input, PoolArm, PoolSpec};

/// The time within which threads end that were started for single tasks.
pub(crate) const SETTLED: Duration = Duration::from_secs(6);

/// How long nothing is done.
pub(crate) const REST: Duration = Duration::from_millis(500);

const FRAMES: u32 = 1024;

/// A pool that was used once, and its threads.
#[derive(Debug)]
pub(crate) struct IdlePool<'a> {
    threads: Threads,
    /// Open for as long as its threads are looked at.
    pub(crate) pool: PoolArm<'a>,
}

impl<'a> IdlePool<'a> {
    pub(crate) fn open(input: &'a Input, candidate: &Candidate) -> Result<Self> {
        let before = Threads::all()?;
        let spec = PoolSpec { method: candidate.method.clone(), frames: FRAMES, combine: 128 << 10 };
        let writer = BackgroundWriter::ReadyFrames { low: 8, high: 64 };
        let pool = PoolArm::open_with(input, &spec, true, |builder| builder.background_writer(writer))?;
        let blocks = input.blocks()[0].min(2 * FRAMES);
        pool.change(&places::sequential(&[blocks], 1), |_, page| page[0] = 1)?;
        let threads = Threads::all()?.but(&before);
        if threads.run()?.times == 0 {
            return Err("the pool's threads have run, and the system has not counted it".into());
        }
        Ok(Self { threads, pool })
    }

    /// Does nothing for a while. Wake-ups and CPU are those of the pool's threads.
    pub(crate) fn rest(&self) -> Result<Sample> {
        let before = self.threads.run()?;
        let meter = Meter::start();
        thread::sleep(REST);
        let elapsed = meter.stop();
        let run = self.threads.run()?.since(before);
        Ok(Sample { cpu_seconds: run.seconds, wakeups: Some(run.times), ..elapsed.sample(0, 0) })
    }
}
