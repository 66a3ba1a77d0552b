//! Pages that are used all the time, and so are read by slots of threads instead of their state words: the same holds for them as
//! for other pages.

mod support;

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use ringpool::{BufferPool, Error, IoMethod, OwnedPageRead, PageId, PinnedPage, report::Evicted};
use support::{Bench, eventually, guarded, restamp, stamped, with_each_method};

/// Views the page more often than uses are counted, so that from then on it is read by slots.
fn heat(bench: &Bench, block: u32) {
    (0..8).for_each(|_| drop(bench.pool.read(bench.page(block)).wait().unwrap()));
}

/// Makes a view of a page that is hot, in a slot.
fn hot_view(bench: &Bench, block: u32) -> OwnedPageRead {
    heat(bench, block);
    bench.pool.read(bench.page(block)).wait().unwrap()
}

fn read(pool: &BufferPool, page: PageId) -> Vec<u8> {
    pool.read(page).wait().unwrap().to_vec()
}

/// Returns the pins of the page, as the list of what is resident has them.
fn pins(bench: &Bench, block: u32) -> u32 {
    bench
        .pool
        .residency()
        .find(|resident| resident.page == bench.page(block))
        .map_or(0, |resident| resident.pins)
}

#[test]
fn c1_a_hot_page_shows_its_last_change() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        for version in 1..4 {
            for block in 0..8 {
                heat(&bench, block);
                assert!(read(&bench.pool, bench.page(block)) == stamped(block, version), "block {block}");
                let page = bench.fetch(block).unwrap();
                assert!(*page.read() == *stamped(block, version) && *page.read() == *stamped(block, version));
                restamp(&page, version + 1);
                assert!(*page.read() == *stamped(block, version + 1));
                assert!(read(&bench.pool, bench.page(block)) == stamped(block, version + 1));
                bench.pool.flush(bench.page(block)).wait().unwrap();
            }
        }
        bench.assert_at_rest();
    });
}

#[test]
fn c1_a_hot_page_that_is_read_is_neither_changed_nor_evicted() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 8);
        let view = hot_view(&bench, 0);
        let page = bench.fetch(0).unwrap();
        assert!(page.try_write().unwrap().is_none(), "it is being read");
        assert!(page.try_read().is_some() && bench.pool.read(bench.page(0)).now().is_some());
        drop(view);
        restamp(&page, 2);
        drop(page);
        bench.pool.flush(bench.page(0)).wait().unwrap();
        let view = hot_view(&bench, 0);
        assert_eq!(bench.pool.evict(bench.page(0)).wait().unwrap(), Evicted::Pinned);
        let held = [hot_view(&bench, 1), hot_view(&bench, 2)];
        (3..8).for_each(|block| drop(bench.fetch(block).unwrap()));
        assert_eq!(
            (&*view, &*held[1]),
            (&*stamped(0, 2), &*stamped(2, 1)),
            "the others went through one frame"
        );
        drop(view);
        assert_eq!(bench.pool.evict(bench.page(0)).wait().unwrap(), Evicted::Yes);
        assert!(bench.pool.read(bench.page(0)).now().is_none());
        drop(held);
        bench.assert_at_rest();
    });
}

#[test]
fn a_writer_of_a_hot_page_waits_for_its_readers_and_is_woken_by_the_last() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 1);
        let views = [(); 3].map(|()| hot_view(&bench, 0));
        let page = bench.fetch(0).unwrap();
        let writer = thread::spawn(move || restamp(&page, 2));
        eventually("the writer is in line", || bench.pool.read(bench.page(0)).now().is_none());
        for view in views {
            assert_eq!(&*view, &*stamped(0, 1));
        }
        writer.join().unwrap();
        assert_eq!(read(&bench.pool, bench.page(0)), stamped(0, 2));
        bench.assert_at_rest();
    });
}

#[test]
fn pins_in_slots_are_counted_where_pins_are_told() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 8, 8);
        let mut held: Vec<_> = (0..3).map(|_| hot_view(&bench, 0)).collect();
        held.push(hot_view(&bench, 1));
        let told = || {
            let frames = bench.pool.stats().frames;
            ([pins(&bench, 0), pins(&bench, 1), pins(&bench, 2)], frames.pinned, frames.pins)
        };
        assert_eq!(told(), ([3, 1, 0], 2, 4));
        // After an eviction was tried, the state word counts the page's holders.
        assert_eq!(bench.pool.evict(bench.page(0)).wait().unwrap(), Evicted::Pinned);
        assert_eq!(told(), ([3, 1, 0], 2, 4));
        held.truncate(1);
        assert_eq!(told(), ([1, 0, 0], 1, 1));
        drop(held);
        assert_eq!(told(), ([0, 0, 0], 0, 0));
        bench.assert_at_rest();
    });
}

/// A thread holds more hot pages than it has slots.
#[test]
fn a_thread_holds_any_number_of_hot_pages_in_any_way() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 40, 40);
        (0..40).for_each(|block| heat(&bench, block));
        let views: Vec<_> = (0..20).map(|block| bench.pool.read(bench.page(block)).wait().unwrap()).collect();
        let pages: Vec<_> = (20..40).map(|block| bench.fetch(block).unwrap()).collect();
        let guards: Vec<_> = pages.iter().map(|page| [page.read(), page.read()]).collect();
        assert_eq!(bench.pool.stats().frames.pins, 40);
        for (block, view) in (0..).zip(&views) {
            assert_eq!(&**view, &*stamped(block, 1));
        }
        assert!(pages.iter().all(|page| page.try_write().unwrap().is_none()));
        drop(guards);
        assert!(pages.iter().all(|page| page.try_write().unwrap().is_some()));
        let pages: Vec<_> = pages.into_iter().map(|page| page.into_read().unlatch()).collect();
        let again: Vec<_> = pages.iter().map(|page| page.try_clone().unwrap()).collect();
        drop((views, pages));
        assert_eq!(bench.pool.stats().frames.pins, 20);
        let frozen: Vec<_> = again.into_iter().map(PinnedPage::freeze).collect();
        assert!((20..).zip(&frozen).all(|(block, bytes)| bytes[..] == stamped(block, 1)[..]));
        drop(frozen);
        bench.assert_at_rest();
    });
}

