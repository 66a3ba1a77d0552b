//! Cuts and removals that cannot be made: the file is as it was, and so is every page of it, with changes that were never written.

use std::{thread, time::Duration};

use ringpool::{
    CheckpointOptions, Error, FileId, IoMethod, IoOp, OpenOptions, PageId,
    testing::{Fault, Op},
};

use crate::support::{Bench, EIO, PAGE, assert_stamped, eventually, stamped, with_each_method};

const BLOCKS: u32 = 8;

/// Makes a pool that does not wait long for pins, with changes in blocks 4 to 6.
fn changed(method: IoMethod) -> Bench {
    let impatient = Duration::from_millis(50);
    let bench = Bench::with(BLOCKS, |builder| builder.frames(16).frame_wait(impatient).io_method(method));
    bench.dirty(4..7, 2);
    bench
}

/// Asserts that everything is there, and that a checkpoint writes it.
fn assert_nothing_is_lost(bench: &Bench) {
    assert_eq!(bench.pool.blocks(bench.file).unwrap(), BLOCKS);
    for block in 0..BLOCKS {
        let version = if (4..7).contains(&block) { 2 } else { 1 };
        assert_stamped(&bench.fetch(block).unwrap(), version);
    }
    bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    let durable: Vec<u8> =
        (0..BLOCKS).flat_map(|block| stamped(block, if (4..7).contains(&block) { 2 } else { 1 })).collect();
    assert_eq!(bench.durable(), durable);
}

/// Pages are looked at for pins before the first is taken. The one that stays pinned is being written at that moment, which
/// hides its pin until the other pages are taken.
#[test]
fn a_page_that_turns_out_to_be_pinned_costs_the_others_nothing() {
    with_each_method(|method| {
        for is_cut in [true, false] {
            let bench = changed(method.clone());
            // Pages are taken from the last frame to the first.
            let pinned = bench.fetch(4).unwrap();
            let gate = bench.disk.hold(Op::Write);
            let writing = {
                let (pool, page) = (bench.pool.clone(), pinned.id());
                thread::spawn(move || pool.flush(page).wait())
            };
            gate.wait_for(1);
            let giving_up = {
                let (pool, file) = (bench.pool.clone(), bench.file);
                thread::spawn(move || {
                    if is_cut { pool.truncate(file, 3).wait() } else { pool.drop_file(file).wait() }
                })
            };
            eventually("taken", || (5..7).all(|block| bench.pool.fetch(bench.page(block)).now().is_none()));
            gate.open();
            writing.join().unwrap().unwrap();
            let refused = giving_up.join().unwrap();
            assert!(matches!(refused, Err(Error::Pinned { page, .. }) if page == pinned.id()), "{refused:?}");
            assert_nothing_is_lost(&bench);
        }
    });
}

#[test]
fn a_cut_that_the_disk_refuses_takes_no_page() {
    with_each_method(|method| {
        let bench = changed(method);
        bench.disk.inject(Fault::error(Op::Resize, EIO).once());
        let refused = bench.pool.truncate(bench.file, 3).wait();
        assert!(matches!(refused, Err(Error::File { op: IoOp::Truncate, .. })), "{refused:?}");
        assert_nothing_is_lost(&bench);
        bench.pool.truncate(bench.file, 3).wait().unwrap();
        assert_eq!(bench.image().len(), 3 * PAGE);
    });
}

#[test]
fn a_checkpoint_waits_for_what_becomes_of_the_pages() {
    with_each_method(|method| {
        let bench = changed(method);
        let gate = bench.disk.hold(Op::Resize);
        bench.disk.inject(Fault::error(Op::Resize, EIO).once());
        let cutting = {
            let (pool, file) = (bench.pool.clone(), bench.file);
            thread::spawn(move || pool.truncate(file, 3).wait())
        };
        gate.wait_for(1);
        let checkpoint = {
            let pool = bench.pool.clone();
            thread::spawn(move || pool.checkpoint(CheckpointOptions::new()).wait())
        };
        thread::sleep(Duration::from_millis(20));
        assert!(!checkpoint.is_finished(), "it passed over pages that were dirty when it began");
        gate.open();
        cutting.join().unwrap().unwrap_err();
        assert_eq!(checkpoint.join().unwrap().unwrap().pages_written, 3);
        assert_nothing_is_lost(&bench);
    });
}

/// Times that no clock can count.
#[test]
fn c6_waits_that_may_be_as_long_as_they_like_are_no_panics() {
    with_each_method(|method| {
        let bench = Bench::with(BLOCKS, |builder| {
            builder.frames(16).frames_at_most(32).frame_wait(Duration::MAX).io_method(method)
        });
        let pool = &bench.pool;
        let is_over = |ended: bool| assert!(ended, "it has all the time there is");
        bench.dirty(4..7, 2);
        is_over(pool.fetch(bench.page(7)).wait_timeout(Duration::MAX).is_ok_and(|page| page.is_ok()));
        is_over(pool.resize(32).wait_timeout(Duration::MAX).is_ok_and(|done| done.is_ok()));
        is_over(pool.resize(4).wait_timeout(Duration::MAX).is_ok_and(|done| done.is_ok()));
        is_over(pool.truncate(bench.file, 5).wait_timeout(Duration::MAX).is_ok_and(|done| done.is_ok()));
        assert_eq!((pool.blocks(bench.file).unwrap(), bench.image().len()), (5, 5 * PAGE));
        // A second checkpoint makes the first one hurry.
        bench.dirty(0..4, 2);
        let spread = CheckpointOptions::new().spread_over(Duration::MAX);
        let (slow, pool_of_slow) = (spread, pool.clone());
        let paced = thread::spawn(move || pool_of_slow.checkpoint(slow).wait());
        eventually("both are through", || {
            pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
            paced.is_finished()
        });
        paced.join().unwrap().unwrap();
        let reopen = || pool.open_file("data", OpenOptions::new()).unwrap();
        let fetch = |file: FileId| drop(pool.fetch(PageId::new(file, 0)).wait().unwrap());
        pool.close_file(bench.file).wait().unwrap();
        let file = reopen();
        fetch(file);
        pool.drop_file(file).wait().unwrap();
        assert!(bench.disk.image("data").is_none());
    });
}
