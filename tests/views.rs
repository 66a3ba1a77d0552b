//! Pin and latch as one value.

mod support;

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
};

use ringpool::{Error, Evicted, IoMethod, PinnedPage};
use support::{
    Bench, assert_at_rest, assert_stamped, eventually, guarded, restamp, stamped, with_each_method,
};

#[test]
fn a_view_shows_a_page_that_is_here_or_not() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 8);
        for block in (0..8).chain(0..8) {
            let view = bench.pool.view(bench.page(block)).wait().unwrap();
            assert_eq!((&*view, view.id()), (&*stamped(block, 1), bench.page(block)));
            let view = pollster::block_on(bench.pool.view(bench.page(block))).unwrap();
            assert_eq!(&*view, &*stamped(block, 1));
            assert_eq!(&*bench.pool.try_view(bench.page(block)).unwrap(), &*stamped(block, 1));
        }
        assert!(bench.pool.try_view(bench.page(0)).is_none(), "four frames hold other pages by now");
        assert!(matches!(bench.pool.view(bench.page(8)).wait(), Err(Error::PastEof { .. })));
        bench.assert_at_rest();
    });
}

#[test]
fn who_changes_a_page_waits_for_its_views_and_the_other_way_round() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 4, 2);
        let page = bench.fetch(0).unwrap();
        let view = bench.pool.view(bench.page(0)).wait().unwrap();
        assert!(page.try_write().unwrap().is_none());
        let writer = thread::spawn({
            let page = page.try_clone().unwrap();
            move || restamp(&page, 2)
        });
        eventually("the writer is in line", || bench.pool.try_view(bench.page(0)).is_none());
        let reader = thread::spawn({
            let (pool, page) = (bench.pool.clone(), bench.page(0));
            move || pool.view(page).wait().unwrap().to_vec()
        });
        assert_eq!(&*view, &*stamped(0, 1));
        drop(view);
        writer.join().unwrap();
        // Who was in line first need not have the page first.
        let seen = reader.join().unwrap();
        assert!([1, 2].iter().any(|&version| seen == stamped(0, version)));
        assert_eq!(&*bench.pool.view(bench.page(0)).wait().unwrap(), &*stamped(0, 2));
    });
}

#[test]
fn a_task_that_gives_up_a_view_leaves_the_line() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 4, 2);
        let page = bench.fetch(0).unwrap();
        let guard = page.write().unwrap();
        {
            let mut view = pin!(bench.pool.view(bench.page(0)));
            let mut context = Context::from_waker(Waker::noop());
            assert!(matches!(view.as_mut().poll(&mut context), Poll::Pending));
        }
        drop(guard);
        assert!(page.try_write().unwrap().is_some(), "nobody holds or awaits a latch");
        drop(page);
        bench.assert_at_rest();
    });
}

#[test]
fn a_view_keeps_its_page_and_can_give_up_the_latch() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 4, 2);
        let view = bench.pool.view(bench.page(1)).wait().unwrap();
        assert_eq!(bench.pool.evict(bench.page(1)).wait().unwrap(), Evicted::Pinned);
        let page = view.unlatch();
        restamp(&page, 3);
        assert_eq!(bench.pool.evict(bench.page(1)).wait().unwrap(), Evicted::Pinned);
        let view = page.into_view();
        assert_eq!(&*view, &*stamped(1, 3));
        drop(view);
        assert_eq!(bench.pool.evict(bench.page(1)).wait().unwrap(), Evicted::Yes);
        assert_at_rest(&bench.pool);
    });
}

#[test]
fn c5_a_view_outlives_its_pool() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 4, 2);
        let view = bench.pool.view(bench.page(1)).wait().unwrap();
        let page = bench.fetch(1).unwrap();
        let second = page.into_view();
        drop(bench.into_pool());
        assert_eq!((&*view, &*second), (&*stamped(1, 1), &*stamped(1, 1)));
    });
}

#[test]
fn a_hint_finds_its_page_where_it_was() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 8);
        let page = bench.fetch(2).unwrap();
        let hint = page.hint();
        drop(page);
        assert_eq!(bench.pool.try_view(bench.page(2)).unwrap().hint(), hint);
        assert_stamped(&bench.pool.try_fetch_at(hint, bench.page(2)).unwrap(), 1);
        assert_eq!(&*bench.pool.try_view_at(hint, bench.page(2)).unwrap(), &*stamped(2, 1));
        assert!(bench.pool.try_fetch_at(hint, bench.page(3)).is_none(), "another page");
        bench.assert_at_rest();
    });
}

/// Nothing of a page is had by a hint once the page has left its frame, whatever is in that now.
#[test]
fn c1_a_stale_hint_finds_nothing() {
    with_each_method(|method| {
        let bench = Bench::new(method, 1, 8);
        let is_stale = |hint, block| {
            let page = bench.page(block);
            bench.pool.try_fetch_at(hint, page).is_none() && bench.pool.try_view_at(hint, page).is_none()
        };
        let hint = bench.fetch(2).unwrap().hint();
        assert_eq!(bench.pool.evict(bench.page(2)).wait().unwrap(), Evicted::Yes);
        assert!(is_stale(hint, 2), "after its eviction");
        let reused = bench.fetch(5).unwrap();
        assert_eq!(reused.hint(), hint, "there is one frame");
        assert!(is_stale(hint, 2), "after its frame's reuse");
        drop(reused);
        bench.pool.close_file(bench.file).wait().unwrap();
        assert!(is_stale(hint, 5), "after its file was closed");
        let larger = Bench::new(IoMethod::Sync, 9, 9);
        let pages: Vec<_> = (0..9).map(|block| larger.fetch(block).unwrap()).collect();
        let farthest = pages.iter().map(PinnedPage::hint).max_by_key(|hint| format!("{hint:?}")).unwrap();
        assert!(is_stale(farthest, 2), "of another pool, which has more frames");
        assert_at_rest(&bench.pool);
    });
}
