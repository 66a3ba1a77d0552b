//! How loom's models are run: under every schedule and every reordering that the memory model allows, with at most so many
//! preemptions of a thread in a schedule as each model says.
//!
//! **Spawn the thread that only looks; let the main thread change what is looked at.** Loom first runs each thread until it waits,
//! then tries other orders if two accesses are in conflict. It overlooks the conflict of a load with a store before which the
//! storing thread has loaded the same ([loom#166](https://github.com/tokio-rs/loom/issues/166)): a thread that only looks, and
//! comes first, is never tried later. If it comes last, all stores have been made, and it may see each that the memory model lets
//! it see.

use std::sync::Arc;

/// Loom passes this on as a number of words, though it calls them bytes: 256 KiB.
const STACK_IN_WORDS: usize = 32 << 10;

/// More steps than any model takes in one schedule; loom's own limit is 1,000.
const STEPS_MAX: usize = 10_000;

/// Runs `scenario` under all schedules with at most `stops` preemptions. It runs in a thread of its own, whose stack has room for a
/// whole pool: loom's first thread has 32 KiB.
pub(crate) fn check(stops: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(stops);
    builder.max_branches = STEPS_MAX;
    let scenario = Arc::new(scenario);
    builder.check(move || {
        let scenario = Arc::clone(&scenario);
        spawn(move || scenario()).join().unwrap();
    });
}

/// Starts a thread of a model.
pub(crate) fn spawn(body: impl FnOnce() + Send + 'static) -> loom::thread::JoinHandle<()> {
    loom::thread::Builder::new().stack_size(STACK_IN_WORDS).spawn(body).unwrap()
}
