//! C6: a wait for a frame is bounded by what is wrong, not by what is slow; a file that does not answer holds up no other; and a
//! thread that waits leaves the processors to threads that work.

use std::{
    thread,
    time::{Duration, Instant},
};

use ringpool::{
    BufferPool, Error, FileId, IoMethod, OpenOptions, PageId,
    options::BackgroundWriter,
    testing::{Fault, Gate, Op},
};

use crate::support::{
    Bench, EIO, PAGE, assert_stamped, fetch_apart, guarded, methods, outcome, restamp, stamped_file,
    with_each_method,
};

const FRAME_WAIT: Duration = Duration::from_millis(50);

/// What a bounded wait may take beyond its bound on a busy machine.
const TOLERANCE: Duration = Duration::from_secs(20);

fn bench(method: IoMethod, frames: u32) -> Bench {
    Bench::with(64, |builder| builder.frames(frames).frame_wait(FRAME_WAIT).io_method(method))
}

/// Returns all but those whose transfers are calls of the thread that asks.
fn asynchronous() -> impl Iterator<Item = IoMethod> {
    methods().into_iter().filter(|method| *method != IoMethod::Sync)
}

#[test]
fn c6_a_disk_that_takes_longer_than_pins_are_waited_for_is_no_error() {
    with_each_method(|method| {
        let bench = bench(method, 8);
        bench.dirty(0..8, 2);
        let gate = bench.disk.hold(Op::Write);
        let fetching: Vec<_> =
            (0..4).map(|n| fetch_apart(&bench.pool, bench.page(20 + n), n % 2 == 0)).collect();
        gate.wait_for(1);
        thread::sleep(6 * FRAME_WAIT);
        assert!(fetching.iter().all(|one| !one.is_finished()), "no thread has pinned anything");
        gate.open();
        fetching.into_iter().for_each(|one| assert_stamped(&outcome(one).unwrap(), 1));
    });
}

/// Pins count only while the disk has nothing to do.
#[test]
fn c6_the_time_for_pins_runs_only_while_all_frames_are_pinned() {
    guarded(|| {
        for method in asynchronous() {
            let bench = bench(method, 4);
            let mut pins: Vec<_> = (0..3).map(|block| bench.fetch(block).unwrap()).collect();
            bench.dirty([3], 2);
            let gate = bench.disk.hold(Op::Write);
            let fetching = fetch_apart(&bench.pool, bench.page(20), false);
            gate.wait_for(1);
            thread::sleep(4 * FRAME_WAIT);
            assert!(!fetching.is_finished(), "a frame is on its way");
            gate.open();
            pins.push(outcome(fetching).unwrap());
            let begun = Instant::now();
            let refused = bench.fetch(21);
            assert!(
                matches!(refused, Err(Error::AllPinned { waited, .. }) if waited >= FRAME_WAIT),
                "{refused:?}"
            );
            assert!(begun.elapsed() < TOLERANCE);
        }
    });
}

#[test]
fn c6_a_disk_that_does_not_answer_is_an_error_that_says_what_is() {
    guarded(|| {
        for method in asynchronous() {
            let bench = Bench::with(64, |builder| {
                builder.frames(8).frame_wait(FRAME_WAIT).disk_wait(4 * FRAME_WAIT).io_method(method)
            });
            bench.dirty(0..6, 2);
            let pins: Vec<_> = (6..8).map(|block| bench.fetch(block).unwrap()).collect();
            let gate = bench.disk.hold(Op::Write);
            for as_task in [false, true] {
                match outcome(fetch_apart(&bench.pool, bench.page(20), as_task)) {
                    Err(ref error @ Error::NoFrame { waited, idle, frames, pinned, writing, dirty, .. }) => {
                        assert_eq!((frames, pinned, writing, dirty), (8, 2, 6, 0));
                        assert!(idle >= 4 * FRAME_WAIT && waited >= idle && waited < TOLERANCE, "{error}");
                        let text = error.to_string();
                        assert!(
                            text.contains("6 are being written") && !text.contains("drop pins"),
                            "{text}"
                        );
                    }
                    other => panic!("{other:?}"),
                }
            }
            gate.open();
            drop(pins);
            assert_stamped(&bench.fetch(20).unwrap(), 1);
        }
    });
}

#[test]
fn c6_a_disk_that_refuses_every_write_is_told_of_within_a_moment() {
    with_each_method(|method| {
        // The wait for pins is far longer than the test may take.
        let bench = Bench::with(64, |builder| {
            builder.frames(8).frame_wait(Duration::from_secs(300)).io_method(method)
        });
        bench.dirty(0..8, 2);
        let pin = bench.fetch(7).unwrap();
        bench.disk.inject(Fault::error(Op::Write, EIO));
        for round in 0..3 {
            let begun = Instant::now();
            let fetching: Vec<_> =
                (0..4).map(|n| fetch_apart(&bench.pool, bench.page(20 + n), n % 2 == 0)).collect();
            for one in fetching {
                assert_eq!(outcome(one).unwrap_err().raw_os_error(), Some(EIO), "round {round}");
            }
            assert!(begun.elapsed() < TOLERANCE);
        }
        bench.disk.heal();
        drop(pin);
        assert_stamped(&bench.fetch(20).unwrap(), 1);
    });
}

