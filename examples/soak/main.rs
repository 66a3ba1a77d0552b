//! Does the pool stay correct and as fast over hours, with a disk that fails again and again?
//!
//! `cargo run --release --features testing --example soak -- --minutes 60`, or `.ci/soak 60`
//!
//! A pool for each I/O method is used by 24 threads, which read, change, prefetch, stream, flush, evict, cut and extend two real
//! files with eight times as many pages as the pool has frames. Time goes in cycles, half without faults (peace) and half with them
//! (foul weather): failing reads and writes, a full disk, short and interrupted transfers, signals to all threads, delays, a file
//! that is slow to open, failing syncs, all of it. What each page must hold is known at any time. After each half all faults end,
//! everything is written, and both files are compared with that as another program reads them. In peace some threads change one
//! page all the time, another makes checkpoints, and their redo LSN must follow the log.
//!
//! It ends at the first difference, with page, expected, found, and seed; else with a verdict: whether memory, descriptors, threads
//! and pins are back to where they were, and the steps a second of the last tenth, in peace, against those of the first.
//! The exit code is the verdict.

mod ledger;
mod log;
mod options;
mod process;
mod signals;
mod spoil;
mod subject;
mod verdict;
mod weather;
mod worker;

#[path = "../../tests/support/stamp.rs"]
mod stamp;
#[path = "../../tests/support/watchdog.rs"]
mod watchdog;

