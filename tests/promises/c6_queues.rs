//! C6: what waits for the device. Writes that no caller waits for go behind demands, and never starve; a file has no more in flight
//! than its bound.

use std::{
    num::NonZeroU32,
    pin::Pin,
    sync::mpsc::channel,
    task::{Context, Waker},
    thread,
    time::Duration,
};

use ringpool::{
    CheckpointOptions, CheckpointReport, IoMethod, OpenOptions, PageId, PinnedPage, Result,
    options::BackgroundWriter,
    testing::{Event, Fault, Gate, Moment, Op, SimDisk, Which},
};

use crate::support::{
    Bench, PAGE, assert_stamped, eventually, fetch_apart, guarded, methods, outcome, restamp, stamped_file,
    with_each_method,
};

/// What a bounded wait may take on a busy machine.
const TOLERANCE: Duration = Duration::from_secs(20);

/// Makes a bench in which each page is a request of its own, and only the test asks for writes.
fn bench(method: IoMethod) -> Bench {
    Bench::with(128, |builder| {
        let builder = builder.frames(256).combine_limit_bytes(PAGE).background_writer(BackgroundWriter::Off);
        builder.io_method(method)
    })
}

/// Starts a checkpoint and waits until this number of requests has been handed over since, and one is held.
fn begin_checkpoint(
    bench: &Bench,
    gate: &Gate,
    requests: u64,
) -> thread::JoinHandle<Result<CheckpointReport>> {
    let (pool, handed_over) = (bench.pool.clone(), bench.pool.stats().counts.handed_over_requests);
    let running = thread::spawn(move || pool.checkpoint(CheckpointOptions::new()).wait());
    eventually("its writes wait", || {
        bench.pool.stats().counts.handed_over_requests == handed_over + requests
    });
    gate.wait_for(1);
    running
}

