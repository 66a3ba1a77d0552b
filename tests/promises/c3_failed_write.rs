//! C3: a failed write leaves the page dirty and resident; nothing that was written is forgotten.

use std::{
    num::NonZeroU32,
    thread,
    time::{Duration, Instant},
};

use ringpool::{
    BufferPool, CheckpointOptions, CheckpointReport, Error, IoOp, OpenOptions, Result, Shutdown,
    ShutdownError,
    report::Evicted,
    testing::{Fault, Op},
};

use crate::support::{
    Bench, EIO, ENOSPC, PAGE, assert_stamped, fetch_apart, outcome, stamped, stamped_file, with_each_method,
};

const FRAME_WAIT: Duration = Duration::from_millis(500);

/// What a bounded wait may take beyond its bound on a busy machine.
const TOLERANCE: Duration = Duration::from_secs(20);

fn checkpoint(pool: &BufferPool) -> Result<CheckpointReport> {
    pool.checkpoint(CheckpointOptions::new()).wait()
}

#[track_caller]
fn assert_failed_write<T: std::fmt::Debug>(result: Result<T>, errno: i32) {
    match result {
        Err(Error::Io { op: IoOp::Write, source, .. }) => assert_eq!(source.raw_os_error(), Some(errno)),
        other => panic!("the write was to fail: {other:?}"),
    }
}

#[test]
fn c3_a_page_whose_write_failed_is_dirty_and_resident_and_written_by_the_next_checkpoint() {
    with_each_method(|method| {
        // A full disk is not a broken one, but what is owed to the page is the same.
        for errno in [EIO, ENOSPC] {
            let bench = Bench::new(method.clone(), 32, 16);
            bench.dirty(0..16, 2);
            bench.disk.inject(Fault::error(Op::Write, errno).without_trace());
            for _ in 0..3 {
                assert_failed_write(checkpoint(&bench.pool), errno);
                let frames = bench.pool.stats().frames;
                assert_eq!((frames.dirty, frames.resident, frames.pins), (16, 16, 0));
            }
            assert!(bench.image() == stamped_file(16, 1));
            (0..16).for_each(|block| assert_stamped(&bench.pool.fetch(bench.page(block)).now().unwrap(), 2));
            bench.disk.heal();
            let report = checkpoint(&bench.pool).unwrap();
            assert_eq!((report.pages_written, report.files_synced), (16, 1));
            assert!(bench.durable() == stamped_file(16, 2));
            assert_eq!(bench.pool.stats().frames.dirty, 0);
        }
    });
}

#[test]
fn c3_one_failed_write_does_not_keep_the_others_from_being_tried() {
    with_each_method(|method| {
        let bench = Bench::new(method, 32, 16);
        let apart = [1, 3, 5, 7, 9];
        bench.dirty(apart, 2);
        bench.disk.inject(Fault::error(Op::Write, EIO).without_trace().nth(2));
        assert_failed_write(bench.pool.flush_file(bench.file).wait(), EIO);
        assert_eq!((bench.disk.count(Op::Write), bench.pool.stats().frames.dirty), (5, 1));
        let lost = apart.iter().filter(|&&block| {
            let at = block as usize * PAGE;
            bench.image()[at..at + PAGE] == stamped(block, 1)
        });
        assert_eq!(lost.count(), 1);
        assert_eq!(checkpoint(&bench.pool).unwrap().pages_written, 1);
    });
}

#[test]
fn c3_flush_and_evict_say_so_and_the_page_stays() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 8);
        bench.dirty([4], 2);
        bench.disk.inject(Fault::error(Op::Write, EIO).times(2));
        match bench.pool.flush(bench.page(4)).wait() {
            Err(Error::Io { op: IoOp::Write, page, .. }) => assert_eq!(page, bench.page(4)),
            other => panic!("the write was to fail: {other:?}"),
        }
        assert_failed_write(pollster::block_on(bench.pool.evict(bench.page(4))), EIO);
        assert_stamped(&bench.pool.fetch(bench.page(4)).now().unwrap(), 2);
        assert_eq!(bench.pool.stats().frames.dirty, 1);
        assert_eq!(bench.pool.evict(bench.page(4)).wait().unwrap(), Evicted::Yes);
        assert_stamped(&bench.fetch(4).unwrap(), 2);
    });
}

