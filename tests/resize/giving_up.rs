//! Shrinks that cannot be done: the pool keeps its size, every page and every change, and the error says why.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use ringpool::{
    CheckpointOptions, Error, IoMethod, IoOp,
    options::BackgroundWriter,
    testing::{Fault, Op},
};

use crate::support::{Bench, EIO, assert_stamped, eventually, with_each_method};

fn bench(method: IoMethod, frames: u32) -> Bench {
    Bench::with(64, |builder| {
        let builder = builder.frames(frames).frames_at_most(64).frame_wait(Duration::from_millis(50));
        builder.background_writer(BackgroundWriter::Off).io_method(method)
    })
}

/// Makes a bench with all frames in use, by the blocks of their numbers.
fn filled(method: IoMethod, frames: u32) -> Bench {
    let bench = bench(method, frames);
    (0..frames).for_each(|block| drop(bench.fetch(block).unwrap()));
    bench
}

#[test]
fn c6_a_page_that_stays_pinned_is_named_and_nothing_has_changed() {
    with_each_method(|method| {
        let bench = filled(method, 16);
        bench.dirty(8..12, 2);
        let pinned = bench.fetch(13).unwrap();
        match bench.pool.resize(4).wait() {
            Err(error @ Error::Pinned { page, .. }) => {
                assert_eq!(page, pinned.id());
                assert!(error.to_string().contains("drop its pins"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(bench.pool.stats().frames.total, 16);
        bench.pool.validate().unwrap();
        // All of it is as usable as before, at once.
        let all: Vec<_> = (0..16).map(|block| bench.fetch(block).unwrap()).collect();
        all.iter()
            .for_each(|page| assert_stamped(page, if (8..12).contains(&page.id().block.0) { 2 } else { 1 }));
        drop((all, pinned));
        assert_eq!(bench.pool.resize(4).wait().unwrap().frames, 4);
        (8..12).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 2));
        bench.assert_at_rest();
    });
}

/// The time of a shrink runs only while pins stop it, not while the disk writes the pages of its frames.
#[test]
fn c6_a_disk_that_takes_long_to_write_is_no_reason_to_give_up() {
    with_each_method(|method| {
        let bench = filled(method, 16);
        bench.dirty(0..16, 2);
        let gate = bench.disk.hold(Op::Write);
        std::thread::scope(|scope| {
            let flushing = scope.spawn(|| bench.pool.flush(bench.page(9)).wait());
            gate.wait_for(1);
            let shrinking = scope.spawn(|| bench.pool.resize(2).wait());
            gate.wait_for(2);
            // As long as it waits for pins, four times.
            std::thread::sleep(Duration::from_millis(200));
            assert!(!shrinking.is_finished());
            gate.open();
            assert_eq!(shrinking.join().unwrap().unwrap().frames, 2);
            flushing.join().unwrap().unwrap();
        });
        (0..16).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 2));
        bench.assert_at_rest();
    });
}

#[test]
fn c6_a_thread_that_holds_pages_can_ask_for_fewer_frames_and_gets_an_answer() {
    with_each_method(|method| {
        let bench = filled(method, 8);
        let page = bench.fetch(7).unwrap();
        let guard = page.write().unwrap();
        assert!(
            matches!(bench.pool.resize(1).wait(), Err(Error::Pinned { page, .. }) if page == bench.page(7))
        );
        drop(guard);
        let pages: Vec<_> = (0..8).map(|block| bench.fetch(block).unwrap()).collect();
        assert!(matches!(bench.pool.resize(1).wait(), Err(Error::Pinned { .. })));
        drop((pages, page));
        bench.pool.resize(1).wait().unwrap();
        bench.assert_at_rest();
    });
}

#[test]
fn c3_a_shrink_that_cannot_write_loses_no_change() {
    with_each_method(|method| {
        let bench = filled(method, 16);
        bench.dirty(0..16, 2);
        bench.disk.inject(Fault::error(Op::Write, EIO));
        match bench.pool.resize(2).wait() {
            Err(error @ Error::Io { op: IoOp::Write, .. }) => assert_eq!(error.raw_os_error(), Some(EIO)),
            other => panic!("{other:?}"),
        }
        let frames = bench.pool.stats().frames;
        assert_eq!((frames.total, frames.dirty), (16, 16));
        bench.pool.validate().unwrap();
        bench.disk.heal();
        let report = bench.pool.resize(2).wait().unwrap();
        assert_eq!((report.frames_before, report.frames, report.pages_written), (16, 2, 14));
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        (0..16).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 2));
        bench.assert_at_rest();
    });
}

#[test]
fn a_shrink_waits_for_reads_and_writes_that_are_under_way() {
    with_each_method(|method| {
        let bench = Bench::with(64, |builder| builder.frames(8).frames_at_most(9).io_method(method));
        bench.dirty(4..8, 2);
        let gate = bench.disk.hold(Op::Write);
        std::thread::scope(|scope| {
            let shrinking = scope.spawn(|| bench.pool.resize(1).wait());
            gate.wait_for(1);
            assert_eq!(bench.pool.stats().frames.total, 8, "all serve until the disk is through with them");
            assert!(!shrinking.is_finished());
            let page = bench.pool.fetch(bench.page(5)).now().expect("it is still here");
            assert_stamped(&page, 2);
            drop(page);
            gate.open();
            assert_eq!(shrinking.join().unwrap().unwrap().frames, 1);
        });
        (4..8).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 2));
        bench.assert_at_rest();
    });
}

#[test]
fn a_page_that_changes_hands_all_the_time_goes_all_the_same() {
    with_each_method(|method| {
        let bench = Bench::with(64, |builder| builder.frames(8).io_method(method));
        (0..8).for_each(|block| drop(bench.fetch(block).unwrap()));
        let over = AtomicBool::new(false);
        let uses = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let (bench, over, uses) = (&bench, &over, &uses);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        drop(bench.fetch(7).unwrap());
                        uses.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            eventually("a page in use", || uses.load(Ordering::Relaxed) > 100);
            let shrunk = bench.pool.resize(4).wait();
            over.store(true, Ordering::Relaxed);
            assert_eq!(shrunk.unwrap().frames, 4);
        });
        bench.assert_at_rest();
    });
}
