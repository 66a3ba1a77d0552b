//! C6: no caller gets all of what is shared: the frames, where many calls want many pages each, and the pages for sealed copies.

use std::{
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use ringpool::{
    Builder, Error, IoMethod, OpenOptions, PageAddress, PageCodec, PageId, StreamOptions, pending::FetchMany,
    testing::Op,
};

use crate::support::{
    Bench, assert_stamped, eventually, guarded, methods, restamp, stamped_file, with_each_method,
};

/// A page that stays pinned stops calls for all frames, and no other calls.
#[test]
fn c6_calls_that_cannot_have_their_pages_are_no_error_to_smaller_ones() {
    const FRAMES: u32 = 16;
    with_each_method(|method| {
        let wait = Duration::from_millis(250);
        let bench = Bench::with(256, |builder| builder.frames(FRAMES).frame_wait(wait).io_method(method));
        let _pinned = bench.fetch(255).unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for caller in 0..2 {
                let (bench, over) = (&bench, &over);
                scope.spawn(move || {
                    let pages: Vec<_> = (0..FRAMES).map(|n| bench.page(caller * FRAMES + n)).collect();
                    while !over.load(Ordering::Relaxed) {
                        let many = bench.pool.fetch_many(&pages).wait();
                        assert!(matches!(many, Err(Error::AllPinned { .. })), "{many:?}");
                    }
                });
            }
            let fetched =
                (0..3).map(|n| bench.pool.fetch_many(&[bench.page(100 + n), bench.page(200 + n)]).wait());
            let errors: Vec<_> = fetched.filter_map(Result::err).collect();
            over.store(true, Ordering::Relaxed);
            assert!(errors.is_empty(), "{errors:?}");
        });
        bench.pool.validate().unwrap();
    });
}

/// A look at the frames finds those free that the next large call, which was just admitted, is about to take: a small call that
/// relied on this would wait beside the large one, and give up.
#[test]
fn c6_a_call_in_line_does_not_take_frames_for_left_that_the_next_one_is_about_to_take() {
    const FRAMES: u32 = 16;
    guarded(|| {
        let wait = Duration::from_millis(400);
        let bench =
            Bench::with(256, |builder| builder.frames(FRAMES).frame_wait(wait).io_method(IoMethod::worker()));
        let pinned = bench.fetch(255).unwrap();
        let many = |from: u32, pages: u32| {
            let pages: Vec<_> = (from..from + pages).map(|block| bench.page(block)).collect();
            Box::pin(bench.pool.fetch_many(&pages))
        };
        let mut context = Context::from_waker(Waker::noop());
        let [mut first, mut next, mut last] = [0, FRAMES, 2 * FRAMES].map(|from| many(from, FRAMES));
        let mut small = many(100, 2);
        let mut is_pending = |call: &mut Pin<Box<FetchMany>>| call.as_mut().poll(&mut context).is_pending();
        assert!([&mut first, &mut next, &mut small, &mut last].into_iter().all(&mut is_pending));
        thread::sleep(wait);
        assert!([&mut next, &mut small, &mut last].into_iter().all(&mut is_pending));
        drop(first);
        // Longer than a look counts, and not so long that calls in line are passed over.
        thread::sleep(Duration::from_millis(6));
        assert!([&mut last, &mut next, &mut small].into_iter().all(&mut is_pending));
        let asked = Instant::now();
        while asked.elapsed() < wait * 3 / 2 {
            assert!(is_pending(&mut small), "it is let in beside the large one, and gives up");
            thread::sleep(Duration::from_millis(2));
        }
        drop((next, last));
        let pages = pollster::block_on(small).unwrap();
        pages.iter().for_each(|page| assert_stamped(page, 1));
        drop((pages, pinned));
        bench.assert_at_rest();
    });
}

