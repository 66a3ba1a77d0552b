//! Every I/O fails once: a workload of some 2,000 operations is run once for each of them and for each kind of fault, with that one
//! operation struck, or a row of them, or that one and all that follow. And each thread is refused that a pool starts. The workload goes on all the while and compares every byte with a mirror.
//!
//! After each run: nothing hung; no byte was wrong; every error named the operation and the page or file that was struck, and came
//! to the caller that asked for it; no pin and no frame was left behind; what a successful checkpoint promised is durable; the disk
//! mended, the pool does everything again.
//!
//! There is a sample of both, unless all is asked for, `RINGPOOL_FAULTS=all cargo test --release --features testing --test faults`;
//! or all that can befall one operation, by its number.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod kind;
mod mirror;
mod run;
#[path = "../support/stamp.rs"]
mod stamp;
mod step;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/watchdog.rs"]
mod watchdog;

use std::{
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use kind::{Kind, Strikes};
use ringpool::{
    IoMethod,
    testing::{Dice, Op, refuse_threads},
};
use run::Run;
use watchdog::Watchdog;

/// One run: which operation is struck, from 1 on, and by what; or which thread is refused, of those that the pool starts.
#[derive(Copy, Clone, Debug)]
enum Case {
    Struck { operation: u64, kind: Kind, strikes: Strikes },
    Refused { thread: u64, strikes: Strikes },
}

impl Case {
    fn run(self, method: &IoMethod) -> Result<(), String> {
        match self {
            Self::Struck { operation, kind, strikes } => {
                let struck = |run: &Run| kind.inject(run.disk(), operation, strikes);
                Run::new(method, Some(kind)).through(struck).map(drop)
            }
            Self::Refused { thread, strikes } => {
                // Where there is no thread at all the method itself is refused.
                let pool = || Run::new(method, None).through(|_| {}).map(drop);
                refuse_threads(thread, strikes.times(thread), pool)
            }
        }
    }
}

/// Runs the workload once for each of the cases, on all processors.
fn run_all(method: &IoMethod, cases: &[Case]) {
    let (begun, next, failed) = (Instant::now(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let under_way = Arc::new(Mutex::new(String::new()));
    let watchdog = Watchdog::new(Duration::from_secs(300), {
        let under_way = Arc::clone(&under_way);
        move || under_way.lock().map_or_else(|_| "a panic".into(), |text| text.clone())
    });
    let worker = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            *under_way.lock().expect("no thread panics with it") = format!("{method:?} {case:?}");
            if let Err(text) = case.run(method) {
                failed.lock().expect("no thread panics with it").push(format!("{case:?}: {text}"));
            }
            watchdog.pet();
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(worker)));
    });
    support::say(&format!("faults: {method:?}: {} runs in {:.1?}", cases.len(), begun.elapsed()));
    let failed = failed.into_inner().expect("no thread panics with it");
    assert!(
        failed.is_empty(),
        "{method:?}: {} of {} runs:\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
}

/// Returns how many operations the workload has where nothing fails.
fn operations() -> u64 {
    let run = Run::new(&IoMethod::Sync, None).through(|_| {}).expect("a disk that does everything right");
    let counts =
        [Op::Read, Op::Write, Op::Sync, Op::Resize, Op::SyncFolder, Op::Open].map(|op| run.count(op));
    assert!(counts.iter().all(|&count| count >= 20), "{counts:?}");
    counts.iter().sum()
}

/// Returns the cases that were asked for, with every fault; or each `step`-th operation, with one fault each, by chance.
fn cases(step: usize) -> Vec<Case> {
    let kinds = Kind::ALL.into_iter().flat_map(|kind| Strikes::ALL.map(|strikes| (kind, strikes)));
    let kinds: Vec<_> = kinds.collect();
    let of_operation = |operation: u64, kinds: &[(Kind, Strikes)]| {
        kinds.iter().map(|&(kind, strikes)| Case::Struck { operation, kind, strikes }).collect::<Vec<_>>()
    };
    match env::var("RINGPOOL_FAULTS").as_deref() {
        Ok("all") => (1..=operations()).flat_map(|operation| of_operation(operation, &kinds)).collect(),
        Ok(number) => of_operation(number.parse().expect("`all`, or the number of an operation"), &kinds),
        Err(_) => {
            let by_chance = |operation| {
                let chosen = Dice::new(operation).below(kinds.len() as u64) as usize;
                of_operation(operation, &kinds[chosen..=chosen])
            };
            (1..=operations()).step_by(step).flat_map(by_chance).collect()
        }
    }
}

#[test]
fn every_operation_fails_once_and_the_pool_keeps_its_promises() {
    run_all(&IoMethod::Sync, &cases(12));
}

#[test]
fn every_operation_fails_once_under_the_methods_with_threads() {
    for method in support::methods().into_iter().filter(|method| *method != IoMethod::Sync) {
        run_all(&method, &cases(60));
    }
}

#[test]
fn every_thread_is_refused_and_the_pool_keeps_its_promises() {
    for method in support::methods() {
        // A pool has one thread at the least where its method is one of threads; and hardly more than these.
        let first = u64::from(method != IoMethod::Sync);
        let kinds = [Strikes::Once, Strikes::ForEver];
        let of_thread = |thread| kinds.map(|strikes| Case::Refused { thread, strikes });
        run_all(&method, &(first..first + 4).flat_map(of_thread).collect::<Vec<_>>());
    }
}
