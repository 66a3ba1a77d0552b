//! Pages that are being read already by another caller: one read serves both, and ends for each as it should. After PostgreSQL's
//! `test_aio`.

use std::{ops::Range, thread};

use ringpool::{
    Result, StreamOptions,
    testing::{Fault, Gate, Op},
};

use crate::{
    assert_nothing_held, reads,
    support::{Bench, EIO, Fetching, assert_stamped, eventually, fetch_apart, outcome, with_each_method},
};

const BLOCKS: u32 = 32;

/// Starts a fetch of block `at`, whose read is held.
fn held_read(bench: &Bench, at: u32) -> (Gate, Fetching) {
    let gate = bench.disk.hold(Op::Read);
    let foreign = fetch_apart(&bench.pool, bench.page(at), false);
    gate.wait_for(1);
    (gate, foreign)
}

/// Starts a thread that reads the blocks by a stream; returns when its reads have begun.
fn stream_apart(bench: &Bench, blocks: Range<u32>) -> thread::JoinHandle<Vec<Result<u32>>> {
    let (pool, file) = (bench.pool.clone(), bench.file);
    let before = pool.stats().frames.reading + pool.stats().counts.joins as u32;
    let reading = thread::spawn(move || {
        let stream = pool.read_stream(file.pages(blocks), StreamOptions::new());
        let blocks = stream.map(|page| {
            page.map(|page| {
                assert_stamped(&page, 1);
                page.id().block.0
            })
        });
        blocks.collect()
    });
    let of_pool = bench.pool.clone();
    eventually("the stream reads, or waits for the read", || {
        of_pool.stats().frames.reading + of_pool.stats().counts.joins as u32 > before
    });
    reading
}

fn blocks_of(read: thread::JoinHandle<Vec<Result<u32>>>) -> Vec<u32> {
    read.join().unwrap().into_iter().map(Result::unwrap).collect()
}

#[test]
fn a_foreign_read_that_succeeds_is_the_only_one() {
    with_each_method(|method| {
        // At the first block that the stream wants, in its middle, and at its last.
        for at in [4, 9, 19] {
            let bench = Bench::new(method.clone(), 64, BLOCKS);
            let (gate, foreign) = held_read(&bench, at);
            let streaming = stream_apart(&bench, 4..20);
            gate.open();
            assert_eq!(blocks_of(streaming), (4..20).collect::<Vec<_>>());
            assert_stamped(&outcome(foreign).unwrap(), 1);
            let covering =
                reads(&bench).iter().filter(|&&(first, pages)| (first..first + pages).contains(&at)).count();
            assert_eq!(covering, 1, "block {at} was read twice");
            assert_nothing_held(&bench);
        }
    });
}

#[test]
fn a_foreign_read_that_fails_is_its_owners_error_and_no_streams() {
    with_each_method(|method| {
        let bench = Bench::new(method.clone(), 64, BLOCKS);
        // The stream looks ahead as far as the foreign page, then its own reads are held as well.
        let mut stream = bench.pool.read_stream(bench.file.pages(0..BLOCKS), StreamOptions::new());
        stream.by_ref().take(1).for_each(|page| drop(page.unwrap()));
        let (gate, foreign) = held_read(&bench, 31);
        bench.disk.inject(Fault::error(Op::Read, EIO).touching(31 * 8192..32 * 8192).once());
        gate.open();
        assert_eq!(outcome(foreign).unwrap_err().raw_os_error(), Some(EIO));
        let seen: Vec<_> = stream.map(|page| page.unwrap().id().block.0).collect();
        assert_eq!(seen, (1..BLOCKS).collect::<Vec<_>>());
        assert_nothing_held(&bench);
    });
}

#[test]
fn a_stream_that_waits_for_a_failing_foreign_read_reads_the_page_itself() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, BLOCKS);
        let pages: Vec<_> = [3, 7].map(|block| bench.page(block)).into();
        let (gate, foreign) = held_read(&bench, 7);
        let pool = bench.pool.clone();
        // All it waits for is pinned before the fault strikes.
        let fetching = thread::spawn(move || pool.fetch_many(&pages).wait());
        eventually("both are being read", || {
            let frames = bench.pool.stats().frames;
            frames.reading == 2 && frames.pins >= 4
        });
        bench.disk.inject(Fault::error(Op::Read, EIO).touching(7 * 8192..8 * 8192).once());
        gate.open();
        assert_eq!(outcome(foreign).unwrap_err().raw_os_error(), Some(EIO));
        fetching.join().unwrap().unwrap().iter().for_each(|page| assert_stamped(page, 1));
        assert_nothing_held(&bench);
    });
}

#[test]
fn two_blocks_of_one_foreign_read_are_waited_for_alike() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, BLOCKS);
        let gate = bench.disk.hold(Op::Read);
        let foreign = {
            let (pool, pages) = (bench.pool.clone(), [8, 9].map(|block| bench.page(block)));
            thread::spawn(move || pool.fetch_many(&pages).wait().map(drop))
        };
        gate.wait_for(1);
        let streaming = stream_apart(&bench, 6..12);
        gate.open();
        assert_eq!(blocks_of(streaming), (6..12).collect::<Vec<_>>());
        foreign.join().unwrap().unwrap();
        assert_eq!(reads(&bench).iter().filter(|&&(first, _)| first == 8).count(), 1);
        assert!(!reads(&bench).iter().any(|&(first, _)| first == 9), "{:?}", reads(&bench));
        assert_nothing_held(&bench);
    });
}

#[test]
fn a_read_goes_on_when_its_starter_is_gone() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, BLOCKS);
        let mut stream = bench.pool.read_stream(bench.file.pages(0..BLOCKS), StreamOptions::new());
        stream.by_ref().take(6).for_each(|page| drop(page.unwrap()));
        drop(stream);
        let seen: Vec<_> = {
            let stream = bench.pool.read_stream(bench.file.pages(0..BLOCKS), StreamOptions::new());
            stream.map(|page| page.unwrap().id().block.0).collect()
        };
        assert_eq!(seen, (0..BLOCKS).collect::<Vec<_>>());
        let pages: u32 = reads(&bench).iter().map(|&(_, pages)| pages).sum();
        assert_eq!(pages, BLOCKS, "nothing was read twice");
        assert_nothing_held(&bench);
    });
}
