//! An open pool that is not used costs nothing: none of its threads runs. One test, so that nothing else in this process
//! wakes one.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeMap, fs, thread, time::Duration};

use ringpool::options::BackgroundWriter;
use support::{Bench, eventually, guarded, methods};

/// Job threads end by themselves after five seconds; before that they sleep too.
const A_SECOND: Duration = Duration::from_secs(1);

/// Returns by name how often each of the library's threads was switched to, or away from.
fn switches() -> BTreeMap<String, u64> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let of_thread = |status: String| {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim_start_matches(':').trim().to_owned()
        };
        let count = |name| field(name).parse::<u64>().unwrap_or(0);
        (field("Name"), count("voluntary_ctxt_switches") + count("nonvoluntary_ctxt_switches"))
    };
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    statuses.map(of_thread).filter(|(name, _)| name.starts_with("ringpool")).collect()
}

#[test]
fn no_thread_of_an_idle_pool_ever_runs() {
    guarded(|| {
        for method in methods() {
            let writer = BackgroundWriter::ReadyFrames { low: 8, high: 16 };
            let bench = Bench::with(256, |builder| {
                builder.frames(64).io_method(method.clone()).background_writer(writer)
            });
            bench.dirty(0..256, 2);
            bench.assert_at_rest();
            assert!(bench.pool.stats().frames.dirty > 0, "there is something that could be written");
            assert!(switches().keys().any(|name| name.starts_with("ringpool-writer")), "{:?}", switches());
            // The last round may still be under way, for as long as the machine is busy with other processes.
            eventually(&format!("a second in which no thread runs, {method:?}"), || {
                let before = switches();
                thread::sleep(A_SECOND);
                switches() == before
            });
        }
    });
}
