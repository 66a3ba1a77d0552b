//! Pin and latch as one value, for reading and for changing; hints of where a page was.

mod support;

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use ringpool::{
    BufferPool, CheckpointOptions, Error, IoMethod, Lsn, OpenOptions, OwnedPageWrite, PageId, PinnedPage,
    report::Evicted, testing::Op,
};
use support::{
    Bench, PAGE, assert_at_rest, assert_stamped, eventually, guarded, restamp, stamped, stamped_file,
    with_each_method,
};

#[test]
fn a_page_is_read_whether_it_is_here_or_not() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 8);
        for block in (0..8).chain(0..8) {
            let guard = bench.pool.read(bench.page(block)).wait().unwrap();
            assert_eq!((&*guard, guard.id()), (&*stamped(block, 1), bench.page(block)));
            let guard = pollster::block_on(bench.pool.read(bench.page(block))).unwrap();
            assert_eq!(&*guard, &*stamped(block, 1));
            assert_eq!(&*bench.pool.read(bench.page(block)).now().unwrap(), &*stamped(block, 1));
        }
        assert!(bench.pool.read(bench.page(0)).now().is_none(), "four frames hold other pages by now");
        assert!(matches!(bench.pool.read(bench.page(8)).wait(), Err(Error::PastEof { .. })));
        bench.assert_at_rest();
    });
}

#[test]
fn a_writer_waits_for_owned_readers_and_they_for_it() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 4, 2);
        let page = bench.fetch(0).unwrap();
        let guard = bench.pool.read(bench.page(0)).wait().unwrap();
        assert!(page.try_write().unwrap().is_none());
        let writer = thread::spawn({
            let page = page.try_clone().unwrap();
            move || restamp(&page, 2)
        });
        eventually("the writer is in line", || bench.pool.read(bench.page(0)).now().is_none());
        let reader = thread::spawn({
            let (pool, page) = (bench.pool.clone(), bench.page(0));
            move || pool.read(page).wait().unwrap().to_vec()
        });
        assert_eq!(&*guard, &*stamped(0, 1));
        drop(guard);
        writer.join().unwrap();
        // The thread that was in line first need not have the page first.
        let seen = reader.join().unwrap();
        assert!([1, 2].iter().any(|&version| seen == stamped(0, version)));
        assert_eq!(&*bench.pool.read(bench.page(0)).wait().unwrap(), &*stamped(0, 2));
    });
}

struct Task;

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_task_that_gives_up_a_read_leaves_the_line() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 4, 2);
        let page = bench.fetch(0).unwrap();
        let guard = page.write().unwrap();
        let task = Arc::new(Task);
        let waker = Waker::from(Arc::clone(&task));
        {
            let mut reading = pin!(bench.pool.read(bench.page(0)));
            assert!(matches!(reading.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending));
            assert_eq!(Arc::strong_count(&task), 3, "the line has its waker");
        }
        assert_eq!(Arc::strong_count(&task), 2, "the line has forgotten it");
        drop(guard);
        assert!(page.try_write().unwrap().is_some(), "no thread holds or awaits a latch");
        drop(page);
        bench.assert_at_rest();
    });
}

#[test]
fn a_read_guard_keeps_its_page_and_can_give_up_the_latch() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 4, 2);
        let guard = bench.pool.read(bench.page(1)).wait().unwrap();
        assert_eq!(bench.pool.evict(bench.page(1)).wait().unwrap(), Evicted::Pinned);
        let page = guard.unlatch();
        restamp(&page, 3);
        assert_eq!(bench.pool.evict(bench.page(1)).wait().unwrap(), Evicted::Pinned);
        let guard = page.into_read();
        assert_eq!(&*guard, &*stamped(1, 3));
        drop(guard);
        assert_eq!(bench.pool.evict(bench.page(1)).wait().unwrap(), Evicted::Yes);
        assert_at_rest(&bench.pool);
    });
}

#[test]
fn c5_owned_guards_outlive_their_pool() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 4, 2);
        let guard = bench.pool.read(bench.page(1)).wait().unwrap();
        let page = bench.fetch(1).unwrap();
        let second = page.into_read();
        let changed = restamped(&bench.pool, bench.page(0), 2);
        drop(bench.into_pool());
        assert_eq!((&*guard, &*second), (&*stamped(1, 1), &*stamped(1, 1)));
        assert_eq!(&*changed.downgrade(), &*stamped(0, 2));
    });
}

#[test]
fn a_hint_finds_its_page_where_it_was() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 8);
        let page = bench.fetch(2).unwrap();
        let hint = page.hint();
        drop(page);
        assert_eq!(bench.pool.read(bench.page(2)).now().unwrap().hint(), hint);
        assert_stamped(&bench.pool.fetch(bench.page(2).at(hint)).now().unwrap(), 1);
        assert_eq!(&*bench.pool.read(bench.page(2).at(hint)).now().unwrap(), &*stamped(2, 1));
        assert!(bench.pool.fetch(bench.page(3).at(hint)).now().is_none(), "another page");
        bench.assert_at_rest();
    });
}

