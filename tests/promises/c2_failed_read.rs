//! C2: a failed read is reported to every waiter with operation, file and block; nothing of it stays cached.

use std::{
    fs,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use ringpool::{
    BufferPool, Error, FileId, IoMethod, IoOp, OpenOptions, PageId, PinnedPage, Result,
    testing::{Fault, Op},
};

use crate::support::{
    Bench, EIO, PAGE, assert_at_rest, assert_stamped, eventually, fetch_apart, guarded, join_read, methods,
    outcome, stamped_file, with_each_method,
};

#[track_caller]
fn assert_failed_read(result: Result<PinnedPage>, at: PageId) {
    match result {
        Err(Error::Io { op: IoOp::Read, page, source, .. }) => {
            assert_eq!((page, source.raw_os_error()), (at, Some(EIO)));
        }
        other => panic!("{at} was to fail: {other:?}"),
    }
}

#[test]
fn c2_each_of_24_waiters_gets_the_error_and_the_next_fetch_reads_again() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 4);
        let page = bench.page(2);
        let gate = bench.disk.hold(Op::Read);
        let first = fetch_apart(&bench.pool, page, false);
        gate.wait_for(1);
        let mut all = join_read(&bench.pool, page, 23);
        all.push(first);
        bench.disk.inject(Fault::error(Op::Read, EIO).once());
        gate.open();
        for fetching in all {
            assert_failed_read(outcome(fetching), page);
        }
        assert!(bench.pool.fetch(page).now().is_none());
        bench.assert_at_rest();
        assert_eq!((bench.pool.stats().frames.resident, bench.disk.count(Op::Read)), (0, 1));
        assert_stamped(&bench.fetch(2).unwrap(), 1);
        assert_eq!(bench.disk.count(Op::Read), 2);
    });
}

#[test]
fn c2_the_error_names_operation_file_and_block() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 8);
        bench.disk.inject(Fault::error(Op::Read, EIO));
        let text = bench.fetch(7).unwrap_err().to_string();
        assert!(text.starts_with("read of block 7 of data (file 0) failed: "), "{text}");
        assert_eq!(bench.fetch(7).unwrap_err().raw_os_error(), Some(EIO));
    });
}

#[test]
fn c2_a_read_that_fails_for_good_can_be_tried_for_ever_and_takes_no_frame() {
    with_each_method(|method| {
        let bench = Bench::new(method, 2, 8);
        bench.disk.inject(Fault::error(Op::Read, EIO));
        for n in 0..200 {
            let page = bench.page(n % 8);
            let outcome = if n % 2 == 0 {
                bench.pool.fetch(page).wait()
            } else {
                pollster::block_on(bench.pool.fetch(page))
            };
            assert_failed_read(outcome, page);
        }
        bench.assert_at_rest();
        bench.disk.heal();
        (0..8).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 1));
    });
}

#[test]
fn c2_a_failed_prefetch_leaves_nothing() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        bench.disk.inject(Fault::error(Op::Read, EIO).once());
        assert_eq!(bench.pool.prefetch(bench.file.pages(0..8)).started, 8);
        bench.assert_at_rest();
        assert_eq!(bench.pool.stats().frames.resident, 0);
        (0..8).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 1));
        // Its places of the read-ahead quota are free again.
        assert_eq!(bench.pool.prefetch(bench.file.pages(0..8)).already, 8);
    });
}

/// Has the read of a run of four pages fail while a fetch waits for each of them; returns what they get, by block.
fn joined_run_that_fails(fault: Fault) -> (Bench, Vec<Result<PinnedPage>>) {
    let bench = Bench::new(IoMethod::worker(), 16, 4);
    let gate = bench.disk.hold(Op::Read);
    assert_eq!(bench.pool.prefetch(bench.file.pages(0..4)).started, 4);
    gate.wait_for(1);
    let waiting: Vec<_> = (0..4).flat_map(|block| join_read(&bench.pool, bench.page(block), 1)).collect();
    bench.disk.inject(fault);
    gate.open();
    let outcomes = waiting.into_iter().map(outcome).collect();
    (bench, outcomes)
}

#[test]
fn c2_a_caller_that_waits_for_a_page_of_a_failed_run_gets_the_error_of_that_page() {
    guarded(|| {
        let (bench, outcomes) = joined_run_that_fails(Fault::error(Op::Read, EIO));
        for (block, fetched) in outcomes.into_iter().enumerate() {
            assert_failed_read(fetched, bench.page(block as u32));
        }
        bench.assert_at_rest();
    });
}