/// Calls that want the same pages need fewer frames than they were admitted for. One whose reads do not end leaves the other frames
/// to other calls.
#[test]
fn c6_calls_whose_reads_do_not_come_back_leave_the_frames_to_others_that_they_share() {
    with_each_method(|method| {
        let (wait, disk) = (Duration::from_millis(100), Duration::from_secs(10));
        let builder =
            |builder: Builder| builder.frames(16).frame_wait(wait).disk_wait(disk).io_method(method);
        let bench = Bench::with(64, builder);
        bench.disk.put("slow", stamped_file(16, 1));
        let slow = bench.pool.open_file("slow", OpenOptions::new().tag(1)).unwrap();
        let gate = bench.disk.hold(Op::Read.of("slow"));
        let shared: Vec<_> = (0..6).map(|block| PageId::new(slow, block)).collect();
        let others: Vec<_> = (0..8).map(|block| bench.page(block)).collect();
        thread::scope(|scope| {
            let stuck = || scope.spawn(|| bench.pool.fetch_many(&shared).wait().map(drop));
            let first = stuck();
            gate.wait_for(1);
            let second = stuck();
            eventually("both and the read have their pins", || bench.pool.stats().frames.pins >= 18);
            bench.pool.fetch_many(&others).wait().unwrap().iter().for_each(|page| assert_stamped(page, 1));
            gate.open();
            [first, second].into_iter().for_each(|call| call.join().unwrap().unwrap());
        });
        bench.assert_at_rest();
    });
}

/// Each would wait for the other: the call for frames that are to go, and the shrink for the pages that the call has pinned.
#[test]
fn c6_a_call_for_more_pages_than_a_shrinking_pool_keeps_is_an_error_at_once() {
    with_each_method(|method| {
        let wait = Duration::from_secs(60);
        let bench = Bench::with(256, |builder| builder.frames(16).frame_wait(wait).io_method(method));
        let pinned = bench.fetch(255).unwrap();
        thread::scope(|scope| {
            let pages: Vec<_> = (0..16).map(|block| bench.page(block)).collect();
            let many = bench.pool.fetch_many(&pages);
            let waiting = scope.spawn(move || many.wait());
            eventually("it has all that it can have", || bench.pool.stats().frames.pins >= 16);
            let shrink = bench.pool.resize(8);
            let shrinking = scope.spawn(move || shrink.wait());
            let refused = waiting.join().unwrap();
            assert!(matches!(refused, Err(Error::TooManyPages { pages: 16, frames: 8 })), "{refused:?}");
            drop(pinned);
            shrinking.join().unwrap().unwrap();
        });
        bench.pool.validate().unwrap();
    });
}