/// A hint that is out of date shows no other page, and hides none.
#[test]
fn c1_a_stale_hint_shows_no_other_page() {
    with_each_method(|method| {
        let bench = Bench::new(method, 2, 8);
        let is_gone = |hint, block| {
            let page = bench.page(block);
            let pool = &bench.pool;
            pool.fetch(page.at(hint)).now().is_none()
                && pool.read(page.at(hint)).now().is_none()
                && pool.write(page.at(hint)).now().unwrap().is_none()
        };
        let hint = bench.fetch(2).unwrap().hint();
        let other = bench.fetch(4).unwrap();
        assert_eq!(bench.pool.evict(bench.page(2)).wait().unwrap(), Evicted::Yes);
        assert!(is_gone(hint, 2), "after its eviction");
        let reused = bench.fetch(5).unwrap();
        assert_eq!(reused.hint(), hint, "there is one other frame");
        assert!(is_gone(hint, 2), "after its frame's reuse");
        let found = bench.pool.read(bench.page(4).at(hint)).now().unwrap();
        assert_eq!((found.hint(), found.id()), (other.hint(), bench.page(4)), "it is elsewhere");
        drop((found, other, reused));
        bench.pool.close_file(bench.file).wait().unwrap();
        assert!(is_gone(hint, 5), "after its file was closed");
        let larger = Bench::new(IoMethod::Sync, 9, 9);
        let pages: Vec<_> = (0..9).map(|block| larger.fetch(block).unwrap()).collect();
        let farthest = pages.iter().map(PinnedPage::hint).max_by_key(|hint| format!("{hint:?}")).unwrap();
        assert!(is_gone(farthest, 2), "of another pool, which has more frames");
        assert_at_rest(&bench.pool);
    });
}

/// Puts the bytes of this version into the page, by a guard that it owns and returns.
fn restamped(pool: &BufferPool, page: PageId, version: u8) -> OwnedPageWrite {
    let mut guard = pool.write(page).wait().unwrap();
    guard.copy_from_slice(&stamped(page.block.0, version));
    guard
}

#[test]
fn a_page_is_changed_whether_it_is_here_or_not() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 8);
        for block in 0..8 {
            let page = bench.page(block);
            drop(restamped(&bench.pool, page, 2));
            let mut guard = pollster::block_on(bench.pool.write(page)).unwrap();
            assert_eq!((&*guard, guard.id()), (&*stamped(block, 2), page));
            guard.copy_from_slice(&stamped(block, 3));
            drop(guard);
            let guard = bench.pool.write(page).now().unwrap().unwrap();
            assert_eq!(&*guard, &*stamped(block, 3));
        }
        assert!(
            bench.pool.write(bench.page(0)).now().unwrap().is_none(),
            "four frames hold other pages by now"
        );
        assert!(matches!(bench.pool.write(bench.page(8)).wait(), Err(Error::PastEof { .. })));
        for block in 0..8 {
            assert_stamped(&bench.fetch(block).unwrap(), 3);
        }
        bench.assert_at_rest();
    });
}

#[test]
fn an_owned_write_guard_excludes_all_others_until_it_ends() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 4, 2);
        let (pool, page) = (&bench.pool, bench.page(0));
        let guard = restamped(pool, page, 2);
        assert_eq!(pool.stats().frames.dirty, 0, "no other thread knows of the change");
        assert!(pool.read(page).now().is_none() && pool.write(page).now().unwrap().is_none());
        let waited = pool.read(page).wait_timeout(Duration::from_millis(5));
        let reading = waited.expect_err("the page is being changed");
        let waited = pool.write(page).wait_timeout(Duration::from_millis(5));
        drop(waited.expect_err("the page is being changed"));
        let read = guard.downgrade();
        assert_eq!(pool.stats().frames.dirty, 1);
        assert_eq!((&*read, &*reading.wait().unwrap()), (&*stamped(0, 2), &*stamped(0, 2)));
        assert!(pool.write(page).now().unwrap().is_none());
        drop(read);
        let pinned = restamped(pool, page, 3).unlatch();
        assert_eq!(pool.evict(page).wait().unwrap(), Evicted::Pinned);
        assert_eq!(&*pinned.read(), &*stamped(0, 3));
        assert!(pinned.into_write().unwrap().iter().eq(stamped(0, 3).iter()));
        bench.assert_at_rest();
    });
}

#[test]
fn a_page_of_a_file_that_is_read_only_is_not_changed() {
    with_each_method(|method| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::write(&path, stamped_file(1, 1)).unwrap();
        let pool = BufferPool::builder().page_size(PAGE as u32).frames(2).io_method(method).build().unwrap();
        let file = pool.open_file(&path, OpenOptions::new().read_only(true)).unwrap();
        let page = PageId::new(file, 0);
        for _ in ["read for it", "here"] {
            assert!(matches!(pool.write(page).wait(), Err(Error::ReadOnly { .. })));
            assert!(matches!(pollster::block_on(pool.write(page)), Err(Error::ReadOnly { .. })));
        }
        assert!(matches!(pool.write(page).now(), Err(Error::ReadOnly { .. })));
        assert_eq!(&*pool.read(page).wait().unwrap(), &*stamped(0, 1));
        assert_at_rest(&pool);
    });
}

