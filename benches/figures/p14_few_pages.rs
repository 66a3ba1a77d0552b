//! P14: what it costs to cut, to close and to remove a file of few pages, in a pool of 2 Mi frames against one of 16 Ki frames. Both
//! pools are full of pages of another file; the disk answers at once, so that nothing but the pool's own work is measured.

use lab::Result;
use lab::report::FigureRow;

use crate::bench::{Bench, Goal};

const GOAL: f64 = 2.0;

#[cfg(not(feature = "testing"))]
pub(crate) fn measure(_: &Bench) -> Result<Vec<FigureRow>> {
    let goal = Goal::at_most("P14", "cutting, closing and removing a file of few pages", GOAL);
    Ok(vec![goal.missing("needs its null disk: run with --features testing")])
}

#[cfg(feature = "testing")]
pub(crate) use measured::measure;

#[cfg(feature = "testing")]
mod measured {
    use std::num::NonZeroU32;

    use lab::{Arm, Meter, Sample};
    use ringpool::testing::NullDisk;
    use ringpool::{BufferPool, FileId, IoMethod, OpenOptions, PageId, options::BackgroundWriter};

    use super::*;
    use crate::support::memory;

    /// Small pages: how many there are is what matters.
    const PAGE: u32 = 512;

    /// The pages of a file, all of them dirty when the clock starts.
    const PAGES: u32 = 8;

    /// The files of a sample.
    const FILES: u32 = 256;

    const FEW_FRAMES: u32 = 16 << 10;
    const MANY_FRAMES: u32 = 2 << 20;

    type Operation = (&'static str, fn(&BufferPool, FileId) -> ringpool::Result<()>);

    const OPERATIONS: [Operation; 3] = [
        ("cutting", |pool, file| pool.truncate(file, 1).wait()),
        ("closing", |pool, file| pool.close_file(file).wait()),
        ("removing", |pool, file| pool.drop_file(file).wait()),
    ];

    pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
        memory::check(u64::from(MANY_FRAMES) * u64::from(PAGE) * 5 / 4, "free some")?;
        let (few, many) = (full_pool(FEW_FRAMES)?, full_pool(MANY_FRAMES)?);
        OPERATIONS.iter().map(|operation| measure_one(bench, operation, &few, &many)).collect()
    }

    fn measure_one(
        bench: &Bench,
        &(name, operation): &Operation,
        few: &BufferPool,
        many: &BufferPool,
    ) -> Result<FigureRow> {
        let arms = vec![
            Arm::new("16 Ki frames", move |_| run(few, operation)),
            Arm::new("2 Mi frames", move |_| run(many, operation)),
        ];
        let outcome = bench.run("P14", "16 Ki frames", arms)?;
        let in_words =
            |arm: &str| format!("{:.1} us a file", outcome.summary(arm).seconds * 1e6 / f64::from(FILES));
        let seconds = |sample: &Sample| sample.seconds;
        let goal = Goal::at_most("P14", name, GOAL);
        Ok(goal.ratio(&outcome, ("2 Mi frames", "16 Ki frames"), seconds, in_words))
    }

    /// Makes a pool whose frames all have pages of one file.
    fn full_pool(frames: u32) -> Result<BufferPool> {
        let disk = NullDisk::new(u64::from(PAGES) * u64::from(PAGE));
        let builder = BufferPool::builder().frames(frames).page_size(PAGE).io_method(IoMethod::Sync);
        let pool = builder.background_writer(BackgroundWriter::Off).storage(disk).build()?;
        let file = pool.open_file("other", OpenOptions::new())?;
        pool.extend(file, NonZeroU32::new(frames).expect("a pool has frames")).wait()?;
        for block in 0..frames {
            pool.fetch(PageId::new(file, block)).wait()?;
        }
        Ok(pool)
    }

    fn run(pool: &BufferPool, operation: fn(&BufferPool, FileId) -> ringpool::Result<()>) -> Result<Sample> {
        let mut files = Vec::new();
        for _ in 0..FILES {
            let file = pool.open_file("few", OpenOptions::new())?;
            for block in 0..PAGES {
                pool.fetch(PageId::new(file, block)).wait()?.write()?.fill(1);
            }
            files.push(file);
        }
        let meter = Meter::start();
        for &file in &files {
            operation(pool, file)?;
        }
        let elapsed = meter.stop();
        for file in files {
            if pool.blocks(file).is_ok() {
                pool.close_file(file).wait()?;
            }
        }
        Ok(elapsed.sample(u64::from(FILES * PAGES), 0))
    }
}