/// Begins a fetch, and returns it when its request has been handed over. Only where no thread can take the request at once.
fn begin_fetch(bench: &Bench, block: u32) -> impl Future<Output = Result<PinnedPage>> + Unpin + use<> {
    let mut fetch = bench.pool.fetch(bench.page(block));
    assert!(Pin::new(&mut fetch).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    fetch
}

/// Returns what the disk began to do, in order.
fn begun(disk: &SimDisk) -> impl Iterator<Item = (Op, u64)> {
    let begun = disk.log().into_iter().filter(|event| event.moment == Moment::Begin);
    begun.map(|event| (event.op, event.offset / PAGE as u64))
}

#[test]
fn c6_a_miss_does_not_wait_for_the_writes_of_a_checkpoint() {
    guarded(|| {
        for method in methods().into_iter().filter(|method| *method != IoMethod::Sync) {
            let bench = bench(method);
            bench.dirty(0..64, 2);
            let gate = bench.disk.hold(Op::Write);
            let checkpoint = begin_checkpoint(&bench, &gate, 64);
            // In the same file, whose writes do not end.
            let (done, over) = channel();
            let fetch = bench.pool.fetch(bench.page(100));
            let fetching = thread::spawn(move || drop(done.send(pollster::block_on(fetch))));
            let fetched = over.recv_timeout(TOLERANCE);
            gate.open();
            assert_stamped(&fetched.expect("the miss waits for writes").unwrap(), 1);
            fetching.join().unwrap();
            assert_eq!(checkpoint.join().unwrap().unwrap().pages_written, 64);
        }
    });
}

/// With a single thread nothing is transferred beside the write that it makes.
#[test]
fn c6_a_miss_and_a_flush_go_before_the_writes_of_a_checkpoint() {
    guarded(|| {
        const WRITES: u64 = 20;
        let bench = bench(IoMethod::Worker { threads: 1 });
        bench.dirty((0..WRITES as u32).map(|n| 2 * n), 2);
        let gate = bench.disk.hold(Op::Write);
        let checkpoint = begin_checkpoint(&bench, &gate, WRITES);
        bench.dirty([90, 99], 2);
        let handed_over = bench.pool.stats().counts.handed_over_requests;
        let fetch = begin_fetch(&bench, 98);
        // Two requests: a lone one is made by the thread that flushes.
        let (pool, pages) = (bench.pool.clone(), [90, 99].map(|block| bench.page(block)));
        let flush = thread::spawn(move || pool.flush_many(&pages).wait());
        eventually("both wait", || bench.pool.stats().counts.handed_over_requests == handed_over + 3);
        bench.disk.clear_log();
        gate.open();
        assert_stamped(&pollster::block_on(fetch).unwrap(), 1);
        flush.join().unwrap().unwrap();
        checkpoint.join().unwrap().unwrap();
        let order: Vec<_> = begun(&bench.disk).collect();
        assert_eq!(order[..3], [(Op::Read, 98), (Op::Write, 90), (Op::Write, 99)], "{order:?}");
    });
}

#[test]
fn c6_a_checkpoint_goes_on_while_misses_wait() {
    guarded(|| {
        const WRITES: u64 = 4;
        let bench = bench(IoMethod::Worker { threads: 1 });
        bench.dirty(0..WRITES as u32, 2);
        let gate = bench.disk.hold(Op::Read);
        let fetches: Vec<_> = (0..20).map(|n| begin_fetch(&bench, 40 + 2 * n)).collect();
        // The thread transfers the first of them.
        gate.wait_for(1);
        let checkpoint = begin_checkpoint(&bench, &gate, WRITES);
        bench.disk.clear_log();
        gate.open();
        fetches.into_iter().for_each(|fetch| assert_stamped(&pollster::block_on(fetch).unwrap(), 1));
        assert_eq!(checkpoint.join().unwrap().unwrap().pages_written, WRITES);
        let writes = begun(&bench.disk).enumerate().filter(|(_, (op, _))| *op == Op::Write);
        let when: Vec<_> = writes.map(|(at, _)| at).collect();
        assert_eq!(when, [4, 9, 14, 19], "one after four reads each time");
    });
}

/// Returns the most operations on the file that were under way at once.
fn most_at_once(log: &[Event], path: &str) -> usize {
    let transfers =
        log.iter().filter(|event| matches!(event.op, Op::Read | Op::Write) && event.path.as_os_str() == path);
    let mut at_once = 0;
    let counts = transfers.map(|event| {
        at_once = if event.moment == Moment::Begin { at_once + 1 } else { at_once - 1 };
        at_once
    });
    counts.max().unwrap_or(0)
}

#[test]
fn c6_a_file_has_no_more_in_flight_than_it_was_told() {
    with_each_method(|method| {
        for most in [1, 3] {
            let bench = bench(method.clone());
            bench.disk.put("other", stamped_file(256, 1));
            let options = OpenOptions::new().max_in_flight(NonZeroU32::new(most).unwrap());
            let other = bench.pool.open_file("other", options).unwrap();
            let page = |block| PageId::new(other, block);
            bench.disk.clear_log();
            let gate = bench.disk.hold(Op::Read.of("other"));
            let fetching: Vec<_> =
                (0..8).map(|n| fetch_apart(&bench.pool, page(4 * n), n % 3 == 0)).collect();
            eventually("all have missed", || bench.pool.stats().counts.misses == 8);
            gate.wait_for(most as usize);
            // Requests of another file are served meanwhile, so one more of this file would have been served, too.
            (0..8)
                .for_each(|block| drop(outcome(fetch_apart(&bench.pool, bench.page(block), true)).unwrap()));
            assert_eq!(gate.held(), most as usize);
            gate.open();
            fetching.into_iter().for_each(|one| assert_stamped(&outcome(one).unwrap(), 1));
            // All kinds of transfers at once, more than any queue has room for.
            bench.disk.inject(Fault::delay_up_to(Which::any_of("other"), Duration::from_micros(100)));
            bench.pool.prefetch(other.pages((100..160).step_by(2)));
            let changing: Vec<_> = (0..4)
                .map(|n| {
                    let pool = bench.pool.clone();
                    thread::spawn(move || {
                        for block in (n * 25)..(n + 1) * 25 {
                            restamp(&pool.fetch(PageId::new(other, block)).wait().unwrap(), 2);
                        }
                        pool.flush_file(other).wait().unwrap();
                        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
                    })
                })
                .collect();
            changing.into_iter().for_each(|one| one.join().unwrap());
            bench.disk.heal();
            let at_once = most_at_once(&bench.disk.log(), "other");
            assert!(at_once <= most as usize, "{at_once} at once instead of {most}");
        }
    });
}

/// A request that finds no place in the queue is transferred by its submitter, but not one of a file with a bound, while a thread
/// transfers another of that file.
#[test]
fn c6_a_full_queue_does_not_let_a_file_pass_its_bound() {
    guarded(|| {
        // For each of two threads.
        const PLACES: u32 = 2 * 32;
        let bench = bench(IoMethod::Worker { threads: 2 });
        let pool = &bench.pool;
        bench.disk.put("other", stamped_file(8, 1));
        let other =
            pool.open_file("other", OpenOptions::new().max_in_flight(NonZeroU32::MIN).tag(1)).unwrap();
        let [gate, gate_of_data] = ["other", "data"].map(|path| bench.disk.hold(Op::Read.of(path)));
        let fetch_other = |block| fetch_apart(pool, PageId::new(other, block), true);
        let first = fetch_other(0);
        gate.wait_for(1);
        let in_hand = begin_fetch(&bench, 0);
        gate_of_data.wait_for(1);
        let queued: Vec<_> = (1..=PLACES).map(|block| begin_fetch(&bench, block)).collect();
        let more: Vec<_> = (1..4).map(fetch_other).collect();
        let requests = || {
            let counts = pool.stats().counts;
            (counts.handed_over_requests, counts.inline_requests)
        };
        eventually("all have come", || requests().0 + requests().1 == u64::from(2 + PLACES + 3));
        assert_eq!((requests().1, gate.held()), (0, 1), "a submitter transfers for itself");
        gate.open();
        gate_of_data.open();
        more.into_iter().chain([first]).for_each(|one| assert_stamped(&outcome(one).unwrap(), 1));
        for fetch in queued.into_iter().chain([in_hand]) {
            assert_stamped(&pollster::block_on(fetch).unwrap(), 1);
        }
    });
}
