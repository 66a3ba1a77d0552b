//! A stream gives the pages of its blocks, in their order, once for each time that they are asked for, to threads and tasks.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Poll, Waker},
};

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use ringpool::{IoMethod, StreamOptions};

use crate::{
    assert_nothing_held, read_all,
    support::{Bench, assert_stamped, guarded, methods, with_each_method},
};

const BLOCKS: u32 = 96;

/// Makes walks of pieces: forward, backward, with strides, on one block, and at random.
fn walk() -> impl Strategy<Value = Vec<u32>> {
    let piece = prop_oneof![
        (0..BLOCKS, 1_u32..40).prop_map(|(from, len)| (from..BLOCKS.min(from + len)).collect::<Vec<_>>()),
        (0..BLOCKS, 1_u32..40).prop_map(|(from, len)| (from..BLOCKS.min(from + len)).rev().collect()),
        (0..BLOCKS, 2_usize..9).prop_map(|(from, stride)| (from..BLOCKS).step_by(stride).collect()),
        (0..BLOCKS, 1_usize..20).prop_map(|(block, times)| vec![block; times]),
        vec(0..BLOCKS, 1..30),
    ];
    vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

#[test]
fn any_walk_gives_its_pages_in_order() {
    for method in methods() {
        let method = &method;
        let frames = prop_oneof![Just(1_u32), Just(2), Just(3), Just(16), Just(200)];
        let strategy = (frames, walk(), vec(0..BLOCKS, 0..20), any::<bool>(), 0_usize..20);
        let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
        let walked = TestRunner::new(config).run(&strategy, |(frames, blocks, resident, bulk, combine)| {
            let bench = Bench::new(method.clone(), frames, BLOCKS);
            resident.iter().for_each(|&block| drop(bench.fetch(block).unwrap()));
            let options = StreamOptions::new().combine_limit_bytes(combine * 8192);
            read_all(&bench, &blocks, if bulk { options.bulk() } else { options });
            Ok(())
        });
        walked.unwrap_or_else(|error| panic!("{method:?}: {error}"));
    }
}

#[test]
fn a_task_gets_the_same_and_loses_nothing_by_dropping_the_future() {
    with_each_method(|method| {
        let bench = Bench::new(method, 32, BLOCKS);
        let mut stream = bench.pool.read_stream(bench.file.pages(0..BLOCKS), StreamOptions::new());
        let mut seen = Vec::new();
        pollster::block_on(async {
            loop {
                if let Poll::Ready(page) =
                    pin!(stream.next_page()).poll(&mut Context::from_waker(Waker::noop()))
                {
                    let Some(page) = page else { break };
                    seen.push(page.unwrap().id().block.0);
                    continue;
                }
                let Some(page) = stream.next_page().await else { break };
                seen.push(page.unwrap().id().block.0);
            }
        });
        assert_eq!(seen, (0..BLOCKS).collect::<Vec<_>>());
        drop(stream);
        assert_nothing_held(&bench);
    });
}

#[test]
fn a_stream_can_move_between_the_threads_of_a_runtime() {
    with_each_method(|method| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let bench = Bench::new(method, 64, BLOCKS);
        let tasks = (0..4_u32).map(|n| {
            let stream = bench
                .pool
                .read_stream(bench.file.pages((0..BLOCKS).rev().skip(n as usize)), StreamOptions::new());
            runtime.spawn(async move {
                let mut stream = stream;
                let mut pages = 0;
                while let Some(page) = stream.next_page().await {
                    assert_stamped(&page.unwrap(), 1);
                    pages += 1;
                    tokio::task::yield_now().await;
                }
                assert_eq!(pages, BLOCKS - n);
            })
        });
        let tasks: Vec<_> = tasks.collect();
        tasks.into_iter().for_each(|task| runtime.block_on(task).unwrap());
        assert_nothing_held(&bench);
    });
}

#[test]
fn data_rides_along() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, BLOCKS);
        let entries = (0..BLOCKS).rev().map(|block| (bench.page(block), format!("row of {block}")));
        for entry in bench.pool.read_stream(entries, StreamOptions::new()) {
            let (page, row) = entry.unwrap();
            assert_eq!(row, format!("row of {}", page.id().block.0));
        }
    });
}

/// Blocks that came up so far.
struct Found(VecDeque<u32>);

impl Iterator for Found {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.0.pop_front()
    }
}

#[test]
fn pages_that_were_handed_out_can_say_what_comes_next() {
    with_each_method(|method| {
        // A binary tree: the children of block n are 2n + 1 and 2n + 2.
        let bench = Bench::new(method, 32, BLOCKS);
        let mut stream = bench.pool.read_stream(bench.file.pages(Found([0].into())), StreamOptions::new());
        let mut seen = Vec::new();
        while let Some(page) = stream.next() {
            let block = page.unwrap().id().block.0;
            seen.push(block);
            stream
                .pages_mut()
                .blocks_mut()
                .0
                .extend((2 * block + 1..=2 * block + 2).filter(|&child| child < BLOCKS));
            stream.resume();
        }
        assert_eq!(seen, (0..BLOCKS).collect::<Vec<_>>());
    });
}

#[test]
fn a_paused_stream_asks_for_nothing_new_and_goes_on_where_it_was() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, BLOCKS);
        let mut asked = 0;
        let blocks = std::iter::from_fn(|| {
            asked += 1;
            (asked <= BLOCKS).then(|| asked - 1)
        });
        let mut stream = bench.pool.read_stream(bench.file.pages(blocks), StreamOptions::new());
        let mut seen: Vec<_> = stream.by_ref().take(20).map(|page| page.unwrap().id().block.0).collect();
        stream.pause();
        seen.extend(stream.by_ref().map(|page| page.unwrap().id().block.0));
        assert!((20..BLOCKS as usize).contains(&seen.len()), "{}", seen.len());
        assert_nothing_held(&bench);
        stream.resume();
        seen.extend(stream.by_ref().map(|page| page.unwrap().id().block.0));
        assert_eq!(seen, (0..BLOCKS).collect::<Vec<_>>());
        drop(stream);
        assert_eq!(asked, BLOCKS + 1, "its end was asked for once");
    });
}

#[test]
fn an_iterator_that_panics_costs_no_page() {
    guarded(|| {
        for at in [0, 1, 2, 30] {
            let bench = Bench::new(IoMethod::worker(), 64, BLOCKS);
            let mut next = 0;
            let blocks = std::iter::from_fn(move || {
                next += 1;
                assert!(next != at + 1, "the iterator panics");
                (next <= BLOCKS).then(|| next - 1)
            });
            let mut stream = bench.pool.read_stream(bench.file.pages(blocks), StreamOptions::new());
            let (mut seen, mut panics) = (Vec::new(), 0);
            loop {
                match catch_unwind(AssertUnwindSafe(|| stream.next())) {
                    Ok(Some(page)) => seen.push(page.unwrap().id().block.0),
                    Ok(None) if panics == 1 => break,
                    Ok(None) => panic!("the end came before the panic"),
                    Err(_) => panics += 1,
                }
            }
            assert_eq!(seen, (0..at).collect::<Vec<_>>(), "all that was asked for comes");
            stream.resume();
            assert!(stream.next().is_some(), "and it can go on");
            drop(stream);
            assert_nothing_held(&bench);
        }
    });
}
