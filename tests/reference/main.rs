//! The reference test (C1, C7): the pool gives, byte for byte, what plain `pread` and `pwrite` give.
//!
//! Random scripts of operations run on a pool and, step by step, on a model that is a second file read and written with
//! plain system calls. Every page that the pool hands out is compared in full; whenever the pool has promised that something
//! is on disk, the disk is read through a separate descriptor and compared too; where it has promised nothing (a pool that
//! is dropped), every page must still be one of the versions written since it was last known to be there.
//!
//! It fails, with the shortest script that still fails, where a page is not what it should be (stamps in every sector tell
//! whose bytes were found instead), where an operation succeeds or fails against the model's expectation (AllPinned exactly
//! where every frame is pinned, PastEof exactly behind the end, Pinned exactly where a pin is in the way), where reports and
//! stats contradict what was done, and where anything hangs. It cannot see whether a sync really reached the device.
//!
//! | variable | meaning |
//! |---|---|
//! | `RINGPOOL_REFERENCE_CASES` | cases in all, of 200 operations on average; 2205 unless set, some 400,000 for a night |
//! | `RINGPOOL_REFERENCE_SEED` | the number that a failed run printed: draws the same scripts again |
//!
//! One script may take different courses in the pool from run to run: the I/O's timing is not under control here.

mod access;
mod case;
mod configuration;
mod difference;
mod durability;
mod mirror;
mod operation;
#[path = "../support/stamp.rs"]
mod stamp;
mod tested_file;
#[path = "../support/watchdog.rs"]
mod watchdog;

use std::{
    env,
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use configuration::Configuration;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use ringpool::IoMethod;
use watchdog::Watchdog;

/// The length of a script, on average.
const OPERATIONS: usize = 200;

/// The most files that a script uses.
const FILES: usize = 3;

/// Configurations of all classes together: three methods, seven kinds of file access, five sizes.
const CONFIGURATIONS: usize = 3 * 7 * 5;

#[test]
fn uring_buffered() {
    run_class("uring, buffered", &IoMethod::uring(), false);
}

#[test]
fn uring_direct() {
    run_class("uring, direct", &IoMethod::uring(), true);
}

#[test]
fn worker_buffered() {
    run_class("worker, buffered", &IoMethod::worker(), false);
}

#[test]
fn worker_direct() {
    run_class("worker, direct", &IoMethod::worker(), true);
}

#[test]
fn sync_buffered() {
    run_class("sync, buffered", &IoMethod::Sync, false);
}

#[test]
fn sync_direct() {
    run_class("sync, direct", &IoMethod::Sync, true);
}

fn run_class(name: &str, method: &IoMethod, direct: bool) {
    let (begun, mut cases, mut operations) = (Instant::now(), 0, 0);
    let seed = number("RINGPOOL_REFERENCE_SEED").unwrap_or_else(rand::random);
    let per_runner =
        number("RINGPOOL_REFERENCE_CASES").map_or(7, |all| (all as usize).div_ceil(CONFIGURATIONS * FILES));
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a place for files");
    for configuration in Configuration::class(method, direct) {
        if let Some(obstacle) = configuration.obstacle(place.path()) {
            say(&format!("reference: {name}: skipped, this machine cannot: {obstacle}"));
            return;
        }
        for files in 1..=FILES {
            let done = run_scripts(&configuration, files, per_runner as u32, seed);
            operations += done.unwrap_or_else(|failure| panic!("{name}, seed {seed}\n{failure}"));
            cases += per_runner;
        }
    }
    say(&format!("reference: {name}: {cases} cases, {operations} operations, {:.1?}", begun.elapsed()));
}

/// Runs random scripts over `files` files; returns the number of operations, or the shortest script that fails.
fn run_scripts(configuration: &Configuration, files: usize, cases: u32, seed: u64) -> Result<usize, String> {
    let config = Config {
        cases,
        // What is printed is all that is needed to try again.
        failure_persistence: None,
        max_shrink_iters: 100_000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, random_numbers(seed, configuration));
    let under_way = Arc::new(Mutex::new(String::new()));
    let watchdog = Watchdog::new(Duration::from_secs(300), {
        let (under_way, configuration) = (Arc::clone(&under_way), configuration.to_string());
        move || format!("{configuration}\n{}", under_way.lock().expect("no thread panics with it"))
    });
    let operations = std::cell::Cell::new(0);
    let outcome = runner.run(&operation::scripts(files, OPERATIONS), |script| {
        let tell = |step: usize| {
            operations.set(operations.get() + 1);
            watchdog.pet();
            if step == 0 {
                *under_way.lock().expect("no thread panics with it") = format!("{script:?}");
            }
        };
        case::run(configuration, &script, tell).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => Ok(operations.get()),
        Err(TestError::Fail(reason, script)) => Err(format!("{configuration}\n{reason}\n{script:?}")),
        Err(TestError::Abort(reason)) => Err(format!("{configuration}\nno script could be drawn: {reason}")),
    }
}

/// Makes the random numbers of a configuration: each gets scripts of its own, and the same ones again for the same seed.
fn random_numbers(seed: u64, configuration: &Configuration) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let name = configuration.to_string();
    for (at, byte) in name.bytes().enumerate() {
        let place = 8 + at % 24;
        bytes[place] = bytes[place].wrapping_mul(31).wrapping_add(byte);
    }
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}: it must be a number")))
}

/// Prints to the terminal, past the harness, which keeps what successful tests print.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
