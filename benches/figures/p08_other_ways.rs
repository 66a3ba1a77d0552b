//! P8, beside other ways to the same end: the pool's own `sync` method, which waits for one request after another, and writes
//! through the system's page cache with an `fdatasync` at the end, page by page, as a program without a pool makes them.
//!
//! The page cache is emptied after each turn of theirs, outside the clock: what it keeps would slow direct writes.

use lab::baseline::Ending;
use lab::baseline::plain::Plain;
use lab::report::FigureRow;
use lab::{Arm, Place, Result, Sample};

use crate::bench::{Bench, Goal, PAGE, rate};
use crate::p08_checkpoint::{PAGES, dense_pages, random_pages, ranges};
use crate::support::{Candidate, PoolArm, PoolSpec, methods};

const SYNC: &str = "pool, sync";
const BUFFERED: &str = "page cache";

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let blocks = bench.input()?.blocks();
    let mut rows =
        compare(bench, &random_pages(&blocks), ["random, to the pool's sync", "random, to the page cache"])?;
    let dense = dense_pages(&ranges(&blocks));
    rows.extend(compare(bench, &dense, ["dense, to the pool's sync", "dense, to the page cache"])?);
    Ok(rows)
}

fn compare(bench: &Bench, pages: &[Place], [to_sync, to_buffered]: [&str; 2]) -> Result<Vec<FigureRow>> {
    let input = bench.input()?;
    let pool = |Candidate { method, .. }| {
        let spec = PoolSpec { method, frames: PAGES + PAGES / 4, combine: 256 << 10 };
        PoolArm::open(input, &spec, true)
    };
    let checkpoint = |pool: &PoolArm<'_>, round: u32| {
        pool.change(pages, |_, page| page[0] = round as u8)?;
        pool.checkpoint()
    };
    let (uring, sync, buffered) =
        (pool(methods::uring(64))?, pool(methods::sync())?, input.open_buffered(true)?);
    let arms = vec![
        Arm::new("pool", |round| checkpoint(&uring, round)),
        Arm::new(SYNC, |round| checkpoint(&sync, round)),
        Arm::new(BUFFERED, |_| {
            let written = Plain::new(PAGE).write(&buffered, pages, Ending::Synced, |_, _| ())?;
            buffered.iter().try_for_each(lab::files::drop_cache)?;
            Ok(written)
        }),
    ];
    let outcome = bench.run("P8b", "pool", arms)?;
    let row = |name, other| {
        let goal = Goal::at_least("P8b", name, 1.0);
        goal.ratio(&outcome, ("pool", other), Sample::pages_per_s, rate(&outcome))
    };
    Ok(vec![row(to_sync, SYNC), row(to_buffered, BUFFERED)])
}
