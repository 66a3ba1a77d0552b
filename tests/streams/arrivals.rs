//! Pages of `fetch_many` as they arrive: each place of the list once, whatever the results of the others.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use ringpool::{
    Error, FileId, IoMethod, OpenOptions, PageId,
    pending::{Arrivals, FetchMany},
    testing::{Fault, Op},
};

use crate::{
    assert_nothing_held, reads,
    support::{Bench, EIO, PAGE, assert_stamped, eventually, methods, stamped_file, with_each_method},
};

const BLOCKS: u32 = 64;

fn pages(bench: &Bench, blocks: &[u32]) -> Vec<PageId> {
    blocks.iter().map(|&block| bench.page(block)).collect()
}

/// Makes a second file, and a bench for it.
fn with_slow_file(method: IoMethod, frames: u32) -> (Bench, FileId) {
    let bench = Bench::new(method, frames, BLOCKS);
    bench.disk.put("slow", stamped_file(BLOCKS, 1));
    let slow = bench.pool.open_file("slow", OpenOptions::new()).unwrap();
    (bench, slow)
}

fn poll_next(arrivals: &mut Arrivals) -> Poll<Option<usize>> {
    let next = std::pin::pin!(arrivals.next_page());
    next.poll(&mut Context::from_waker(Waker::noop())).map(|arrival| {
        arrival.map(|(at, page)| {
            assert_stamped(&page.unwrap(), 1);
            at
        })
    })
}

#[test]
fn each_place_of_the_list_comes_once_with_its_page() {
    with_each_method(|method| {
        let lists: [&[u32]; 5] = [&[], &[5], &[5, 5, 5], &[9, 8, 7, 30, 31, 5], &[63, 0, 63, 1, 0, 2]];
        for as_task in [false, true] {
            let bench = Bench::new(method.clone(), 16, BLOCKS);
            for list in lists {
                let mut arrivals = bench.pool.fetch_many(&pages(&bench, list)).as_they_arrive();
                let mut places = Vec::new();
                let mut held = Vec::new();
                while let Some((at, page)) =
                    if as_task { pollster::block_on(arrivals.next_page()) } else { arrivals.next() }
                {
                    let page = page.unwrap();
                    assert_eq!(page.id(), bench.page(list[at]));
                    assert_stamped(&page, 1);
                    places.push(at);
                    held.push(page);
                    assert_eq!(arrivals.remaining(), list.len() - places.len());
                }
                places.sort_unstable();
                assert_eq!(places, (0..list.len()).collect::<Vec<_>>());
                drop((arrivals, held));
                assert_nothing_held(&bench);
            }
        }
    });
}

#[test]
fn neighbours_are_read_together() {
    with_each_method(|method| {
        let bench = Bench::new(method, 64, BLOCKS);
        let arrivals = bench.pool.fetch_many(&pages(&bench, &[3, 9, 2, 8, 1, 7])).as_they_arrive();
        assert_eq!(arrivals.filter(|(_, page)| page.is_ok()).count(), 6);
        assert_eq!(reads(&bench), [(1, 3), (7, 3)]);
    });
}

#[test]
fn a_page_that_is_late_comes_after_those_that_are_here() {
    for method in methods().into_iter().filter(|method| *method != IoMethod::Sync) {
        let (bench, slow) = with_slow_file(method, 64);
        let list = [PageId::new(slow, 0), bench.page(3), PageId::new(slow, 9), bench.page(4)];
        let gate = bench.disk.hold(Op::Read.of("slow"));
        let mut arrivals = bench.pool.fetch_many(&list).as_they_arrive();
        let (mut first, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(30));
        while first.len() < 2 {
            assert!(Instant::now() < deadline, "pages that are here are kept for those before them");
            match poll_next(&mut arrivals) {
                Poll::Ready(at) => first.extend(at),
                Poll::Pending => thread::sleep(Duration::from_millis(1)),
            }
        }
        first.sort_unstable();
        assert_eq!(first, [1, 3]);
        assert!(poll_next(&mut arrivals).is_pending());
        gate.open();
        let mut last: Vec<_> = arrivals.map(|(at, page)| (at, page.unwrap().id())).collect();
        last.sort_unstable();
        assert_eq!(last, [(0, list[0]), (2, list[2])]);
        assert_nothing_held(&bench);
    }
}

#[test]
fn c2_a_page_that_cannot_be_had_takes_no_other_along() {
    with_each_method(|method| {
        let (bench, page) = (Bench::new(method, 64, BLOCKS), PAGE as u64);
        bench.disk.inject(Fault::error(Op::Read, EIO).touching(7 * page..8 * page));
        let list = [1, 2, 7, 3, BLOCKS, 4];
        let arrivals = bench.pool.fetch_many(&pages(&bench, &list)).as_they_arrive();
        let mut outcomes = [const { None }; 6];
        for (at, page) in arrivals {
            assert!(
                outcomes[at].replace(page.map(|page| page.id().block.0)).is_none(),
                "place {at} came twice"
            );
        }
        for (at, outcome) in outcomes.into_iter().enumerate() {
            match (list[at], outcome.expect("it came")) {
                (7, Err(Error::Io { page, .. })) => assert_eq!(page, bench.page(7)),
                (BLOCKS, Err(Error::PastEof { page, .. })) => assert_eq!(page, bench.page(BLOCKS)),
                (block, Ok(came)) => assert_eq!(came, block),
                (block, other) => panic!("block {block}: {other:?}"),
            }
        }
        assert_nothing_held(&bench);
    });
}

