//! C5: whatever is dropped, and whenever: reads go on, and what was held is given back.

use ringpool::{IoMethod, StreamOptions, testing::Op};

use crate::{
    assert_nothing_held,
    support::{Bench, assert_stamped, eventually, guarded, with_each_method},
};

const BLOCKS: u32 = 400;

/// Makes a stream that has given this number of pages.
fn begun(
    bench: &Bench,
    pages: usize,
) -> ringpool::stream::ReadStream<ringpool::FilePages<std::ops::Range<u32>>> {
    let mut stream = bench.pool.read_stream(bench.file.pages(0..BLOCKS), StreamOptions::new());
    stream.by_ref().take(pages).for_each(|page| assert_stamped(&page.unwrap(), 1));
    stream
}

#[test]
fn c5_a_stream_that_is_dropped_early_wastes_its_look_ahead_at_most() {
    with_each_method(|method| {
        for pages in [0, 1, 2, 5, 50] {
            let bench = Bench::new(method.clone(), 512, BLOCKS);
            let stream = begun(&bench, pages);
            let distance = stream.distance() as u64;
            drop(stream);
            assert_nothing_held(&bench);
            let read = bench.pool.stats().counts.pages_read;
            assert!(read <= pages as u64 + distance, "{read} read for {pages}, {distance} ahead");
        }
    });
}

#[test]
fn c5_reads_that_a_dropped_stream_left_behind_keep_their_places_until_they_are_over() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 512, BLOCKS);
        let mut stream = begun(&bench, 0);
        let gate = bench.disk.hold(Op::Read);
        // A task does not read the first page itself, so its look-ahead begins behind it.
        for _ in 0..4 {
            let next = std::pin::pin!(stream.next_page());
            let polled = next.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
            assert!(polled.is_pending());
        }
        drop(stream);
        let others = bench.pool.prefetch(bench.file.pages(300..305)).started;
        assert_eq!(bench.pool.stats().frames.reading_ahead, others);
        gate.open();
        assert_nothing_held(&bench);

        let mut stream = begun(&bench, 40);
        let gate = bench.disk.hold(Op::Read);
        while !is_waiting(&mut stream) {}
        drop(stream);
        // Those that had passed the gate before it was there may still be ending.
        eventually("each read that is held has its place", || {
            let frames = bench.pool.stats().frames;
            frames.reading > 0 && frames.reading == frames.reading_ahead
        });
        gate.open();
        assert_nothing_held(&bench);
    });
}

/// Takes a page; true where none is ready.
fn is_waiting(stream: &mut ringpool::stream::ReadStream<ringpool::FilePages<std::ops::Range<u32>>>) -> bool {
    let next = std::pin::pin!(stream.next_page());
    let polled = next.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    polled.is_pending()
}

#[test]
fn c5_streams_and_their_pages_outlive_the_pool() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, BLOCKS);
        let mut stream = begun(&bench, 10);
        let page = stream.next().unwrap().unwrap();
        let (disk, pool, _) = bench.into_parts();
        drop(pool);
        let more: Vec<_> = stream.by_ref().take(20).map(Result::unwrap).collect();
        drop(stream);
        drop(disk);
        assert_stamped(&page, 1);
        more.iter().for_each(|page| assert_stamped(page, 1));
    });
}
