//! The stats tell how long operations took, for everything that takes time and for nothing else.

use std::{thread, time::Duration};

use ringpool::{
    CheckpointOptions, IoMethod, PageId, StreamOptions,
    stats::Latencies,
    testing::{Fault, Op},
};

use crate::support::{Bench, EIO, eventually, fetch_apart, guarded, join_read, outcome, with_each_method};

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
        let waits = ["join", "overwrite", "stream_wait", "frame_wait", "latch_wait"].map(|name| (name, 0));
        let expected = [&[("read", 3), ("write", 2), ("sync", 1), ("miss", 3)], &waits[..]].concat();
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

/// Returns how often what was measured: reads, misses, joins, overwrites, waits of streams.
fn measured(bench: &Bench) -> [u64; 5] {
    let Latencies { read, miss, join, overwrite, stream_wait, .. } = bench.pool.stats().latencies;
    [read, miss, join, overwrite, stream_wait].map(|latency| latency.count())
}

#[test]
fn each_way_to_a_page_that_is_not_here_is_measured_once_a_page() {
    with_each_method(|method| {
        let bench = Bench::new(method, 32, 32);
        let (pool, page) = (&bench.pool, |block| bench.page(block));
        drop(pool.fetch(page(0)).wait().unwrap());
        drop(pollster::block_on(pool.fetch(page(1))).unwrap());
        drop(pool.read(page(2)).wait().unwrap());
        drop(pollster::block_on(pool.read(page(3))).unwrap());
        drop(pool.write(page(4)).wait().unwrap());
        drop(pollster::block_on(pool.write(page(5))).unwrap());
        assert_eq!(measured(&bench), [6, 6, 0, 0, 0]);
        // All of them once more: hits are not measured.
        (0..6).for_each(|block| drop(pool.read(page(block)).wait().unwrap()));
        assert_eq!(measured(&bench), [6, 6, 0, 0, 0]);
        drop(pool.overwrite(page(6)).wait().unwrap());
        drop(pollster::block_on(pool.overwrite(page(6))).unwrap());
        assert_eq!(measured(&bench), [6, 6, 0, 2, 0]);
        // Neighbours are one request.
        assert_eq!(pool.prefetch(bench.file.pages([20, 21, 23])).started, 3);
        bench.assert_at_rest();
        assert_eq!(measured(&bench), [8, 6, 0, 2, 0]);
    });
}

#[test]
fn each_page_of_a_fetch_of_many_is_measured_as_what_it_met() {
    with_each_method(|method| {
        let bench = Bench::new(method, 32, 32);
        let fetch = |blocks: &[u32]| {
            let pages: Vec<PageId> = blocks.iter().map(|&block| bench.page(block)).collect();
            bench.pool.fetch_many(&pages)
        };
        drop(fetch(&[0, 1, 5, 9]).wait().unwrap());
        drop(pollster::block_on(fetch(&[0, 12, 14, 9])).unwrap());
        drop(fetch(&[20]).wait().unwrap());
        let counts = bench.pool.stats().counts;
        assert_eq!((counts.hits, counts.misses, counts.joins), (2, 7, 0));
        assert_eq!(measured(&bench)[1..3], [7, 0]);
        // A page that stands in the list twice is resident the second time.
        drop(fetch(&[25, 25, 27]).wait().unwrap());
        assert_eq!(measured(&bench)[1..3], [9, 1]);
        // Each as it arrives, and one that cannot be had.
        assert_eq!(fetch(&[2, 3, 7, 32]).as_they_arrive().filter(|(_, page)| page.is_ok()).count(), 3);
        assert_eq!(measured(&bench)[1..3], [12, 1]);
        // A read that another caller has begun.
        let gate = bench.disk.hold(Op::Read);
        let first = fetch_apart(&bench.pool, bench.page(30), true);
        gate.wait_for(1);
        thread::scope(|scope| {
            let many = scope.spawn(|| fetch(&[30, 0, 9]).wait().map(drop));
            eventually("it has joined the read", || bench.pool.stats().counts.joins == 2);
            gate.open();
            many.join().unwrap().unwrap();
        });
        drop(outcome(first).unwrap());
        assert_eq!(measured(&bench)[1..3], [13, 2]);
        let (counts, latencies) = (bench.pool.stats().counts, bench.pool.stats().latencies);
        assert_eq!((latencies.miss.count(), latencies.join.count()), (counts.misses, counts.joins));
    });
}