#[test]
fn c6_a_call_that_cannot_have_its_frames_has_an_error_for_each_page() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, BLOCKS);
        let pins: Vec<_> = (0..4).map(|block| bench.fetch(block).unwrap()).collect();
        let many = bench.pool.fetch_many(&pages(&bench, &[10, 11])).frame_wait(Duration::from_millis(20));
        let outcomes: Vec<_> = many.as_they_arrive().map(|(at, page)| (at, page.unwrap_err())).collect();
        assert_eq!(outcomes.iter().map(|&(at, _)| at).collect::<Vec<_>>(), [0, 1]);
        assert!(outcomes.iter().all(|(_, error)| matches!(error, Error::AllPinned { .. })), "{outcomes:?}");
        let many: Vec<_> =
            bench.pool.fetch_many(&pages(&bench, &[10, 11, 12, 13, 14])).as_they_arrive().collect();
        assert_eq!(many.len(), 5);
        for (_, page) in many {
            assert!(matches!(page, Err(Error::TooManyPages { pages: 5, frames: 4, .. })), "{page:?}");
        }
        drop(pins);
        assert_nothing_held(&bench);
    });
}

/// A call that is dropped leaves what it held and was admitted for to other calls.
#[test]
fn c5_arrivals_that_are_dropped_leave_their_frames_to_others() {
    for method in methods().into_iter().filter(|method| *method != IoMethod::Sync) {
        let (bench, slow) = with_slow_file(method, 4);
        let gate = bench.disk.hold(Op::Read.of("slow"));
        let list = [bench.page(1), bench.page(2), PageId::new(slow, 0), PageId::new(slow, 8)];
        let mut arrivals = bench.pool.fetch_many(&list).as_they_arrive();
        assert!(arrivals.next().unwrap().1.is_ok());
        assert!(arrivals.next().unwrap().1.is_ok());
        assert!(poll_next(&mut arrivals).is_pending());
        drop(arrivals);
        gate.open();
        let all = bench.pool.fetch_many(&pages(&bench, &[20, 21, 22, 23])).wait().unwrap();
        assert_eq!(all.len(), 4);
        drop(all);
        assert_nothing_held(&bench);
    }
}

/// Pages for which there is no clean frame are fetched each by itself, and the first of them may not come.
#[test]
fn c6_a_page_that_does_not_come_keeps_none_of_another_file_waiting() {
    for method in methods().into_iter().filter(|method| *method != IoMethod::Sync) {
        for as_task in [false, true] {
            let (bench, slow) = with_slow_file(method.clone(), 8);
            bench.dirty(0..8, 2);
            let gate = bench.disk.hold(Op::Read.of("slow"));
            let list = [0, 2, 4].map(|block| PageId::new(slow, block));
            let list = [list[0], bench.page(20), list[1], bench.page(30), list[2]];
            let mut arrivals = bench.pool.fetch_many(&list).as_they_arrive();
            let mut came = Vec::new();
            for _ in 0..2 {
                let next = if as_task { pollster::block_on(arrivals.next_page()) } else { arrivals.next() };
                came.push(next.map(|(at, page)| (at, page.unwrap().id())).unwrap());
            }
            came.sort_unstable();
            assert_eq!(came, [(1, list[1]), (3, list[3])]);
            gate.open();
            assert_eq!(arrivals.filter(|(_, page)| page.is_ok()).count(), 3);
            assert_nothing_held(&bench);
        }
    }
}

/// What was handed out and dropped is for other calls, though a page is still to come.
#[test]
fn c6_pages_that_were_handed_out_leave_their_frames_to_other_calls() {
    for method in methods().into_iter().filter(|method| *method != IoMethod::Sync) {
        let (bench, slow) = with_slow_file(method, 16);
        let gate = bench.disk.hold(Op::Read.of("slow"));
        let mut list: Vec<_> = (0..12).map(|block| bench.page(block)).collect();
        list.push(PageId::new(slow, 0));
        let mut arrivals = bench.pool.fetch_many(&list).as_they_arrive();
        assert_eq!(arrivals.by_ref().take(12).filter(|(_, page)| page.is_ok()).count(), 12);
        assert!(poll_next(&mut arrivals).is_pending());
        let mut other = bench.pool.fetch_many(&pages(&bench, &[20, 21, 22, 23, 24, 25, 26, 27]));
        eventually("the other call is let in", || {
            Pin::new(&mut other).poll(&mut Context::from_waker(Waker::noop())).is_ready()
        });
        assert_eq!(bench.pool.stats().counts.frame_waits, 0, "and did not stand in line");
        gate.open();
        assert!(arrivals.all(|(_, page)| page.is_ok()));
        assert_nothing_held(&bench);
    }
}

/// A call that was polled as a whole, and is asked for its pages one by one then.
#[test]
fn a_call_that_has_begun_gives_the_rest_as_it_arrives() {
    for method in methods().into_iter().filter(|method| *method != IoMethod::Sync) {
        let (bench, slow) = with_slow_file(method, 64);
        let gate = bench.disk.hold(Op::Read.of("slow"));
        let list = [PageId::new(slow, 0), bench.page(3)];
        let mut many: FetchMany = bench.pool.fetch_many(&list);
        assert!(Pin::new(&mut many).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let mut arrivals = many.as_they_arrive();
        assert_eq!(arrivals.next().map(|(at, page)| (at, page.unwrap().id())), Some((1, list[1])));
        gate.open();
        assert_eq!(arrivals.next().map(|(at, page)| (at, page.unwrap().id())), Some((0, list[0])));
        assert!(arrivals.next().is_none());
        assert_eq!(bench.disk.count(Op::Read), 2, "no page is read twice");
        assert_nothing_held(&bench);
    }
}