/// Calls that want four times the frames that there are all get their pages, though each must wait for other calls.
#[test]
fn c6_many_calls_that_fetch_many_pages_each_all_get_them() {
    const FRAMES: u32 = 64;
    const PAGES: u32 = 16;
    const CALLERS: u32 = 16;
    const CALLS: u32 = 20;
    with_each_method(|method| {
        let wait = Duration::from_secs(5);
        let bench = Bench::with(1024, |builder| builder.frames(FRAMES).frame_wait(wait).io_method(method));
        let done = AtomicU32::new(0);
        thread::scope(|scope| {
            for caller in 0..CALLERS {
                let (bench, done) = (&bench, &done);
                scope.spawn(move || {
                    let mut random = u64::from(caller) + 1;
                    for _ in 0..CALLS {
                        let pages: Vec<_> = (0..PAGES)
                            .map(|_| {
                                random = random
                                    .wrapping_mul(6364136223846793005)
                                    .wrapping_add(1442695040888963407);
                                bench.page((random >> 33) as u32 % 1024)
                            })
                            .collect();
                        let many = bench.pool.fetch_many(&pages);
                        let fetched = if caller % 2 == 0 { many.wait() } else { pollster::block_on(many) };
                        fetched.unwrap().iter().for_each(|page| assert_stamped(page, 1));
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), CALLERS * CALLS);
        bench.assert_at_rest();
    });
}

/// Futures that wait in line or were admitted, and are dropped or not polled any more.
#[test]
fn c6_calls_for_many_pages_that_are_given_up_hold_up_no_other() {
    with_each_method(|method| {
        let wait = Duration::from_millis(200);
        let bench = Bench::with(64, |builder| builder.frames(8).frame_wait(wait).io_method(method));
        let pages = |from: u32| (from..from + 8).map(|block| bench.page(block)).collect::<Vec<_>>();
        let gate = bench.disk.hold(Op::Read.of("data"));
        thread::scope(|scope| {
            // A call that is admitted, and waits for the disk.
            let first = scope.spawn(|| bench.pool.fetch_many(&pages(0)).wait().map(drop));
            gate.wait_for(1);
            let mut context = Context::from_waker(Waker::noop());
            let mut dropped = Box::pin(bench.pool.fetch_many(&pages(8)));
            let mut unpolled = pin!(bench.pool.fetch_many(&pages(16)));
            assert!(dropped.as_mut().poll(&mut context).is_pending());
            assert!(unpolled.as_mut().poll(&mut context).is_pending());
            let last = scope.spawn(|| bench.pool.fetch_many(&pages(24)).wait());
            drop(dropped);
            // A disk that is slow is no error, however long the call has waited.
            thread::sleep(2 * wait);
            assert!(!last.is_finished());
            gate.open();
            first.join().unwrap().unwrap();
            last.join().unwrap().unwrap().iter().for_each(|page| assert_stamped(page, 1));
        });
        bench.assert_at_rest();
    });
}

#[test]
fn c6_a_call_for_many_pages_that_finds_others_pinned_is_an_error_in_time() {
    with_each_method(|method| {
        let wait = Duration::from_millis(50);
        let bench = Bench::with(64, |builder| builder.frames(8).frame_wait(wait).io_method(method));
        let pinned: Vec<_> = (0..4).map(|block| bench.fetch(block).unwrap()).collect();
        let pages: Vec<_> = (8..16).map(|block| bench.page(block)).collect();
        for as_task in [false, true] {
            let many = bench.pool.fetch_many(&pages);
            let fetched = if as_task { pollster::block_on(many) } else { many.wait() };
            assert!(matches!(fetched, Err(Error::AllPinned { .. })), "{fetched:?}");
        }
        drop(pinned);
        assert_eq!(bench.pool.fetch_many(&pages).wait().unwrap().len(), 8);
    });
}

struct Plain;

impl PageCodec for Plain {
    fn seal(&self, _: PageAddress, _: &mut [u8]) {}

    fn open(&self, _: PageAddress, _: &mut [u8]) -> Result<(), String> {
        Ok(())
    }
}

/// With a codec, whose copies have room that all files share.
#[test]
fn c6_a_file_whose_writes_do_not_come_back_leaves_room_for_copies_to_others() {
    with_each_method(|method| {
        const FRAMES: u32 = 64;
        let bench =
            Bench::with(FRAMES, |builder| builder.frames(FRAMES).codec(Plain).io_method(method.clone()));
        bench.disk.put("other", stamped_file(2 * FRAMES, 1));
        let other = bench.pool.open_file("other", OpenOptions::new().tag(1)).unwrap();
        // No two are neighbours: more requests than there is room for copies.
        bench.dirty((0..FRAMES).step_by(2), 2);
        let gate = bench.disk.hold(Op::Write.of("data"));
        thread::scope(|scope| {
            let stuck = scope.spawn(|| bench.pool.flush_file(bench.file).wait());
            gate.wait_for(1);
            if method != IoMethod::Sync {
                eventually("it has all copies that it gets", || bench.pool.stats().frames.writing >= 12);
            }
            let change = |block, version| {
                restamp(&bench.pool.fetch(PageId::new(other, block)).wait().unwrap(), version);
            };
            (0..8).for_each(|block| change(block, 2));
            let flushed = bench.pool.flush_file(other).wait_timeout(Duration::from_secs(30));
            assert_eq!(flushed.expect("it waits for the other file's writes").unwrap().pages_written, 8);
            // Misses that must write dirty pages of this file.
            (0..2 * FRAMES).for_each(|block| change(block, 3));
            gate.open();
            stuck.join().unwrap().unwrap();
        });
        bench.assert_at_rest();
    });
}

/// Also in the smallest pools. Not under [`IoMethod::Sync`]: there the thread that writes the first page transfers it itself.
#[test]
fn c6_in_a_small_pool_with_a_codec_another_file_is_written_evicted_and_closed() {
    for frames in [4, 5, 8] {
        for method in methods().into_iter().filter(|method| *method != IoMethod::Sync) {
            guarded(move || {
                let bench = Bench::with(16, |builder| builder.frames(frames).codec(Plain).io_method(method));
                bench.disk.put("other", stamped_file(16, 1));
                let other = bench.pool.open_file("other", OpenOptions::new().tag(1)).unwrap();
                bench.dirty([0, 2], 2);
                let gate = bench.disk.hold(Op::Write.of("data"));
                thread::scope(|scope| {
                    let stuck = scope.spawn(|| bench.pool.flush_file(bench.file).wait());
                    gate.wait_for(1);
                    let (pool, patience) = (&bench.pool, Duration::from_secs(30));
                    let change = |block| {
                        restamp(&pool.fetch(PageId::new(other, block)).wait().unwrap(), 2);
                    };
                    change(1);
                    let flushed = pool.flush_file(other).wait_timeout(patience).expect("it flushes");
                    assert_eq!(flushed.unwrap().pages_written, 1);
                    change(3);
                    pool.evict(PageId::new(other, 3)).wait_timeout(patience).expect("it evicts").unwrap();
                    (5..16).for_each(change);
                    pool.close_file(other).wait_timeout(patience).expect("it closes").unwrap();
                    gate.open();
                    stuck.join().unwrap().unwrap();
                });
                bench.assert_at_rest();
            });
        }
    }
}

#[test]
fn a_file_that_is_open_alone_has_all_of_look_ahead() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 16, 160);
        let gate = bench.disk.hold(Op::Read);
        let ahead = bench.pool.prefetch(bench.file.pages(0..160));
        assert_eq!((ahead.started, ahead.declined), (12, 148), "three quarters of the frames");
        gate.open();
        bench.assert_at_rest();
    });
}