/// The log positions of a change that an owned guard makes are those of its page.
#[test]
fn c8_an_owned_write_guard_states_its_log_position() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 4, 2);
        let mut guard = restamped(&bench.pool, bench.page(1), 2);
        guard.set_lsn(Lsn(0)..Lsn(7));
        guard.set_image_lsn(Lsn(7)..Lsn(9));
        assert_eq!(guard.lsn(), Lsn(9), "where its last record ends");
        let read = guard.downgrade();
        assert_eq!(read.lsn(), Lsn(9));
    });
}

/// The end of the guard makes the change known: where redo must start for it.
#[test]
fn c8_redo_starts_where_the_record_of_an_owned_guard_begins() {
    guarded(|| {
        let bench = Bench::new(IoMethod::worker(), 4, 2);
        let (pool, page) = (bench.pool.clone(), bench.page(0));
        drop(restamped(&pool, page, 2));
        let writes = bench.disk.hold(Op::Write);
        let running = thread::spawn({
            let pool = pool.clone();
            move || pool.checkpoint(CheckpointOptions::new()).wait().unwrap()
        });
        writes.wait_for(1);
        let mut guard = restamped(&pool, page, 3);
        guard.set_lsn(Lsn(0)..Lsn(7));
        guard.set_lsn(Lsn(7)..Lsn(9));
        drop(guard);
        writes.open();
        assert_eq!(running.join().unwrap().redo_lsn, Some(Lsn(0)));
        assert_eq!(pool.checkpoint(CheckpointOptions::new()).wait().unwrap().redo_lsn, None);
        bench.assert_at_rest();
    });
}

#[test]
fn many_pages_are_had_at_once_where_all_are_here() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 8);
        let pages = [2, 3].map(|block| bench.page(block));
        drop(bench.fetch(2).unwrap());
        assert!(bench.pool.fetch_many(&pages).now().is_none(), "one is missing");
        assert_eq!(bench.pool.stats().counts.pages_read, 1, "and is not read for that");
        drop(bench.fetch(3).unwrap());
        let here = bench.pool.fetch_many(&pages).now().unwrap();
        assert_eq!(here.iter().map(PinnedPage::id).collect::<Vec<_>>(), pages);
        drop(here);
        bench.assert_at_rest();
    });
}

/// Latch coupling: each step holds two pages, in a loop, in values that outlive the step.
#[test]
fn owned_guards_can_be_handed_from_page_to_page() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 6);
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (pool, pages) =
                    (bench.pool.clone(), (0..6).map(|block| bench.page(block)).collect::<Vec<_>>());
                thread::spawn(move || {
                    let mut held = restamped(&pool, pages[0], 2);
                    for &page in &pages[1..] {
                        held = restamped(&pool, page, 2);
                    }
                    held.id()
                })
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), bench.page(5));
        }
        (0..6).for_each(|block| assert_stamped(&bench.fetch(block).unwrap(), 2));
        bench.assert_at_rest();
    });
}

/// A page that was read ahead gets its first guard by another code path.
#[test]
fn a_page_that_was_read_ahead_is_had_at_once() {
    with_each_method(|method| {
        let bench = Bench::new(method, 8, 8);
        bench.pool.prefetch(bench.file.pages([2, 3]));
        eventually("the reads are over", || bench.pool.in_flight().is_empty());
        assert_eq!(&*bench.pool.read(bench.page(2)).now().unwrap(), &*stamped(2, 1));
        assert_eq!(&*bench.pool.write(bench.page(3)).now().unwrap().unwrap(), &*stamped(3, 1));
        bench.assert_at_rest();
    });
}

/// Futures give way after 128 polls that were ready. The task may not be polled again for long.
#[test]
fn c6_a_task_that_gives_way_to_others_does_so_without_the_latch() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 4, 2);
        let (pool, page) = (&bench.pool, bench.page(0));
        let mut context = Context::from_waker(Waker::noop());
        let pending = (0..200).find_map(|_| {
            let mut writing = Box::pin(pool.write(page));
            writing.as_mut().poll(&mut context).is_pending().then_some(writing)
        });
        let mut writing = pending.expect("one in 129 polls gives way");
        assert_eq!(&*pool.write(page).now().unwrap().unwrap(), &*stamped(0, 1));
        let Poll::Ready(Ok(mut guard)) = writing.as_mut().poll(&mut context) else {
            panic!("nothing is waited for")
        };
        guard.copy_from_slice(&stamped(0, 2));
        drop(guard);
        drop(writing);
        assert_eq!(&*pool.read(page).wait().unwrap(), &*stamped(0, 2));
        bench.assert_at_rest();
    });
}