#[test]
fn c3_a_pool_full_of_pages_that_cannot_be_written_gives_an_error_in_time_and_loses_nothing() {
    with_each_method(|method| {
        let bench =
            Bench::with(16, |builder| builder.frames(8).frame_wait(FRAME_WAIT).io_method(method.clone()));
        bench.dirty(0..8, 2);
        bench.disk.inject(Fault::error(Op::Write, ENOSPC));
        for as_task in [false, true] {
            let begun = Instant::now();
            assert_failed_write(outcome(fetch_apart(&bench.pool, bench.page(12), as_task)), ENOSPC);
            assert!(begun.elapsed() < FRAME_WAIT + TOLERANCE, "{:?}", begun.elapsed());
        }
        assert_eq!(bench.pool.prefetch(bench.file.pages(8..16)).started, 0);
        bench.assert_at_rest();
        assert_eq!(bench.pool.stats().frames.dirty, 8);
        bench.disk.heal();
        assert_stamped(&bench.fetch(12).unwrap(), 1);
        (0..8).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 2));
        checkpoint(&bench.pool).unwrap();
        assert!(bench.durable()[..8 * PAGE] == stamped_file(8, 2));
    });
}

#[test]
fn c3_a_change_made_while_the_write_is_under_way_is_not_forgotten_whether_it_fails_or_not() {
    with_each_method(|method| {
        for fails in [false, true] {
            let bench = Bench::new(method.clone(), 8, 8);
            bench.dirty([2], 2);
            let gate = bench.disk.hold(Op::Write);
            let flushing = thread::spawn({
                let (pool, page) = (bench.pool.clone(), bench.page(2));
                move || pool.flush(page).wait()
            });
            gate.wait_for(1);
            // Neither a reader nor a writer waits for the device.
            assert_stamped(&bench.fetch(2).unwrap(), 2);
            bench.dirty([2], 3);
            assert_stamped(&bench.fetch(2).unwrap(), 3);
            if fails {
                bench.disk.inject(Fault::error(Op::Write, EIO).once());
            }
            gate.open();
            assert_eq!(flushing.join().unwrap().is_err(), fails);
            assert_eq!(bench.pool.stats().frames.dirty, 1);
            assert_eq!(checkpoint(&bench.pool).unwrap().pages_written, 1);
            assert!(bench.durable()[2 * PAGE..3 * PAGE] == stamped(2, 3));
        }
    });
}

#[test]
fn c3_a_checkpoint_waits_for_a_write_that_is_under_way_and_takes_it_up_if_it_fails() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 8);
        bench.dirty([2], 2);
        let gate = bench.disk.hold(Op::Write);
        let pool = bench.pool.clone();
        let page = bench.page(2);
        let flushing = thread::spawn(move || pool.flush(page).wait());
        gate.wait_for(1);
        bench.disk.inject(Fault::error(Op::Write, EIO).once());
        let pool = bench.pool.clone();
        let checkpointing = thread::spawn(move || checkpoint(&pool));
        gate.open();
        assert_failed_write(flushing.join().unwrap(), EIO);
        assert_eq!(checkpointing.join().unwrap().unwrap().pages_written, 1);
        assert!(bench.durable()[2 * PAGE..3 * PAGE] == stamped(2, 2));
    });
}

#[test]
fn c3_short_writes_are_finished_and_one_that_makes_no_way_fails() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        bench.dirty(0..8, 2);
        bench.disk.inject(Fault::short(Op::Write, 1536));
        checkpoint(&bench.pool).unwrap();
        assert!(bench.durable() == stamped_file(8, 2));
        bench.dirty([1], 3);
        bench.disk.inject(Fault::short(Op::Write, 0));
        assert!(matches!(checkpoint(&bench.pool), Err(Error::Io { op: IoOp::Write, .. })));
        assert_eq!(bench.pool.stats().frames.dirty, 1);
    });
}

