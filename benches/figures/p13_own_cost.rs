//! P13: what the pool itself costs for a cold page: a read stream, with eviction, on a disk that answers at once and touches no byte.
//! CPU of the whole process, user and system, divided by the pages; so the pool is never the limit of a device as long as
//! that device takes longer.
//!
//! The arms differ in how many pages a request covers. Transfers are function calls (the `sync` method): how requests reach a
//! device and end is what P5 and P6 measure.

use lab::Result;
use lab::report::FigureRow;

use crate::bench::{Bench, Goal};

const GOAL_NS: f64 = 250.0;

#[cfg(not(feature = "testing"))]
pub(crate) fn measure(_: &Bench) -> Result<Vec<FigureRow>> {
    let goal = Goal::at_most("P13", "the pool's own CPU for a cold page, in ns", GOAL_NS);
    Ok(vec![goal.missing("needs its null disk: run with --features testing")])
}

#[cfg(feature = "testing")]
pub(crate) use measured::measure;

#[cfg(feature = "testing")]
mod measured {
    use lab::{Arm, Meter, Place, Sample};
    use ringpool::testing::NullDisk;
    use ringpool::{BufferPool, FileId, IoMethod, OpenOptions, StreamOptions};

    use super::*;
    use crate::bench::{FRAMES, PAGE};
    use crate::support::look_at;

    /// Pages a round: thirty-two times what the pool holds.
    const PAGES: u32 = 32 * FRAMES;

    /// The arms, and how many bytes a request of each covers at most.
    const ARMS: [(&str, usize); 2] =
        [("128 KiB a request", 128 << 10), ("one page a request", PAGE as usize)];

    pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
        let scan = Scan::new()?;
        let arms = ARMS.map(|(name, combine)| {
            let scan = &scan;
            Arm::new(name, move |_| scan.run(combine))
        });
        let outcome = bench.run("P13", ARMS[0].0, arms.into())?;
        let ns = |sample: &Sample| sample.cpu_us_per_page() * 1e3;
        let row = |&(name, _): &(&str, usize)| {
            let goal = Goal::at_most("P13", name, GOAL_NS);
            let in_words = format!("{:.0} pages/s", outcome.summary(name).pages_per_s);
            match outcome.spread(name, ns) {
                Some(spread) => goal.spread(&outcome, spread, outcome.noise(ns), &in_words),
                None => goal.missing("there were no rounds"),
            }
        };
        Ok(ARMS.iter().map(row).collect())
    }

    /// A pool that scans a file which is far larger, over and over, so that next to no page is ever found.
    struct Scan {
        pool: BufferPool,
        file: FileId,
    }

    impl Scan {
        fn new() -> Result<Self> {
            let disk = NullDisk::new(u64::from(PAGES) * u64::from(PAGE));
            let builder = BufferPool::builder().frames(FRAMES).page_size(PAGE);
            let pool = builder.io_method(IoMethod::Sync).storage(disk).build()?;
            let file = pool.open_file("null", OpenOptions::new().read_only(true))?;
            Ok(Self { pool, file })
        }

        fn run(&self, combine: usize) -> Result<Sample> {
            let before = self.pool.stats().counts;
            let options = StreamOptions::new().combine_limit_bytes(combine);
            let meter = Meter::start();
            for (block, page) in (0..PAGES).zip(self.pool.read_stream(self.file.pages(0..PAGES), options)) {
                look_at(Place { file: 0, block }, &page?.read());
            }
            let elapsed = meter.stop();
            let read = (self.pool.stats().counts - before).pages_read;
            // Of a loop, however long, replacement keeps a few pages by chance.
            if read < u64::from(PAGES) * 999 / 1000 {
                return Err(format!("of {PAGES} cold pages {read} were read").into());
            }
            Ok(elapsed.sample(u64::from(PAGES), 0))
        }
    }
}
