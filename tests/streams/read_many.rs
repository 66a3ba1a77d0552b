//! Pages that are read together, as guards.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    thread,
};

use ringpool::{Error, PageId, pending::ReadMany};

use crate::{
    assert_nothing_held,
    support::{Bench, eventually, restamp, stamped, with_each_method},
};

const BLOCKS: u32 = 64;

fn pages(bench: &Bench, blocks: &[u32]) -> Vec<PageId> {
    blocks.iter().map(|&block| bench.page(block)).collect()
}

fn poll(reading: &mut ReadMany) -> Poll<ringpool::Result<Vec<ringpool::OwnedPageRead>>> {
    Pin::new(reading).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn guards_come_in_the_order_of_the_list_and_keep_their_pages() {
    with_each_method(|method| {
        for as_task in [false, true] {
            let bench = Bench::new(method.clone(), 16, BLOCKS);
            for list in [&[][..], &[5], &[5, 5, 5], &[9, 8, 30, 5], &[63, 0, 63, 1, 0, 2]] {
                let reading = bench.pool.read_many(&pages(&bench, list));
                let guards = if as_task { pollster::block_on(reading) } else { reading.wait() }.unwrap();
                assert_eq!(guards.iter().map(|page| page.id().block.0).collect::<Vec<_>>(), list);
                for page in &guards {
                    assert!(**page == *stamped(page.id().block.0, 1));
                }
                if let Some(&block) = list.first() {
                    assert!(bench.pool.write(bench.page(block)).now().unwrap().is_none(), "it is latched");
                }
                drop(guards);
                assert_nothing_held(&bench);
            }
        }
    });
}

#[test]
fn all_pages_or_none() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, BLOCKS);
        let reading = bench.pool.read_many(&pages(&bench, &[1, BLOCKS, 2]));
        assert!(matches!(reading.wait(), Err(Error::PastEof { .. })));
        assert_nothing_held(&bench);
    });
}

/// Otherwise two calls, or a call and a writer, that latch the same pages in different orders would wait for each other for ever.
#[test]
fn c6_no_latch_is_held_while_another_is_waited_for() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, BLOCKS);
        (1..4).for_each(|block| drop(bench.fetch(block).unwrap()));
        let writer = bench.pool.write(bench.page(2)).wait().unwrap();
        let mut reading = bench.pool.read_many(&pages(&bench, &[1, 2, 3]));
        assert!(poll(&mut reading).is_pending());
        for block in [1, 3] {
            assert!(
                bench.pool.write(bench.page(block)).now().unwrap().is_some(),
                "block {block} is not latched"
            );
        }
        // A writer that wants them all the other way round.
        let other = bench.pool.write(bench.page(1)).wait().unwrap();
        drop(writer);
        assert!(poll(&mut reading).is_pending(), "now for the other");
        assert!(bench.pool.write(bench.page(2)).now().unwrap().is_some(), "it was let go of");
        drop(other);
        let Poll::Ready(guards) = poll(&mut reading) else { panic!("all can be had") };
        assert_eq!(guards.unwrap().len(), 3);
        assert_nothing_held(&bench);
    });
}

/// A latch has room for fewer threads than a page has for pins.
#[test]
fn c6_a_page_listed_more_often_than_it_can_be_latched_is_an_error() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, BLOCKS);
        let list = vec![bench.page(1); 258_048];
        match bench.pool.read_many(&list).wait() {
            Err(Error::TooManyPins { page, .. }) => assert_eq!(page, bench.page(1)),
            other => panic!("{:?}", other.map(|guards| guards.len())),
        }
        drop(bench.pool.read_many(&list[1..]).wait().unwrap());
        assert_nothing_held(&bench);
    });
}

/// A writer that waits by then must not get between the latches of a page that stands in the list twice.
#[test]
fn c6_a_page_that_stands_in_the_list_twice_is_latched_twice_though_a_writer_waits() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, BLOCKS);
        let page = bench.page(1);
        let writer = bench.pool.write(page).wait().unwrap();
        let mut reading = bench.pool.read_many(&[page, page]);
        assert!(poll(&mut reading).is_pending());
        let pool = bench.pool.clone();
        let before = bench.pool.stats().frames.pins;
        let next_writer = thread::spawn(move || restamp(&pool.fetch(page).wait().unwrap(), 2));
        eventually("the next writer has the page", || bench.pool.stats().frames.pins > before);
        drop(writer);
        let guards = pollster::block_on(reading).unwrap();
        let [one, other] = &guards[..] else { panic!("{guards:?}") };
        assert!(**one == **other);
        drop(guards);
        next_writer.join().unwrap();
        assert_nothing_held(&bench);
    });
}