#[test]
fn c3_a_file_that_finds_no_space_to_grow_is_as_long_as_before() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        bench.dirty(0..8, 2);
        bench.disk.set_capacity(Some(10 * PAGE as u64));
        let four = NonZeroU32::new(4).unwrap();
        match bench.pool.extend(bench.file, four).wait() {
            Err(ref error @ Error::File { op: IoOp::Extend, .. }) => {
                assert_eq!(error.raw_os_error(), Some(ENOSPC));
            }
            other => panic!("there is no space: {other:?}"),
        }
        assert_eq!((bench.pool.blocks(bench.file).unwrap(), bench.image().len()), (8, 8 * PAGE));
        assert!(matches!(bench.fetch(8), Err(Error::PastEof { .. })));
        bench.disk.set_capacity(None);
        assert_eq!(bench.pool.extend(bench.file, four).wait().unwrap().first.0, 8);
        bench.dirty([11], 2);
        checkpoint(&bench.pool).unwrap();
        assert!(bench.durable()[..8 * PAGE] == stamped_file(8, 2));
        assert!(bench.durable()[11 * PAGE..] == stamped(11, 2));
    });
}

#[test]
fn c3_the_space_that_an_odd_end_needs_may_come_later() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 1);
        bench.disk.put("odd", &stamped_file(2, 1)[..PAGE + 512]);
        bench.disk.set_capacity(Some(2 * PAGE as u64 + 512));
        let odd = bench.pool.open_file("odd", OpenOptions::new()).unwrap();
        let last = bench.pool.fetch(ringpool::PageId::new(odd, 1)).wait().unwrap();
        crate::support::restamp(&last, 2);
        assert_failed_write(checkpoint(&bench.pool), ENOSPC);
        bench.disk.set_capacity(None);
        assert_eq!(checkpoint(&bench.pool).unwrap().pages_written, 1);
        assert!(bench.disk.durable_image("odd").unwrap()[PAGE..] == stamped(1, 2));
    });
}

#[test]
fn c3_a_shutdown_that_cannot_write_hands_back_the_pool_as_it_was() {
    with_each_method(|method| {
        let (disk, pool, file) = Bench::new(method, 8, 8).into_parts();
        let page = pool.fetch(ringpool::PageId::new(file, 3)).wait().unwrap();
        crate::support::restamp(&page, 2);
        disk.inject(Fault::error(Op::Write, EIO).once());
        let refused = pool.shutdown(Shutdown::Flush).unwrap_err();
        assert!(refused.to_string().contains("is still open, with 1 dirty pages"), "{refused}");
        assert!(refused.pool_is_open());
        let (pool, error) = refused.into_parts();
        assert_failed_write(Err::<(), _>(error), EIO);
        assert_eq!(pool.stats().frames.dirty, 1);
        assert_eq!(pool.shutdown(Shutdown::Flush).unwrap().pages_written, 1);
        assert!(disk.durable_image("data").unwrap()[3 * PAGE..4 * PAGE] == stamped(3, 2));
        // A pinned page outlasts the pool.
        assert_stamped(&page, 2);
    });
}

/// Shuts down as an engine's `close` does: it owns the pool, and returns the error by `?`.
fn close(pool: BufferPool) -> Result<(), Box<dyn std::error::Error>> {
    pool.shutdown(Shutdown::Flush)?;
    Ok(())
}

#[test]
fn c3_a_question_mark_behind_a_shutdown_that_fails_loses_neither_pool_nor_changes() {
    with_each_method(|method| {
        let (disk, pool, file) = Bench::new(method, 8, 8).into_parts();
        for block in 2..5 {
            crate::support::restamp(&pool.fetch(ringpool::PageId::new(file, block)).wait().unwrap(), 2);
        }
        disk.inject(Fault::error(Op::Write, EIO).once());
        let refused = close(pool).unwrap_err();
        let told = format!("{refused:?}");
        assert!(told.contains("with 3 dirty pages: write of block") && told.contains("data"), "{told}");
        let (pool, _) = refused.downcast::<ShutdownError>().unwrap().into_parts();
        assert_eq!(pool.stats().frames.dirty, 3);
        close(pool).unwrap();
        assert!(disk.durable_image("data").unwrap()[2 * PAGE..3 * PAGE] == stamped(2, 2));
        assert!(disk.durable_image("data").unwrap()[4 * PAGE..5 * PAGE] == stamped(4, 2));
    });
}
