//! The stats tell how long what took, for everything that takes time and for nothing else.

use std::{thread, time::Duration};

use ringpool::{CheckpointOptions, IoMethod, testing::Op};

use crate::support::{Bench, fetch_apart, guarded, join_read, outcome, with_each_method};

#[test]
fn each_request_and_each_miss_is_measured_once_and_a_hit_never() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 16);
        for block in [0, 1, 2, 0, 1, 2, 2] {
            drop(bench.fetch(block).unwrap());
        }
        bench.dirty([0, 2], 2);
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        let stats = bench.pool.stats();
        let counted = stats.latencies.iter().map(|(name, latency)| (name, latency.count()));
        let expected = [("read", 3), ("write", 2), ("sync", 1), ("miss", 3), ("join", 0), ("frame_wait", 0)];
        assert_eq!(counted.collect::<Vec<_>>(), expected);
        assert_eq!((stats.counts.read_requests, stats.counts.write_requests, stats.counts.syncs), (3, 2, 1));
        for (name, latency) in stats.latencies.iter().filter(|(_, latency)| latency.count() > 0) {
            assert!(latency.mean() > Duration::ZERO && latency.max() >= latency.mean(), "{name}: {latency}");
            assert!(stats.to_string().contains(&format!("{name}: {latency}")), "{stats}");
        }
    });
}

#[test]
fn an_interval_has_the_time_of_what_was_held_in_it() {
    const HELD: Duration = Duration::from_millis(10);
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 16);
        drop(bench.fetch(0).unwrap());
        let before = bench.pool.stats().latencies;
        let gate = bench.disk.hold(Op::Read);
        let missing = fetch_apart(&bench.pool, bench.page(1), true);
        gate.wait_for(1);
        let joining = join_read(&bench.pool, bench.page(1), 2);
        thread::sleep(HELD);
        gate.open();
        joining.into_iter().chain([missing]).for_each(|fetch| drop(outcome(fetch).unwrap()));
        let during = &bench.pool.stats().latencies - &before;
        assert_eq!((during.read.count(), during.miss.count(), during.join.count()), (1, 1, 2));
        for latency in [&during.read, &during.miss, &during.join] {
            assert!(latency.p50() >= HELD * 16 / 17 && latency.max() >= HELD, "{latency}");
        }
    });
}

#[test]
fn a_wait_for_a_frame_is_measured_whether_there_came_one_or_not() {
    guarded(|| {
        let bench = Bench::with(4, |builder| {
            builder.frames(1).io_method(IoMethod::Sync).frame_wait(Duration::from_millis(20))
        });
        let only = bench.fetch(0).unwrap();
        bench.fetch(1).unwrap_err();
        let waits = bench.pool.stats().latencies.frame_wait;
        assert!(waits.count() == 1 && waits.max() >= Duration::from_millis(20), "{waits}");
        drop(only);
        drop(bench.fetch(1).unwrap());
        assert_eq!(bench.pool.stats().latencies.frame_wait, waits, "this one did not have to wait");
    });
}