/// Reads that are repeated after a run has failed meet in the queue, and must not become a run once more.
#[test]
fn c2_a_bad_page_does_not_take_its_neighbours_along_when_they_are_read_again() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Worker { threads: 1 }, 16, 4);
        let gate = bench.disk.hold(Op::Read);
        assert_eq!(bench.pool.prefetch(bench.file.pages(0..4)).started, 4);
        gate.wait_for(1);
        let mut fetches: Vec<_> = (0..4).map(|block| bench.pool.fetch(bench.page(block))).collect();
        let mut outcomes: Vec<Option<Result<PinnedPage>>> = (0..4).map(|_| None).collect();
        let mut poll_all = || {
            let mut context = Context::from_waker(Waker::noop());
            for (fetch, outcome) in
                fetches.iter_mut().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_none())
            {
                if let Poll::Ready(result) = Pin::new(fetch).poll(&mut context) {
                    *outcome = Some(result);
                }
            }
            outcomes.iter().filter(|outcome| outcome.is_some()).count()
        };
        assert_eq!(poll_all(), 0);
        let page = PAGE as u64;
        bench.disk.inject(Fault::error(Op::Read, EIO).touching(page..2 * page));
        gate.open();
        eventually("the run fails", || bench.pool.stats().frames.reading == 0);
        let gate = bench.disk.hold(Op::Read);
        assert_eq!(poll_all(), 0);
        gate.wait_for(1);
        gate.open();
        eventually("all have an outcome", || poll_all() == 4);
        for (block, outcome) in outcomes.into_iter().flatten().enumerate() {
            match block {
                1 => assert_failed_read(outcome, bench.page(1)),
                _ => assert_stamped(&outcome.unwrap(), 1),
            }
        }
        assert_eq!(bench.disk.count(Op::Read), 1 + 4, "each page was read by itself");
    });
}

#[test]
fn c2_a_run_that_fails_once_costs_no_caller_its_page() {
    guarded(|| {
        let (bench, outcomes) = joined_run_that_fails(Fault::error(Op::Read, EIO).once());
        outcomes.iter().for_each(|fetched| assert_stamped(fetched.as_ref().unwrap(), 1));
        assert_eq!(bench.disk.count(Op::Read), 1 + 4, "each page was read by itself");
    });
}

#[test]
fn c2_a_transient_error_is_no_error() {
    const EINTR: i32 = 4;
    const EAGAIN: i32 = 11;
    with_each_method(|method| {
        for errno in [EINTR, EAGAIN] {
            let bench = Bench::new(method.clone(), 4, 4);
            bench.disk.inject(Fault::error(Op::Read, errno).times(3));
            assert_stamped(&bench.fetch(1).unwrap(), 1);
            // A failure that lasts is not waited for.
            bench.disk.inject(Fault::error(Op::Read, errno));
            assert_eq!(bench.fetch(2).unwrap_err().raw_os_error(), Some(errno));
        }
    });
}

/// A real file, so that with io_uring the ring itself reads: blocks that another process cut off.
#[test]
fn c2_a_block_that_is_gone_from_a_real_file_is_an_error_until_it_is_back() {
    guarded(|| {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for method in methods() {
            println!("method {method:?}");
            let path = dir.path().join("cut");
            fs::write(&path, stamped_file(8, 1)).unwrap();
            let pool = BufferPool::builder().frames(16).io_method(method).build().unwrap();
            let file = pool.open_file(&path, OpenOptions::new()).unwrap();
            let other = fs::OpenOptions::new().write(true).open(&path).unwrap();
            other.set_len(4 * PAGE as u64).unwrap();
            assert_gone(&pool, file);
            fs::write(&path, stamped_file(8, 2)).unwrap();
            for as_task in [false, true] {
                assert_stamped(&outcome(fetch_apart(&pool, PageId::new(file, 6), as_task)).unwrap(), 2);
            }
        }
    });
}

fn assert_gone(pool: &BufferPool, file: FileId) {
    for (n, block) in (4..8).enumerate() {
        let fetched = outcome(fetch_apart(pool, PageId::new(file, block), n % 2 == 0));
        let text = fetched.unwrap_err().to_string();
        assert!(text.contains("cut by another program"), "{text}");
    }
    pool.prefetch(file.pages(0..8));
    assert_at_rest(pool);
    eventually("what is there was read ahead", || pool.stats().frames.resident == 4);
}
