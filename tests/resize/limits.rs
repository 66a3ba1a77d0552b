//! Sizes that a pool can and cannot have, what follows from its size, and its end.

use std::{
    pin::pin,
    task::{Context, Waker},
    thread,
};

use ringpool::{
    BufferPool, Error, IoMethod, PageId, Shutdown, StreamOptions,
    options::BackgroundWriter,
    testing::{Op, SimDisk},
};

use crate::support::{Bench, PAGE, assert_stamped, error_text, eventually, with_each_method};

fn bench(method: IoMethod, frames: u32, most: u32) -> Bench {
    Bench::with(1024, |builder| builder.frames(frames).frames_at_most(most).io_method(method))
}

#[test]
fn a_pool_has_the_sizes_that_it_was_built_for_and_no_others() {
    with_each_method(|method| {
        let bench = bench(method.clone(), 4, 8);
        for frames in [0, 9, u32::MAX] {
            let text = error_text(bench.pool.resize(frames).wait());
            assert!(text.contains("choose 1 to 8"), "{text}");
        }
        for frames in [8, 1, 1, 3, 8, 4] {
            assert_eq!(bench.pool.resize(frames).wait().unwrap().frames, frames);
            let stats = bench.pool.stats().frames;
            assert_eq!((stats.total, stats.at_most), (frames, 8));
            let all: Vec<_> = (0..frames).map(|block| bench.fetch(block).unwrap()).collect();
            all.iter().for_each(|page| assert_stamped(page, 1));
        }
        bench.assert_at_rest();
        let fixed = Bench::new(method, 4, 8);
        assert!(matches!(fixed.pool.resize(5).wait(), Err(Error::Config(_))));
        assert_eq!(fixed.pool.resize(2).wait().unwrap().frames, 2, "but it may shrink, and grow again");
        assert_eq!(fixed.pool.resize(4).wait().unwrap().frames, 4);
        fixed.assert_at_rest();
    });
}

#[test]
fn fewer_at_most_than_at_first_is_refused() {
    let text = error_text(BufferPool::builder().frames(8).frames_at_most(4).build());
    assert!(text.starts_with("frames_at_most 4: the pool has 8 at first"), "{text}");
}

/// It is refused at once, before any memory is taken.
#[test]
fn more_memory_than_there_is_is_refused_and_the_pool_is_as_it_was() {
    with_each_method(|method| {
        let builder = BufferPool::builder().page_size(65_536).frames(4).frames_at_most(1 << 24);
        let pool = builder.io_method(method).storage(SimDisk::new()).build().unwrap();
        let before = pool.stats().page_bytes;
        match pool.resize(1 << 24).wait() {
            Err(error @ Error::CannotGrow { frames: 16_777_216, .. }) => {
                assert!(error.to_string().contains("choose fewer frames"), "{error}");
            }
            other => panic!("a TiB: {other:?}"),
        }
        let stats = pool.stats();
        assert_eq!((stats.frames.total, stats.page_bytes), (4, before));
        assert_eq!(pool.resize(400).wait().unwrap().frames, 400);
        pool.validate().unwrap();
    });
}

#[test]
fn a_pool_that_was_shut_down_keeps_its_size() {
    with_each_method(|method| {
        let bench = bench(method, 4, 8);
        let other = bench.pool.clone();
        bench.into_pool().shutdown(Shutdown::Flush).unwrap();
        assert!(matches!(other.resize(8).wait(), Err(Error::ShutDown)));
        assert!(matches!(other.resize(2).wait(), Err(Error::ShutDown)));
    });
}

#[test]
fn c6_a_caller_that_waits_for_a_frame_gets_one_of_those_that_come() {
    with_each_method(|method| {
        let bench = bench(method, 2, 4);
        let _held: Vec<_> = (0..2).map(|block| bench.fetch(block).unwrap()).collect();
        thread::scope(|scope| {
            let waiting = [5, 6].map(|block| {
                let bench = &bench;
                scope.spawn(move || bench.fetch(block).map(|page| assert_stamped(&page, 1)))
            });
            eventually("fetches that wait", || bench.pool.stats().counts.frame_waits == 2);
            bench.pool.resize(4).wait().unwrap();
            waiting.into_iter().for_each(|waiting| waiting.join().unwrap().unwrap());
        });
    });
}