#[test]
fn c6_a_write_that_fails_once_is_nothing_to_tell() {
    with_each_method(|method| {
        let bench = Bench::with(64, |builder| {
            builder.frames(1).frame_wait(Duration::from_secs(300)).io_method(method)
        });
        for block in 0..20 {
            bench.dirty([block], 2);
            bench.disk.inject(Fault::error(Op::Write, EIO).once());
        }
        bench.disk.heal();
        (0..20).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 2));
    });
}

/// A pool whose background writer has as many pages out to a file that takes no writes as it keeps ready.
fn with_a_batch_that_hangs(method: &IoMethod) -> (Bench, FileId, Gate) {
    const READY: u32 = 16;
    let begun = Instant::now();
    loop {
        let bench = Bench::with(64, |builder| {
            let writer = BackgroundWriter::ReadyFrames { low: READY, high: READY };
            // A page that goes along with a neighbour is no victim.
            builder.frames(64).background_writer(writer).combine_limit_bytes(PAGE).io_method(method.clone())
        });
        bench.disk.put("other", stamped_file(256, 1));
        let other = bench.pool.open_file("other", OpenOptions::new()).unwrap();
        let gate = bench.disk.hold(Op::Write.of("data"));
        bench.dirty(0..24, 2);
        // All free frames at once, so that as many victims are wanted at once. A slow machine may let the first ones hang for so
        // long that their file counts as slow before there are enough: then it is tried again.
        let taken: Vec<_> = (0..40).map(|block| PageId::new(other, block)).collect();
        drop(bench.pool.fetch_many(&taken).wait().unwrap());
        for _ in 0..100 {
            let stats = bench.pool.stats();
            if stats.frames.writing >= READY && stats.counts.dirty_evictions == 0 {
                return (bench, other, gate);
            }
            thread::sleep(Duration::from_millis(1));
        }
        gate.open();
        assert!(begun.elapsed() < TOLERANCE, "the background writer never has {READY} victims out");
    }
}

#[test]
fn c6_a_file_that_takes_no_writes_leaves_the_background_writer_to_the_others() {
    guarded(|| {
        for method in asynchronous() {
            let (bench, other, gate) = with_a_batch_that_hangs(&method);
            let cleaned = |pool: &BufferPool| pool.stats().counts.pages_cleaned;
            let mut blocks = (0..256).cycle();
            let mut update =
                || restamp(&bench.pool.fetch(PageId::new(other, blocks.next().unwrap())).wait().unwrap(), 2);
            let before = cleaned(&bench.pool);
            let begun = Instant::now();
            while cleaned(&bench.pool) < before + 1000 {
                assert!(begun.elapsed() < TOLERANCE, "the writer does not clean for the other file");
                (0..64).for_each(|_| update());
            }
            gate.open();
        }
    });
}

#[test]
fn pages_that_are_used_again_and_again_are_not_written_as_neighbours() {
    guarded(|| {
        const ROUNDS: usize = 150;
        const COLD: usize = 4;
        let bench = Bench::with(96, |builder| {
            let writer = BackgroundWriter::ReadyFrames { low: 8, high: 16 };
            let builder = builder.frames(64).background_writer(writer).combine_limit_bytes(16 * PAGE);
            builder.io_method(IoMethod::worker())
        });
        // A quarter of the pages are hot, and the others, which do not fit into the pool with them, lie in between.
        let (hot, cold): (Vec<u32>, Vec<u32>) = (0..96).partition(|block| block % 4 == 0);
        let mut cold = cold.into_iter().cycle();
        for _ in 0..ROUNDS {
            (0..3).for_each(|_| bench.dirty(hot.iter().copied(), 2));
            bench.dirty(cold.by_ref().take(COLD), 2);
        }
        let written = bench.pool.stats().counts.pages_written;
        println!("{written} pages written");
        // A change of a cold page is a write at the most. In ten runs it was 468 to 551 in all, and with hot neighbours 822 to 843.
        let changes = (ROUNDS * COLD) as u64;
        assert!(
            written < changes + changes / 8,
            "{written} pages written for {changes} changes of cold pages"
        );
    });
}

#[test]
fn c6_a_caller_that_waits_for_pins_does_not_look_at_all_frames_again_and_again() {
    const FRAMES: u32 = 2048;
    with_each_method(|method| {
        let bench = Bench::with(FRAMES + 8, |builder| builder.frames(FRAMES).io_method(method));
        let pins: Vec<_> = (0..FRAMES).map(|block| bench.fetch(block).unwrap()).collect();
        let before = bench.pool.stats().counts.futile_sweeps;
        let options = Duration::from_secs(1);
        let waiting: Vec<_> = (0..8)
            .map(|n| {
                let fetch = bench.pool.fetch(bench.page(FRAMES + n)).frame_wait(options);
                thread::spawn(move || if n % 2 == 0 { fetch.wait() } else { pollster::block_on(fetch) })
            })
            .collect();
        for one in waiting {
            assert!(matches!(outcome(one), Err(Error::AllPinned { .. })));
        }
        let sweeps = bench.pool.stats().counts.futile_sweeps - before;
        println!("{sweeps} sweeps");
        // One every few milliseconds for all fetches together would be 500; one for each fetch, 4,000.
        assert!(sweeps < 250, "{sweeps} sweeps in a second");
        drop(pins);
    });
}
