//! What the criterion benches share: a test file in cargo's own folder, sizes that shrink, and arms that time themselves.

// The bench of hits times itself by criterion's own clock.
#![allow(dead_code)]

use std::env;
use std::path::Path;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use lab::files::TestFile;
use lab::{Result, Sample};

use crate::support::{Candidate, Input, PoolArm, PoolSpec, Wish, scratch};

pub(crate) const PAGE: u32 = 8192;

/// The most bytes of a request.
pub(crate) const COMBINE: usize = 128 << 10;

/// Returns whether this run only shows that everything works: `RINGPOOL_BENCH_QUICK=1`.
fn is_quick() -> bool {
    env::var_os("RINGPOOL_BENCH_QUICK").is_some_and(|value| value != "0")
}

/// Makes a configuration with few samples, since each is a run of many pages.
pub(crate) fn config() -> Criterion {
    let (warm_up, measured) = if is_quick() { (100, 500) } else { (1_000, 5_000) };
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(warm_up))
        .measurement_time(Duration::from_millis(measured))
}

/// A file to read and write.
pub(crate) struct Run {
    pub(crate) input: Input,
    _file: TestFile,
}

/// Makes a file of 512 MiB, or of 32 MiB for a quick run.
///
/// # Panics
///
/// If there is no room for it: a bench has no other way to say so.
pub(crate) fn open() -> Run {
    let bytes = if is_quick() { 32 << 20 } else { 512 << 20 };
    let opened = scratch::create(Path::new(env!("CARGO_TARGET_TMPDIR")), PAGE, bytes).and_then(|file| {
        let input = Input::new(vec![file.path().to_owned()], PAGE, Wish::Direct)?;
        Ok(Run { input, _file: file })
    });
    let run = opened.unwrap_or_else(|error| panic!("{error}"));
    if let Some(why) = run.input.buffered() {
        println!("buffered I/O ({why})");
    }
    run
}

impl Run {
    /// Returns this number of pages, or an eighth of it for a quick run.
    pub(crate) fn pages(&self, pages: usize) -> usize {
        if is_quick() { pages / 8 } else { pages }
    }

    /// Makes a pool with the file open; prints a line and returns `None` where its method is not available.
    pub(crate) fn pool(&self, candidate: &Candidate, frames: u32, writes: bool) -> Option<PoolArm<'_>> {
        let spec = PoolSpec { method: candidate.method.clone(), frames, combine: COMBINE };
        let pool = PoolArm::open(&self.input, &spec, writes);
        pool.inspect_err(|error| println!("{}: left out: {error}", candidate.name)).ok()
    }
}

/// Benches an arm that times itself, so that what it sets up before each run is not counted.
pub(crate) fn time(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut run: impl FnMut() -> Result<Sample>,
) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let seconds = (0..times).map(|_| run().unwrap_or_else(|error| panic!("{error}")).seconds);
            Duration::from_secs_f64(seconds.sum())
        });
    });
}
