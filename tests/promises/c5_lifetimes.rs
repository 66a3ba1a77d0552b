//! C5: memory and descriptors belong to the pool until the kernel has answered. Dropping a future, a guard or the pool never
//! frees either early, and never cancels or leaks an I/O.
//!
//! That threads and descriptors are given back is in `tests/leaks.rs`, which needs a process of its own.

use std::{
    mem,
    pin::pin,
    sync::Mutex,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use ringpool::{
    BufferPool, CheckpointOptions, Error, IoMethod, PinnedPage,
    testing::{Fault, Op},
};

use crate::support::{
    Bench, EIO, assert_stamped, eventually, fetch_apart, guarded, join_read, outcome, restamp, stamped,
    stamped_file, with_each_method,
};

/// Polls once, with a waker that does nothing.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn c5_a_fetch_that_no_task_polled_does_nothing() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 4);
        drop(bench.pool.fetch(bench.page(1)));
        drop(bench.pool.checkpoint(CheckpointOptions::new()));
        assert_eq!(bench.disk.log(), []);
        bench.assert_at_rest();
    });
}

#[test]
fn c5_a_fetch_dropped_while_its_read_is_under_way_leaves_the_page_resident() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 4, 4);
        let gate = bench.disk.hold(Op::Read);
        let mut fetch = bench.pool.fetch(bench.page(1));
        assert!(poll_once(&mut fetch).is_pending());
        gate.wait_for(1);
        drop(fetch);
        assert_eq!(bench.pool.stats().frames.pins, 1, "the read's own");
        gate.open();
        bench.assert_at_rest();
        assert_stamped(&bench.pool.fetch(bench.page(1)).now().expect("it became resident"), 1);
        assert_eq!(bench.disk.count(Op::Read), 1);
    });
}

#[test]
fn c5_a_fetch_dropped_while_its_read_fails_leaves_nothing() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 1, 4);
        bench.disk.inject(Fault::error(Op::Read, EIO).once());
        let gate = bench.disk.hold(Op::Read);
        let mut fetch = bench.pool.fetch(bench.page(1));
        assert!(poll_once(&mut fetch).is_pending());
        drop(fetch);
        gate.open();
        bench.assert_at_rest();
        assert_stamped(&bench.fetch(2).expect("the only frame is free again"), 1);
    });
}

#[test]
fn c5_a_fetch_dropped_after_its_read_gives_back_its_pin() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 4);
        let mut fetch = bench.pool.fetch(bench.page(1));
        // Ready at once where the calling thread reads; else its result is never taken.
        let _ = poll_once(&mut fetch);
        eventually("read", || bench.pool.stats().frames.resident == 1);
        drop(fetch);
        bench.assert_at_rest();
        let hit = bench.pool.fetch(bench.page(1));
        assert!(hit.is_done());
        drop(hit);
        bench.assert_at_rest();
    });
}

#[test]
fn c5_a_waiter_that_leaves_does_not_take_the_page_from_the_others() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 4, 4);
        let gate = bench.disk.hold(Op::Read);
        let mut starts = bench.pool.fetch(bench.page(1));
        let mut joins = bench.pool.fetch(bench.page(1));
        assert!(poll_once(&mut starts).is_pending() && poll_once(&mut joins).is_pending());
        let others = join_read(&bench.pool, bench.page(1), 4);
        drop((starts, joins));
        gate.open();
        others.into_iter().for_each(|other| assert_stamped(&outcome(other).unwrap(), 1));
        bench.assert_at_rest();
    });
}

#[test]
fn c5_a_caller_that_gives_up_waiting_for_a_frame_leaves_no_trace() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 1, 4);
        let only = bench.fetch(0).unwrap();
        let mut waiting = bench.pool.fetch(bench.page(1));
        assert!(poll_once(&mut waiting).is_pending());
        drop(waiting);
        let patient = fetch_apart(&bench.pool, bench.page(2), true);
        eventually("a caller waits", || bench.pool.stats().counts.frame_waits == 2);
        drop(only);
        assert_stamped(&outcome(patient).unwrap(), 1);
        bench.assert_at_rest();
    });
}

#[test]
fn c5_a_wait_that_times_out_can_be_taken_up_again() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 4, 4);
        let gate = bench.disk.hold(Op::Read);
        let fetch = bench.pool.fetch(bench.page(1));
        let fetch = fetch.wait_timeout(Duration::from_millis(20)).expect_err("the read is held");
        gate.wait_for(1);
        gate.open();
        assert_stamped(&fetch.wait().unwrap(), 1);
        assert_eq!(bench.disk.count(Op::Read), 1);
        bench.assert_at_rest();
    });
}

#[test]
fn c5_a_checkpoint_whose_future_is_dropped_goes_on() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 8);
        bench.dirty(0..8, 2);
        let gate = bench.disk.hold(Op::Write);
        let mut checkpoint = bench.pool.checkpoint(CheckpointOptions::new());
        assert!(poll_once(&mut checkpoint).is_pending());
        gate.wait_for(1);
        drop(checkpoint);
        gate.open();
        eventually("durable all the same", || bench.durable() == stamped_file(8, 2));
        bench.assert_at_rest();
    });
}