#[test]
fn what_may_be_pinned_or_looked_ahead_follows_the_size() {
    with_each_method(|method| {
        let bench = bench(method.clone(), 8, 512);
        let pages = |count| (0..count).map(|block| bench.page(block)).collect::<Vec<_>>();
        let too_many = |count| bench.pool.fetch_many(&pages(count)).wait();
        assert!(matches!(too_many(9), Err(Error::TooManyPages { frames: 8, .. })));
        bench.pool.resize(400).wait().unwrap();
        assert_eq!(too_many(300).unwrap().len(), 300);
        let ahead = |blocks: std::ops::Range<u32>| {
            // With this method the thread that transfers would wait at the gate itself.
            let gate = (method != IoMethod::Sync).then(|| bench.disk.hold(Op::Read));
            let started = bench.pool.prefetch(bench.file.pages(blocks)).started;
            drop(gate);
            bench.assert_at_rest();
            started
        };
        assert_eq!(ahead(500..600), 100, "a share of 400 frames");
        bench.pool.resize(8).wait().unwrap();
        assert!(matches!(too_many(9), Err(Error::TooManyPages { frames: 8, .. })));
        assert!(method == IoMethod::Sync || ahead(700..800) <= 6, "three quarters of 8 frames");
        let stream = bench.pool.read_stream(bench.file.pages(0..200_u32), StreamOptions::new().bulk());
        assert_eq!(stream.map(|page| assert_stamped(&page.unwrap(), 1)).count(), 200);
        bench.assert_at_rest();
    });
}

/// A pool that begins with too few frames for a background writer gets one when it has enough.
#[test]
fn the_background_writer_begins_when_there_are_frames_for_it() {
    with_each_method(|method| {
        let bench = bench(method, 64, 512);
        let dirty_all = |version| bench.dirty(0..1024, version);
        dirty_all(2);
        assert_eq!(bench.pool.stats().counts.pages_cleaned, 0, "it has too few frames");
        bench.pool.resize(512).wait().unwrap();
        eventually("pages that the background writer has cleaned", || {
            dirty_all(3);
            bench.pool.stats().counts.pages_cleaned > 0
        });
        bench.pool.resize(64).wait().unwrap();
        dirty_all(4);
        (0..1024).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 4));
    });
}

#[test]
fn marks_that_are_more_than_there_are_frames_are_as_many_as_there_are() {
    with_each_method(|method| {
        let bench = Bench::with(64, |builder| {
            let marks = BackgroundWriter::ReadyFrames { low: 8, high: 16 };
            builder.frames(32).background_writer(marks).io_method(method)
        });
        bench.dirty(0..64, 2);
        bench.pool.resize(2).wait().unwrap();
        bench.dirty(0..64, 3);
        (0..64).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 3));
    });
}

/// A resize that was begun goes on to its end, and nothing of it outlives the pool.
#[test]
fn c5_a_pool_that_is_dropped_during_a_resize_goes_when_it_is_over() {
    with_each_method(|method| {
        let (disk, pool, file) = bench(method, 8, 64).into_parts();
        let dirty = PageId::new(file, 7);
        (0..8).for_each(|block| drop(pool.fetch(PageId::new(file, block)).wait().unwrap()));
        pool.fetch(dirty).wait().unwrap().write().unwrap().fill(9);
        let gate = disk.hold(Op::Write);
        let mut shrinking = pool.resize(1);
        assert!(pin!(&mut shrinking).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        gate.wait_for(1);
        let growing = pool.resize(64);
        thread::scope(|scope| {
            let dropping = scope.spawn(move || drop((shrinking, growing, pool)));
            gate.open();
            dropping.join().unwrap();
        });
        assert_eq!(disk.image("data").unwrap()[7 * PAGE], 9, "what was begun is over when the pool is gone");
    });
}

#[test]
fn resizes_take_turns() {
    with_each_method(|method| {
        let bench = bench(method, 4, 64);
        thread::scope(|scope| {
            for thread in 0..4 {
                let bench = &bench;
                scope.spawn(move || {
                    for frames in [thread + 1, 64, 30 - thread, 2] {
                        let resized = bench.pool.resize(frames);
                        let report =
                            if thread % 2 == 0 { resized.wait() } else { pollster::block_on(resized) };
                        assert_eq!(report.unwrap().frames, frames);
                    }
                });
            }
        });
        assert_eq!(bench.pool.stats().frames.total, 2);
        bench.assert_at_rest();
    });
}

#[test]
fn a_resize_that_is_not_awaited_does_nothing() {
    let pool = BufferPool::builder().frames(2).frames_at_most(4).storage(SimDisk::new()).build().unwrap();
    drop(pool.resize(4));
    assert_eq!(pool.stats().frames.total, 2);
}