/// Its page's bytes are what they are.
struct Plain;

impl ringpool::PageCodec for Plain {
    fn seal(&self, _: ringpool::PageAddress, _: &mut [u8]) {}

    fn open(&self, _: ringpool::PageAddress, _: &mut [u8]) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn pages_that_were_read_ahead_for_a_codec_are_hits_of_a_fetch_of_many() {
    with_each_method(|method| {
        let bench = Bench::with(32, |builder| builder.frames(32).io_method(method).codec(Plain));
        assert_eq!(bench.pool.prefetch(bench.file.pages(0..4_u32)).started, 4);
        eventually("they are read", || bench.pool.stats().frames.in_flight() == 0);
        let pages: Vec<PageId> = (0..6).map(|block| bench.page(block)).collect();
        drop(bench.pool.fetch_many(&pages).wait().unwrap());
        let counts = bench.pool.stats().counts;
        assert_eq!((counts.hits, counts.misses, counts.joins), (4, 2, 0));
    });
}

#[test]
fn each_wait_of_a_stream_is_measured_and_as_long_as_it_was() {
    const HELD: Duration = Duration::from_millis(10);
    with_each_method(|method| {
        let bench = Bench::new(method, 64, 32);
        let read = || bench.pool.read_stream(bench.file.pages((0..32_u32).rev()), StreamOptions::new());
        let gate = bench.disk.hold(Op::Read);
        thread::scope(|scope| {
            let reading = scope.spawn(|| read().filter(Result::is_ok).count());
            gate.wait_for(1);
            thread::sleep(HELD);
            gate.open();
            assert_eq!(reading.join().unwrap(), 32);
        });
        let stats = bench.pool.stats();
        assert_eq!(stats.latencies.stream_wait.count(), stats.counts.stream_waits);
        assert!(stats.latencies.stream_wait.max() >= HELD, "{}", stats.latencies.stream_wait);
        assert_eq!(read().filter(Result::is_ok).count(), 32);
        assert_eq!(bench.pool.stats().latencies.stream_wait, stats.latencies.stream_wait, "all were here");
    });
}

#[test]
fn a_stream_waits_also_for_a_page_that_cannot_be_read() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        bench.disk.inject(Fault::error(Op::Read, EIO));
        assert!(
            bench
                .pool
                .read_stream(bench.file.pages(0..3_u32), StreamOptions::new())
                .all(|page| page.is_err())
        );
        let stats = bench.pool.stats();
        assert!(stats.counts.stream_waits >= 3);
        assert_eq!(stats.latencies.stream_wait.count(), stats.counts.stream_waits);
        assert_eq!(stats.latencies.miss.count(), 0, "no page came");
    });
}

#[test]
fn a_wait_for_a_latch_is_measured_for_threads_and_tasks_and_a_free_latch_never() {
    const HELD: Duration = Duration::from_millis(5);
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 8);
        let (pool, page) = (&bench.pool, bench.page(3));
        drop(pool.write(page).wait().unwrap());
        let waits = || pool.stats().latencies.latch_wait;
        assert_eq!(waits().count(), 0);
        let owned = || drop(pool.write(page).wait().unwrap());
        let owned_by_task = || drop(pollster::block_on(pool.write(page)).unwrap());
        let borrowed = || drop(bench.fetch(3).unwrap().write().unwrap());
        let borrowed_by_task = || drop(pollster::block_on(bench.fetch(3).unwrap().write_async()).unwrap());
        let ways: [&(dyn Fn() + Sync); 4] = [&owned, &owned_by_task, &borrowed, &borrowed_by_task];
        for (n, way) in (1..).zip(ways) {
            let held = pool.read(page).wait().unwrap();
            thread::scope(|scope| {
                let writer = scope.spawn(way);
                eventually("a writer in line, past which no reader goes", || pool.read(page).now().is_none());
                thread::sleep(HELD);
                drop(held);
                writer.join().unwrap();
            });
            assert!(waits().count() == n && waits().p50() >= HELD * 16 / 17, "{}", waits());
        }
    });
}