#[test]
fn c5_a_pool_dropped_with_reads_under_way_waits_for_them() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 16, 16);
        let gate = bench.disk.hold(Op::Read);
        assert_eq!(bench.pool.prefetch(bench.file.pages((0..16).step_by(2))).started, 8);
        let mut fetch = bench.pool.fetch(bench.page(1));
        assert!(poll_once(&mut fetch).is_pending());
        // The file's share of the eight threads; the other requests wait.
        gate.wait_for(6);
        drop(fetch);
        let (disk, pool, _) = bench.into_parts();
        let dropping = thread::spawn(move || drop(pool));
        thread::sleep(Duration::from_millis(50));
        assert!(!dropping.is_finished(), "the memory would be gone under the reads");
        gate.open();
        dropping.join().unwrap();
        let ended = disk.log().iter().filter(|event| event.succeeds(Op::Read, "data")).count();
        assert_eq!((disk.count(Op::Read), ended), (9, 9));
    });
}

#[test]
fn c5_a_pool_dropped_with_writes_under_way_finishes_them() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 16, 16);
        bench.dirty(0..8, 2);
        let gate = bench.disk.hold(Op::Write);
        let mut flush = bench.pool.flush_file(bench.file);
        assert!(poll_once(&mut flush).is_pending());
        gate.wait_for(1);
        let (disk, pool, _) = bench.into_parts();
        drop(flush);
        let dropping = thread::spawn(move || drop(pool));
        gate.open();
        dropping.join().unwrap();
        eventually("written", || disk.image("data").unwrap()[..8 * 8192] == stamped_file(8, 2));
    });
}

#[test]
fn c5_pages_guards_and_bytes_outlive_the_pool() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 8);
        let pinned: Vec<PinnedPage> = (0..4).map(|block| bench.fetch(block).unwrap()).collect();
        let frozen = bench.fetch(5).unwrap().freeze();
        let part = frozen.slice(8..16);
        let copied = bench.fetch(6).unwrap().to_bytes();
        let reading = pinned[0].read();
        let mut writing = pinned[1].write().unwrap();
        drop(bench.into_pool());
        assert!(*reading == *stamped(0, 1));
        writing.copy_from_slice(&stamped(1, 2));
        drop(writing);
        assert_stamped(&pinned[1], 2);
        restamp(&pinned[2], 2);
        assert_stamped(&pinned[2].try_clone().unwrap(), 2);
        drop(reading);
        // The last of them frees the memory, in whatever thread.
        thread::spawn(move || drop(pinned)).join().unwrap();
        drop(frozen);
        assert!(*part == stamped(5, 1)[8..16] && *copied == *stamped(6, 1));
        thread::spawn(move || drop(part)).join().unwrap();
    });
}

#[test]
fn c5_a_future_outlives_the_pool_it_came_from() {
    with_each_method(|method| {
        let (disk, pool, file) = Bench::new(method, 8, 8).into_parts();
        let (read, hit) =
            (pool.fetch(ringpool::PageId::new(file, 1)), pool.fetch(ringpool::PageId::new(file, 2)));
        let mut dirty = pool.fetch(ringpool::PageId::new(file, 3));
        let page = loop {
            if let Poll::Ready(page) = poll_once(&mut dirty) {
                break page.unwrap();
            }
            thread::yield_now();
        };
        restamp(&page, 2);
        drop(page);
        let checkpoint = pool.checkpoint(CheckpointOptions::new());
        drop(pool);
        assert_stamped(&pollster::block_on(read).unwrap(), 1);
        assert_stamped(&hit.wait().unwrap(), 1);
        assert_eq!(pollster::block_on(checkpoint).unwrap().pages_written, 1);
        assert!(disk.durable_image("data").unwrap()[3 * 8192..4 * 8192] == stamped(3, 2));
    });
}

#[test]
fn c5_a_future_outlives_a_shutdown() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 8);
        assert_stamped(&bench.fetch(2).unwrap(), 1);
        let (miss, hit) = (bench.pool.fetch(bench.page(1)), bench.pool.fetch(bench.page(2)));
        bench.pool.clone().shutdown(ringpool::Shutdown::Flush).unwrap();
        assert!(matches!(miss.wait(), Err(Error::ShutDown)));
        assert_stamped(&hit.wait().unwrap(), 1);
    });
}

/// Pages that are never dropped. Forgotten by `mem::forget` they would be a leak to the address sanitizer, with all of their pool.
static FORGOTTEN: Mutex<Vec<PinnedPage>> = Mutex::new(Vec::new());

#[test]
fn c5_a_forgotten_guard_costs_its_frame_and_nothing_else() {
    with_each_method(|method| {
        let bench = Bench::new(method, 2, 4);
        let page = bench.fetch(0).unwrap();
        mem::forget(page.write().unwrap());
        FORGOTTEN.lock().unwrap().push(page);
        (1..4).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 1));
        assert!(bench.fetch(0).unwrap().try_read().is_none());
        // With a pin that is never given back.
        drop(bench.into_pool());
    });
}

#[test]
fn c5_a_file_is_closed_only_after_its_reads_have_ended() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 16, 16);
        let gate = bench.disk.hold(Op::Read);
        assert_eq!(bench.pool.prefetch(bench.file.pages(0..4)).started, 4);
        gate.wait_for(1);
        let closing = thread::spawn({
            let (pool, file): (BufferPool, _) = (bench.pool.clone(), bench.file);
            move || pool.close_file(file).wait()
        });
        thread::sleep(Duration::from_millis(50));
        assert!(!closing.is_finished());
        gate.open();
        closing.join().unwrap().unwrap();
        assert!((0..4).all(|block| bench.pool.fetch(bench.page(block)).now().is_none()));
    });
}
