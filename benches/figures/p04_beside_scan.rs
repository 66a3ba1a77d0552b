//! P4b: what a miss takes while look-ahead runs at full speed beside it, with 128 reads ahead in flight (the default) and with as many
//! as there may be, 192; and what that limit costs the look-ahead.
//!
//! The two use different halves of one file. The misses are those of a thread, which reads by itself, and those of a task,
//! which go through the ring.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use lab::report::FigureRow;
use lab::rounds::Outcome;
use lab::{Arm, Latencies, Meter, Place, Result, Sample, places};
use ringpool::IoMethod;

use crate::bench::{Bench, FRAMES, Goal, PAGE, rate};
use crate::support::{PoolArm, PoolSpec, Window, look_at};

/// Misses of a round.
const MISSES: usize = 1_500;

/// Pages between looks at whether the round is over.
const SCAN_STEP: usize = 2_000;

/// Pages ahead: more than the ring takes.
const WINDOW: Window = Window { ahead: 512, step: 16 };

/// Longer than any read takes.
const PATIENCE: Duration = Duration::from_secs(60);

const LIMITED: &str = "128 in flight";
const MOST: &str = "no limit";

/// What waits for a miss.
#[derive(Clone, Copy, Debug)]
enum Waiter {
    Thread,
    Task,
}

pub(crate) fn measure(bench: &Bench) -> Result<Vec<FigureRow>> {
    let mut rows = Vec::new();
    for (waiter, p99, scan) in [
        (Waiter::Thread, "a thread's miss, p99", "look-ahead beside threads"),
        (Waiter::Task, "a task's miss, p99", "look-ahead beside tasks"),
    ] {
        let outcome = race(bench, waiter)?;
        let of = |sample: &Sample| sample.p99_us().unwrap_or(f64::NAN);
        let in_words = |arm: &str| {
            let summary = outcome.summary(arm);
            let [p50, p99] = [summary.p50_us, summary.p99_us].map(|us| us.unwrap_or(f64::NAN));
            format!("{p99:.0} us (p50 {p50:.0} us)")
        };
        rows.push(Goal::at_most("P4b", p99, 0.8).ratio(&outcome, (LIMITED, MOST), of, in_words));
        let goal = Goal::at_least("P4b", scan, 0.97);
        rows.push(goal.ratio(&outcome, (LIMITED, MOST), Sample::pages_per_s, rate(&outcome)));
    }
    Ok(rows)
}

fn race(bench: &Bench, waiter: Waiter) -> Result<Outcome> {
    let input = bench.input()?;
    let open = |depth| {
        let spec = PoolSpec { method: IoMethod::uring(), frames: FRAMES, combine: PAGE as usize };
        PoolArm::open_with(input, &spec, false, |builder| builder.background_depth(depth))
    };
    let half = input.blocks()[0] / 2;
    let arms = [(LIMITED, 128), (MOST, u32::MAX)];
    let mut timed = Vec::new();
    for (name, depth) in arms {
        let pool = open(depth)?;
        timed.push(Arm::new(name, move |round| {
            let mut misses = places::random_distinct(&[half], MISSES, u64::from(round) + 1);
            misses.iter_mut().for_each(|place| place.block += half);
            miss_beside_scan(&pool, waiter, &misses, half, round)
        }));
    }
    bench.run("P4b", MOST, timed)
}

/// Misses one page after another while another thread reads the lower half ahead. The sample has the pages of the latter and
/// the latencies of the former.
fn miss_beside_scan(
    pool: &PoolArm<'_>,
    waiter: Waiter,
    misses: &[Place],
    half: u32,
    round: u32,
) -> Result<Sample> {
    let (over, scanned) = (AtomicBool::new(false), AtomicU64::new(0));
    let scan = || -> Result<()> {
        for turn in 0.. {
            let seed = u64::from(round) << 32 | turn;
            for places in places::random_distinct(&[half], 10 * SCAN_STEP, seed).chunks(SCAN_STEP) {
                if over.load(Relaxed) {
                    return Ok(());
                }
                pool.read_ahead(places, WINDOW, &look_at)?;
                scanned.fetch_add(places.len() as u64, Relaxed);
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let scanning = scope.spawn(scan);
        // Until it is under way.
        while scanned.load(Relaxed) == 0 && !scanning.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        let before = scanned.load(Relaxed);
        let mut latencies = Latencies::new();
        let meter = Meter::start();
        for &place in misses {
            let begun = Instant::now();
            let fetch = pool.pool().fetch(pool.page(place));
            let page = match waiter {
                Waiter::Thread => fetch.wait(),
                // Left to the method, as an await does.
                Waiter::Task => fetch.wait_timeout(PATIENCE).map_err(|_| "a read that takes a minute")?,
            }?;
            look_at(place, &page.read());
            latencies.record(begun.elapsed());
        }
        let elapsed = meter.stop();
        let pages = scanned.load(Relaxed) - before;
        over.store(true, Relaxed);
        scanning.join().expect("the scan does not panic")?;
        Ok(elapsed.sample(pages, pages * u64::from(PAGE)).with_latencies(latencies))
    })
}