use std::{
    env,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use clap::Parser;

use options::Options;
use process::{Usage, processor_time};
use subject::Subject;
use verdict::Cycle;
use watchdog::Watchdog;
use weather::Weather;
use worker::Difference;

fn main() -> ExitCode {
    let options = Options::parse();
    match soak(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(difference) => {
            println!("FAILED: {difference}\nseed {}", options.seed);
            ExitCode::FAILURE
        }
    }
}

/// Runs the soak. Returns whether the verdict is good, or the first difference.
fn soak(options: &Options) -> Result<bool, Difference> {
    let dir = tempfile::tempdir_in(options.dir.clone().unwrap_or_else(env::temp_dir))
        .map_err(|error| error.to_string())?;
    let watchdog = Watchdog::new(Duration::from_secs(300), || "soak: no thread makes progress".to_owned());
    let before = Usage::now();
    let mut subjects = Vec::new();
    for &method in &options.methods {
        match Subject::open(method, dir.path(), options) {
            Ok(subject) => subjects.push(subject),
            Err(error) => println!("skipped: {method:?}: {error}"),
        }
    }
    if subjects.is_empty() {
        return Err("there is nothing to try".to_owned());
    }
    let total = Duration::try_from_secs_f64(options.minutes * 60.0).map_err(|error| error.to_string())?;
    let half = (total / 40).clamp(Duration::from_millis(500), Duration::from_secs(15));
    println!("{options:?}\nhalves of {half:?}; at first {before:?}");

    let begun = Instant::now();
    let mut cycles = Vec::new();
    while begun.elapsed() < total {
        let weather = Weather::FOUL[cycles.len() % Weather::FOUL.len()];
        let number = 2 * cycles.len() as u64;
        let peace = run_phase(&subjects, Weather::Peace, number, half, &watchdog)?;
        let troubles_before: Vec<_> = subjects.iter().map(Subject::troubles).collect();
        run_phase(&subjects, weather, number + 1, half, &watchdog)?;
        let cycle = Cycle { rates: peace.rates, usage: Usage::now() };
        println!(
            "{:6.0} s  {weather:?}: {:.0?} steps/s in peace at {:.0} us of CPU each; {:?}",
            begun.elapsed().as_secs_f64(),
            cycle.rates,
            peace.processor_micros,
            cycle.usage
        );
        for (subject, before) in subjects.iter().zip(troubles_before) {
            println!("          {:?}: {}", subject.method, subject.troubles().since(before));
        }
        cycles.push(cycle);
        if let Some(spoil) = options.spoil.filter(|_| begun.elapsed() > total / 2) {
            subjects.iter_mut().for_each(|subject| spoil.happen(subject));
        }
    }

    let pools: Vec<_> = subjects
        .iter()
        .map(|subject| (format!("{:?}", subject.method), subject.troubles().strikes))
        .collect();
    subjects.into_iter().try_for_each(Subject::shut_down)?;
    let closed = usage_after_closing(before);
    let findings = verdict::judge(&pools, before, &cycles, closed);
    println!("ok      no difference in {:.0} s", begun.elapsed().as_secs_f64());
    findings.iter().for_each(|finding| println!("{finding}"));
    Ok(findings.iter().all(|finding| finding.holds))
}

/// Threads of a pool that change one page all the time, in peace.
const HAMMERS: u64 = 2;

/// The results of a phase.
struct Phase {
    /// Steps a second, for each pool.
    rates: Vec<f64>,
    /// CPU time for a step.
    processor_micros: f64,
}

/// Lets all threads of all pools work for some time, and then compares everything. Each time they are new threads.
fn run_phase(
    subjects: &[Subject],
    weather: Weather,
    number: u64,
    time: Duration,
    watchdog: &Watchdog,
) -> Result<Phase, Difference> {
    subjects.iter().for_each(|subject| subject.begin(weather));
    let (begun, spent) = (Instant::now(), processor_time());
    let failed = AtomicBool::new(false);
    let goes_on = || {
        watchdog.pet();
        begun.elapsed() < time && !failed.load(Relaxed)
    };
    let work = |subject: &Subject, thread: u64| {
        let worker = subject.worker(weather, number << 10 | thread);
        worker.run(goes_on).inspect_err(|_| failed.store(true, Relaxed))
    };
    let hammer = |subject: &Subject, thread: u64| {
        let worker = subject.worker(weather, number << 10 | thread);
        worker.hammer(goes_on).map(drop).inspect_err(|_| failed.store(true, Relaxed))
    };
    let follow =
        |subject: &Subject| subject.follow_the_log(goes_on).inspect_err(|_| failed.store(true, Relaxed));
    let open = |subject: &Subject| subject.open_slowly(goes_on).inspect_err(|_| failed.store(true, Relaxed));
    let steps: Vec<Result<u64, Difference>> = thread::scope(|scope| {
        let (work, threads) = (&work, |subject: &Subject| 0..subject.threads);
        let (hammer, follow) = (&hammer, &follow);
        let mut beside = Vec::new();
        if weather == Weather::Peace {
            for subject in subjects {
                let numbers = subject.threads..subject.threads + HAMMERS;
                beside.extend(numbers.map(|number| scope.spawn(move || hammer(subject, number))));
                beside.push(scope.spawn(move || follow(subject)));
            }
        }
        if weather == Weather::SlowOpens {
            let open = &open;
            beside.extend(subjects.iter().map(|subject| scope.spawn(move || open(subject))));
        }
        if weather == Weather::Signals {
            let send = || signals::bombard(goes_on).map(drop).map_err(|error| error.to_string());
            beside.push(scope.spawn(send));
        }
        let working: Vec<Vec<_>> = subjects
            .iter()
            .map(|subject| threads(subject).map(|n| scope.spawn(move || work(subject, n))).collect())
            .collect();
        let joined = working.into_iter().map(|threads| threads.into_iter().map(ScopedJoinHandle::join));
        let steps =
            joined.map(|threads| threads.map(|steps| steps.expect("a thread that does not panic")).sum());
        let mut steps: Vec<Result<u64, Difference>> = steps.collect();
        for thread in beside {
            let outcome = thread.join().expect("a thread that does not panic");
            steps.extend(outcome.err().map(Err));
        }
        steps
    });
    let steps = steps.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (took, spent) = (begun.elapsed(), processor_time() - spent);
    for subject in subjects {
        subject
            .settle()
            .map_err(|difference| format!("{:?}, after {weather:?}: {difference}", subject.method))?;
        watchdog.pet();
    }
    Ok(Phase {
        rates: steps.iter().map(|&steps| steps as f64 / took.as_secs_f64()).collect(),
        processor_micros: spent.as_secs_f64() * 1e6 / steps.iter().sum::<u64>().max(1) as f64,
    })
}

/// Returns what the process uses when the pools' threads have had the time to end.
fn usage_after_closing(before: Usage) -> Usage {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let usage = Usage::now();
        if (usage.descriptors, usage.threads) == (before.descriptors, before.threads)
            || Instant::now() > deadline
        {
            return usage;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
