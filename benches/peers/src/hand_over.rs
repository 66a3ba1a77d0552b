//! How long a latch is free between two holders: from the moment when one begins to let go until the next one has it.
//!
//! The waiting threads sleep by then. A release calls the first waiter, and now and then hands the latch over; it is compared with
//! `parking_lot`'s mutex, which is handed over each time when it is asked to be fair. (`cargo test --test latches -- --nocapture`
//! prints this for a thousand waiters, tasks among them.)

use std::{
    hint,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use lab::{
    Arm, Latencies, Result, Sample,
    measure::on_threads,
    report::{Align, Table},
};
use parking_lot::{Mutex, MutexGuard};
use ringpool::PageId;

use crate::{peers::null_pool, run};

const THREADS: [usize; 3] = [2, 8, 64];

/// Turns of all threads together in a round.
const TURNS: usize = 1 << 10;

/// How long each keeps it: the other threads sleep by then.
const KEPT: Duration = Duration::from_micros(20);

const PAGE: &str = "ringpool, exclusive latch";
const MUTEX: &str = "parking_lot, fair mutex";

pub(crate) fn measure(rounds: u32) -> Result<()> {
    let (pool, file) = null_pool(16, 1, 4096)?;
    let page = &pool.fetch(PageId::new(file, 0)).wait()?;
    let mutex = &Mutex::new(());
    let mut arms = Vec::new();
    for threads in THREADS {
        arms.push(Arm::new(called(PAGE, threads), move |_| {
            let turn = |clock: &Clock, took: &mut Latencies| {
                let guard = page.write().expect("the file can be written");
                clock.taken(took);
                clock.keep();
                drop(guard);
            };
            Ok(in_turn(threads, turn))
        }));
        arms.push(Arm::new(called(MUTEX, threads), move |_| {
            let turn = |clock: &Clock, took: &mut Latencies| {
                let guard = mutex.lock();
                clock.taken(took);
                clock.keep();
                MutexGuard::unlock_fair(guard);
            };
            Ok(in_turn(threads, turn))
        }));
    }
    let outcome = run(rounds, &called(MUTEX, THREADS[0]), arms)?;
    let mut table = Table::new(&[
        ("", Align::Left),
        ("p50 us", Align::Right),
        ("p99 us", Align::Right),
        ("p50 to parking_lot's", Align::Right),
        ("turns/s to parking_lot's", Align::Right),
    ]);
    let known = "there were rounds";
    for threads in THREADS {
        let mutex = called(MUTEX, threads);
        for arm in [called(PAGE, threads), mutex.clone()] {
            let summary = outcome.summary(&arm);
            let to_mutex = |metric: fn(&Sample) -> f64| {
                format!("{:.2}", outcome.ratio(&arm, &mutex, metric).expect(known).median)
            };
            table.push([
                arm.clone(),
                format!("{:.2}", summary.p50_us.expect(known)),
                format!("{:.2}", summary.p99_us.expect(known)),
                to_mutex(|sample| sample.p50_us().unwrap_or(f64::NAN)),
                to_mutex(Sample::pages_per_s),
            ]);
        }
    }
    print!("{table}");
    Ok(())
}

fn called(name: &str, threads: usize) -> String {
    format!("{name}, {threads} threads")
}

/// Has every thread take its turns; returns the latencies.
fn in_turn(threads: usize, turn: impl Fn(&Clock, &mut Latencies) + Sync) -> Sample {
    let clock = Clock { begun: Instant::now(), released: AtomicU64::new(0) };
    let (took, elapsed) = on_threads(threads, |_| {
        let mut took = Latencies::new();
        (0..TURNS / threads).for_each(|_| turn(&clock, &mut took));
        took
    });
    let mut all = Latencies::new();
    took.iter().for_each(|took| all.merge(took));
    elapsed.sample(all.count(), 0).with_latencies(all)
}

/// When the latch was last released; only its holder reads and writes this.
struct Clock {
    begun: Instant,
    released: AtomicU64,
}

impl Clock {
    fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    fn taken(&self, took: &mut Latencies) {
        took.record(Duration::from_nanos(self.now() - self.released.load(Ordering::Relaxed)));
    }

    /// Keeps the latch for its time, awake, up to the moment when it is let go.
    fn keep(&self) {
        let taken = Instant::now();
        while taken.elapsed() < KEPT {
            hint::spin_loop();
        }
        self.released.store(self.now(), Ordering::Relaxed);
    }
}
