//! C6: streams and `fetch_many` end, and let other calls go on, however few frames there are.

use std::{
    num::NonZeroU32,
    thread,
    time::{Duration, Instant},
};

use ringpool::{Error, IoMethod, PageId, PinnedPage, StreamOptions, testing::Op};

use crate::{
    assert_nothing_held,
    support::{Bench, assert_stamped, eventually, guarded, stamped_file, with_each_method},
};

const FRAME_WAIT: Duration = Duration::from_millis(100);

/// What a bounded wait may take beyond its bound on a busy machine.
const TOLERANCE: Duration = Duration::from_secs(20);

const BLOCKS: u32 = 64;

#[test]
fn c6_two_streams_on_a_tiny_pool_both_finish() {
    with_each_method(|method| {
        for frames in [1, 2, 3, 4, 5, 8] {
            let bench = Bench::with(BLOCKS, |builder| {
                builder.frames(frames).frame_wait(Duration::from_secs(20)).io_method(method.clone())
            });
            let streaming = [0, 1, 2].map(|n| {
                let (pool, file) = (bench.pool.clone(), bench.file);
                let options = if n == 2 { StreamOptions::new().bulk() } else { StreamOptions::new() };
                let blocks = (0..BLOCKS).map(move |block| if n == 0 { block } else { BLOCKS - 1 - block });
                thread::spawn(move || {
                    let stream = pool.read_stream(file.pages(blocks), options);
                    stream.map(|page| assert_stamped(&page.unwrap(), 1)).count()
                })
            });
            for stream in streaming {
                assert_eq!(stream.join().unwrap(), BLOCKS as usize);
            }
            assert_nothing_held(&bench);
        }
    });
}

#[test]
fn c6_a_stream_without_a_frame_gives_an_error_in_time_and_goes_on() {
    with_each_method(|method| {
        let bench = Bench::with(BLOCKS, |builder| builder.frames(4).frame_wait(FRAME_WAIT).io_method(method));
        let mut all: Vec<_> = (60..64).map(|block| bench.fetch(block).unwrap()).collect();
        let mut stream = bench.pool.read_stream(bench.file.pages(0..10), StreamOptions::new());
        for _ in 0..2 {
            let begun = Instant::now();
            let refused = stream.next().unwrap();
            assert!(
                matches!(refused, Err(Error::AllPinned { waited, .. }) if waited >= FRAME_WAIT),
                "{refused:?}"
            );
            assert!(begun.elapsed() < FRAME_WAIT + TOLERANCE);
        }
        all.pop();
        let seen: Vec<_> = stream.map(|page| page.unwrap().id().block.0).collect();
        assert_eq!(seen, (2..10).collect::<Vec<_>>(), "each page has its turn once");
        drop(all);
        assert_nothing_held(&bench);
    });
}

#[test]
fn c6_streams_leave_frames_to_others() {
    guarded(|| {
        let bench = Bench::with(BLOCKS, |builder| {
            builder.frames(16).frame_wait(FRAME_WAIT).io_method(IoMethod::worker())
        });
        bench.disk.put("other", stamped_file(8, 1));
        let other = bench.pool.open_file("other", ringpool::OpenOptions::new()).unwrap();
        // Streams that look as far ahead as they may, and then do nothing.
        let mut streams: Vec<_> = (0..4)
            .map(|n| bench.pool.read_stream(bench.file.pages(n * 16..BLOCKS), StreamOptions::new()))
            .collect();
        for stream in &mut streams {
            stream.by_ref().take(5).for_each(|page| drop(page.unwrap()));
        }
        let _gate = bench.disk.hold(Op::Read.of("data"));
        let share = 12;
        let held = bench.pool.stats().frames.reading_ahead;
        assert!((2..=share).contains(&held), "{held}");
        for block in 0..8 {
            assert_stamped(&bench.pool.fetch(PageId::new(other, block)).wait().unwrap(), 1);
        }
    });
}

fn pages(bench: &Bench, blocks: impl IntoIterator<Item = u32>) -> Vec<PageId> {
    blocks.into_iter().map(|block| bench.page(block)).collect()
}

#[test]
fn c6_fetch_many_without_frames_is_an_error_in_time_and_holds_nothing() {
    with_each_method(|method| {
        let bench = Bench::with(BLOCKS, |builder| builder.frames(8).frame_wait(FRAME_WAIT).io_method(method));
        let pinned: Vec<_> = (60..63).map(|block| bench.fetch(block).unwrap()).collect();
        for as_task in [false, true] {
            let begun = Instant::now();
            let many = bench.pool.fetch_many(&pages(&bench, 0..8));
            let refused = if as_task { pollster::block_on(many) } else { many.wait() };
            assert!(matches!(refused, Err(Error::AllPinned { .. })), "{refused:?}");
            assert!(begun.elapsed() < FRAME_WAIT + TOLERANCE);
            eventually("only what was pinned before", || bench.pool.stats().frames.pins == 3);
        }
        assert_eq!(bench.pool.fetch_many(&pages(&bench, 0..5)).wait().unwrap().len(), 5);
        drop(pinned);
        assert_eq!(bench.pool.fetch_many(&pages(&bench, 0..8)).wait().unwrap().len(), 8);
        assert_nothing_held(&bench);
    });
}

#[test]
fn c6_fetch_many_that_want_each_others_frames_end() {
    with_each_method(|method| {
        let bench = Bench::with(BLOCKS, |builder| builder.frames(8).frame_wait(FRAME_WAIT).io_method(method));
        let fetching: Vec<_> = (0..4_u32)
            .map(|n| {
                let (pool, pages) = (bench.pool.clone(), pages(&bench, n * 8..n * 8 + 6));
                thread::spawn(move || {
                    (0..5)
                        .filter(|_| match pool.fetch_many(&pages).wait() {
                            Ok(pages) => {
                                pages.iter().for_each(|page: &PinnedPage| assert_stamped(page, 1));
                                true
                            }
                            Err(Error::AllPinned { .. }) => false,
                            Err(error) => panic!("{error}"),
                        })
                        .count()
                })
            })
            .collect();
        let _served: usize = fetching.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_nothing_held(&bench);
    });
}

#[test]
fn c6_a_stream_that_waits_for_a_frame_lets_go_of_those_that_it_holds_in_advance() {
    with_each_method(|method| {
        let bench = Bench::with(BLOCKS, |builder| builder.frames(4).frame_wait(FRAME_WAIT).io_method(method));
        // The second block is not there yet when it is looked ahead, and takes no frame; the one behind it does.
        let mut stream = bench.pool.read_stream(bench.file.pages([0, BLOCKS, 2]), StreamOptions::new());
        drop(stream.next().unwrap().unwrap());
        eventually("the look-ahead is over", || bench.pool.stats().frames.reading == 0);
        let frames = bench.pool.stats().frames;
        assert_eq!((frames.reading_ahead, frames.pins), (1, 1));
        bench.pool.extend(bench.file, NonZeroU32::MIN).wait().unwrap();
        let others: Vec<_> = (10..13).map(|block| bench.fetch(block).unwrap()).collect();
        // The only frame that can be had is the one that the stream itself holds.
        let seen: Vec<_> = stream.map(|page| page.unwrap().id().block.0).collect();
        assert_eq!(seen, [BLOCKS, 2]);
        drop(others);
        assert_nothing_held(&bench);
    });
}
