//! P9: pages changed at random, in a working set that is four and eight times the pool, by 128 tasks on one thread. Nearly
//! every update is a miss, and its frame held a dirty page, so a page is written for each that is read; the bare ring does
//! that mix, with as many requests in flight.
//!
//! Reads and writes are those that the pool counted while the clock ran. The pool is full of dirty pages at the start.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use lab::baseline::ring::{BareRing, RingOptions};
use lab::report::FigureRow;
use lab::rounds::Outcome;
use lab::stats::Spread;
use lab::{Arm, Latencies, Meter, Place, Result, Sample, places};
use ringpool::{BufferPool, Counts, PageId};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::bench::{BARE_RING, Bench, FRAMES, Goal, PAGE};
use crate::support::{PoolArm, PoolSpec, methods};

const TASKS: u32 = 128;

/// Updates of a round.
const UPDATES: usize = 12_000;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let mut rows = Vec::new();
    for (times, names) in [
        (4, ["4x, reads", "4x, writes", "4x, batches written by who fetches"]),
        (8, ["8x, reads", "8x, writes", "8x, batches written by who fetches"]),
    ] {
        rows.extend(updates(bench, times * FRAMES, names)?);
    }
    Ok(rows)
}

fn updates(
    bench: &Bench,
    working_set: u32,
    [reads, writes, foreground]: [&str; 3],
) -> Result<Vec<FigureRow>> {
    let input = bench.input()?;
    let spec = PoolSpec { method: methods::uring(TASKS).method, frames: FRAMES, combine: 128 << 10 };
    let pool = PoolArm::open(input, &spec, true)?;
    let runtime = Builder::new_current_thread().build()?;
    let places_of = |round: u32| places::random(&[working_set], UPDATES, round.into());
    // Fills the pool with dirty pages.
    for round in [1000, 1001] {
        update_all(&runtime, &pool, &places_of(round))?;
    }
    let (files, mut ring) = (input.open_plain(true)?, BareRing::new(RingOptions::new(PAGE, TASKS as usize))?);
    let counted = RefCell::new(Vec::new());
    let arms = vec![
        Arm::new(BARE_RING, |round| {
            let pairs: Vec<_> = places_of(round).into_iter().zip(places_of(round + 5000)).collect();
            Ok(ring.update(&files, &pairs, |_, _| ())?)
        }),
        Arm::new("pool", |round| {
            let before = pool.pool().stats().counts;
            let sample = update_all(&runtime, &pool, &places_of(round))?;
            counted.borrow_mut().push((sample.seconds, pool.pool().stats().counts - before));
            Ok(sample)
        }),
    ];
    let outcome = bench.run("P9", BARE_RING, arms)?;
    let counted = counted.into_inner();
    let p99 = outcome.summary("pool").p99_us.unwrap_or(f64::NAN);
    let row = |name, count: fn(&Counts) -> u64| {
        let goal = Goal::at_least("P9", name, 0.9);
        let Some(ratio) = against_ring(&outcome, &counted, count) else {
            return goal.missing("there were no rounds");
        };
        let ring = outcome.summary(BARE_RING).pages_per_s;
        let absolute = format!("bare ring {ring:.0} reads/s and as many writes; p99 of a fetch {p99:.0} us");
        goal.spread(&outcome, ratio, outcome.noise(Sample::pages_per_s), &absolute)
    };
    let by_fetches = counted.iter().map(|(_, counts)| counts.dirty_evictions).sum::<u64>();
    let cleaned = counted.iter().map(|(_, counts)| counts.pages_cleaned).sum::<u64>();
    let updates = UPDATES * counted.len();
    let detail = format!(
        "times that a fetch, of {updates}, had dirty victims written; the background writer wrote {cleaned} pages"
    );
    Ok(vec![
        row(reads, |counts| counts.pages_read),
        row(writes, |counts| counts.pages_written),
        Goal::at_most("P9", foreground, 0.0).value(&outcome, by_fetches as f64, detail),
    ])
}

/// Pages a second that the pool counted, to those of the ring, in each round.
fn against_ring(outcome: &Outcome, counted: &[(f64, Counts)], count: fn(&Counts) -> u64) -> Option<Spread> {
    let rates = counted.iter().map(|(seconds, counts)| count(counts) as f64 / seconds);
    Spread::of(rates.zip(outcome.samples(BARE_RING)).map(|(rate, ring)| rate / ring.pages_per_s()))
}

/// Has the tasks change all pages. Latencies are those of the fetches.
fn update_all(runtime: &Runtime, pool: &PoolArm<'_>, places: &[Place]) -> Result<Sample> {
    let work = Rc::new(Work {
        pool: pool.pool().clone(),
        pages: places.iter().map(|&place| pool.page(place)).collect(),
        next: Cell::new(0),
        latencies: RefCell::new(Latencies::new()),
    });
    let tasks = LocalSet::new();
    let meter = Meter::start();
    let running: Vec<_> = (0..TASKS).map(|_| tasks.spawn_local(Rc::clone(&work).carry_out())).collect();
    let all = tasks.run_until(async {
        for task in running {
            task.await??;
        }
        Ok(())
    });
    let done: Result<()> = runtime.block_on(all);
    done?;
    let elapsed = meter.stop();
    let pages = places.len() as u64;
    Ok(elapsed.sample(pages, pages * u64::from(PAGE)).with_latencies(work.latencies.take()))
}

/// Pages that tasks take one by one and change.
struct Work {
    pool: BufferPool,
    pages: Vec<PageId>,
    next: Cell<usize>,
    latencies: RefCell<Latencies>,
}

impl Work {
    async fn carry_out(self: Rc<Self>) -> ringpool::Result<()> {
        while let Some(&id) = self.pages.get(self.next.replace(self.next.get() + 1)) {
            let started = Instant::now();
            let page = self.pool.fetch(id).await?;
            self.latencies.borrow_mut().record(started.elapsed());
            let mut bytes = page.write_async().await?;
            bytes[0] = bytes[0].wrapping_add(1);
        }
        Ok(())
    }
}