/// Reads ahead of a file that does not answer keep their places, and other files are read ahead all the same.
#[test]
fn c6_a_file_whose_reads_do_not_come_back_leaves_look_ahead_to_others() {
    with_each_method(|method| {
        const FRAMES: u32 = 256;
        // Of three quarters of the frames, which look-ahead has, three quarters.
        const MOST: u32 = FRAMES * 3 / 4 * 3 / 4;
        let bench = Bench::new(method, FRAMES, FRAMES);
        bench.disk.put("slow", stamped_file(4 * FRAMES, 1));
        let slow = bench.pool.open_file("slow", OpenOptions::new().tag(1)).unwrap();
        let gate = bench.disk.hold(Op::Read.of("slow"));
        let (pool, data) = (&bench.pool, bench.file);
        thread::scope(|scope| {
            // Under sync the thread that asks waits for the disk, and has begun as many reads as go together.
            let prefetching = scope.spawn(move || pool.prefetch(slow.pages(0..4 * FRAMES)));
            eventually("it has the places that it gets", || pool.stats().frames.reading_ahead >= MOST);
            assert_eq!(pool.stats().frames.reading_ahead, MOST);
            let blocks = [1_u32, 3, 5, 7, 9, 11];
            let prefetched = pool.prefetch(data.pages(blocks));
            assert_eq!((prefetched.started, prefetched.declined), (6, 0), "a prefetch of another file");
            eventually("they are here", || pool.stats().frames.resident == 6);
            let before = pool.stats().counts;
            for page in pool.read_stream(data.pages(100..FRAMES), StreamOptions::new()) {
                assert_stamped(&page.unwrap(), 1);
            }
            let counts = pool.stats().counts - before;
            assert!(counts.prefetches > 100 && counts.misses < 40, "a stream of another file: {counts:?}");
            gate.open();
            assert_eq!(prefetching.join().unwrap().started, MOST);
        });
        bench.assert_at_rest();
    });
}