/// Its slot is that of a thread that has ended, whose number another thread has.
#[test]
fn c1_a_view_outlives_the_thread_that_took_it() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 4, 2);
        let (to, from) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| to.send(hot_view(&bench, 0)).unwrap());
        });
        let view = from.recv().unwrap();
        for _ in 0..4 {
            thread::scope(|scope| {
                scope.spawn(|| (0..12).for_each(|_| drop([hot_view(&bench, 0), hot_view(&bench, 1)])));
            });
        }
        let page = bench.fetch(0).unwrap();
        assert!(page.try_write().unwrap().is_none() && pins(&bench, 0) == 2);
        assert_eq!(&*view, &*stamped(0, 1));
        drop(view);
        assert!(page.try_write().unwrap().is_some());
        drop(page);
        bench.assert_at_rest();
    });
}

#[test]
fn c5_a_view_in_a_slot_outlives_its_pool() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 2);
        let views = [hot_view(&bench, 0), hot_view(&bench, 1)];
        drop(bench.into_pool());
        let [first, second] = views;
        assert_eq!(&*first, &*stamped(0, 1));
        drop(first);
        let page = thread::spawn(move || second.unlatch()).join().unwrap();
        assert_eq!(&*page.read(), &*stamped(1, 1));
    });
}

#[test]
fn c6_frames_that_slots_hold_are_told_from_frames_that_may_be_had() {
    guarded(|| {
        let bench = Bench::with(8, |builder| {
            let builder = builder.frames(3).io_method(IoMethod::Sync);
            builder.frame_wait(Duration::from_millis(50))
        });
        let views = [0, 1, 2].map(|block| hot_view(&bench, block));
        let error = bench.fetch(7).unwrap_err();
        assert!(matches!(error, Error::AllPinned { .. }), "{error}");
        let [first, ..] = views;
        drop(first);
        assert_eq!(&*bench.fetch(7).unwrap().read(), &*stamped(7, 1));
    });
}

/// A wait for a frame ends when a slot is freed.
#[test]
fn c6_a_fetch_that_waits_for_a_frame_gets_that_of_a_slot_that_is_freed() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 1, 2);
        let view = hot_view(&bench, 0);
        thread::scope(|scope| {
            let fetching = scope.spawn(|| bench.fetch(1).unwrap().read().to_vec());
            eventually("it waits", || bench.pool.stats().counts.frame_waits > 0);
            drop(view);
            assert_eq!(fetching.join().unwrap(), stamped(1, 1));
        });
    });
}

/// A page that is only read by slots is in use all the same, while other pages come and go.
#[test]
fn a_page_that_is_read_by_slots_stays_in_the_pool() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 8, 200);
        heat(&bench, 0);
        for block in 1..200 {
            assert_eq!(bench.pool.read(bench.page(0)).wait().unwrap()[0], 1);
            bench.fetch(block).unwrap();
        }
        assert_eq!(bench.pool.stats().counts.misses, 200, "block 0 was read again");
    });
}

/// Readers beside a writer and an evictor: what is read is always one version, and never older than one read before.
#[test]
fn c1_readers_of_a_hot_page_see_whole_pages_in_order() {
    with_each_method(|method| {
        const VERSIONS: u8 = 200;
        let bench = Bench::new(method, 8, 3);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut newest = 0;
                    while !done.load(Ordering::Relaxed) {
                        let bytes = read(&bench.pool, bench.page(1));
                        let version = bytes[0];
                        assert!(
                            version >= newest && bytes == stamped(1, version),
                            "{version} after {newest}"
                        );
                        newest = version;
                    }
                });
            }
            for version in 2..VERSIONS {
                restamp(&bench.fetch(1).unwrap(), version);
                assert_eq!(read(&bench.pool, bench.page(1))[0], version);
                // Clean, so that it is biased again.
                bench.pool.flush(bench.page(1)).wait().unwrap();
                if version % 8 == 0 {
                    bench.pool.evict(bench.page(1)).wait().unwrap();
                } else {
                    heat(&bench, 1);
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        bench.assert_at_rest();
    });
}

/// One thread alone changes a page and reads it back, while another evicts it: what it reads is its last change.
#[test]
fn c1_a_thread_reads_its_own_last_change_while_another_evicts_the_page() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 1);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    bench.pool.evict(bench.page(0)).wait().unwrap();
                }
            });
            let until = Instant::now() + Duration::from_secs(1);
            let (mut value, mut seen) = (0_u64, 0);
            while seen == value && Instant::now() < until {
                value += 1;
                bench.fetch(0).unwrap().write().unwrap()[..8].copy_from_slice(&value.to_le_bytes());
                // The last of these are by slots, unless it was evicted.
                for _ in 0..6 {
                    seen = u64::from_le_bytes(read(&bench.pool, bench.page(0))[..8].try_into().unwrap());
                    if seen != value {
                        break;
                    }
                }
                // Clean, so that it can be evicted, and biased.
                bench.pool.flush(bench.page(0)).wait().unwrap();
                heat(&bench, 0);
            }
            done.store(true, Ordering::Relaxed);
            assert_eq!(seen, value, "read {seen} when the last change was {value}");
        });
        bench.assert_at_rest();
    });
}
