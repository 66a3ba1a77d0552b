//! `fetch_many` gives all pages of its list, in its order, or none.

use ringpool::{
    Error, OpenOptions, PageId,
    testing::{Fault, Op},
};

use crate::{
    assert_nothing_held, reads,
    support::{Bench, EIO, PAGE, assert_stamped, stamped_file, with_each_method},
};

const BLOCKS: u32 = 64;

fn pages(bench: &Bench, blocks: &[u32]) -> Vec<PageId> {
    blocks.iter().map(|&block| bench.page(block)).collect()
}

#[test]
fn any_list_comes_in_its_order() {
    with_each_method(|method| {
        let lists: [&[u32]; 6] =
            [&[], &[5], &[5, 5, 5], &[9, 8, 7, 30, 31, 5], &[63, 0, 63, 1, 0, 2], &[20, 5, 40, 6, 40]];
        for as_task in [false, true] {
            let bench = Bench::new(method.clone(), 16, BLOCKS);
            for list in lists {
                let many = bench.pool.fetch_many(&pages(&bench, list));
                let fetched = if as_task { pollster::block_on(many) } else { many.wait() }.unwrap();
                fetched.iter().for_each(|page| assert_stamped(page, 1));
                assert_eq!(fetched.iter().map(|page| page.id().block.0).collect::<Vec<_>>(), list);
                assert_eq!(bench.pool.stats().frames.pins, list.len() as u64);
                drop(fetched);
                assert_nothing_held(&bench);
            }
        }
    });
}

#[test]
fn pages_of_several_files_come_together() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, BLOCKS);
        bench.disk.put("other", stamped_file(8, 2));
        let other = bench.pool.open_file("other", OpenOptions::new()).unwrap();
        let list: Vec<_> = (0..8).flat_map(|n| [bench.page(n), PageId::new(other, 7 - n)]).collect();
        let fetched = bench.pool.fetch_many(&list).wait().unwrap();
        assert_eq!(fetched.iter().map(ringpool::PinnedPage::id).collect::<Vec<_>>(), list);
        for page in &fetched {
            assert_stamped(page, if page.id().file == other { 2 } else { 1 });
        }
        assert_eq!(bench.disk.count(Op::Read), 2, "a request for each file");
    });
}

#[test]
fn one_page_that_cannot_be_had_is_the_error_of_all_and_nothing_stays_pinned() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, BLOCKS);
        let page = PAGE as u64;
        bench.disk.inject(Fault::error(Op::Read, EIO).touching(4 * page..5 * page));
        bench.disk.inject(Fault::error(Op::Read, EIO).touching(7 * page..8 * page));
        for list in [&[1, 2, 7, 3, 4, 5][..], &[7], &[7, 4], &[7, BLOCKS]] {
            match bench.pool.fetch_many(&pages(&bench, list)).wait() {
                Err(Error::Io { page, .. }) => {
                    assert_eq!(page.block.0, 7, "the first in the order of the list");
                }
                other => panic!("{other:?}"),
            }
            assert_nothing_held(&bench);
        }
        let behind = bench.pool.fetch_many(&pages(&bench, &[1, BLOCKS, 7])).wait();
        assert!(matches!(behind, Err(Error::PastEof { .. })), "{behind:?}");
        // What could be read has stayed.
        bench.disk.clear_log();
        assert_eq!(bench.pool.fetch_many(&pages(&bench, &[1, 2, 3, 5])).wait().unwrap().len(), 4);
        assert_eq!(reads(&bench), []);
    });
}

#[test]
fn more_pages_than_frames_are_refused_at_once_but_each_counts_once() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, BLOCKS);
        let refused = bench.pool.fetch_many(&pages(&bench, &[0, 1, 2, 3, 4])).wait();
        assert!(matches!(refused, Err(Error::TooManyPages { pages: 5, frames: 4 })), "{refused:?}");
        assert_eq!(bench.disk.count(Op::Read), 0);
        assert_eq!(bench.pool.fetch_many(&pages(&bench, &[0, 1, 2, 3, 3, 0, 1])).wait().unwrap().len(), 7);
    });
}

#[test]
fn it_starts_nothing_before_it_is_waited_for_and_can_be_dropped() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, BLOCKS);
        drop(bench.fetch(3).unwrap());
        let many = bench.pool.fetch_many(&pages(&bench, &[1, 2, 3]));
        assert_eq!((bench.disk.count(Op::Read), bench.pool.stats().frames.pins), (1, 1), "a hit is pinned");
        drop(many);
        assert_nothing_held(&bench);
        let polled = {
            let many = std::pin::pin!(bench.pool.fetch_many(&pages(&bench, &[1, 2, 3])));
            many.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
        };
        assert_nothing_held(&bench);
        assert!(polled || bench.pool.fetch(bench.page(1)).now().is_some(), "the reads go on");
    });
}
