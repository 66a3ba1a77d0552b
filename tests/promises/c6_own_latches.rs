//! C6, C10: a thread that waits for a page's write while it holds that page. With a view or frozen bytes it gets the write, whether
//! or not another thread waits to change the page; with a write guard, be it its own or one that was forgotten, an error in time.

use std::{
    mem,
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use ringpool::{BufferPool, CheckpointOptions, Error, IoMethod, PageId, Result, Shutdown, report::Evicted};

use crate::support::{Bench, eventually, restamp, stamped, with_each_method};

const FRAME_WAIT: Duration = Duration::from_millis(100);

/// What a bounded wait may take beyond its bound on a busy machine.
const TOLERANCE: Duration = Duration::from_secs(20);

fn bench(method: IoMethod) -> Bench {
    Bench::with(16, |builder| builder.frames(16).frame_wait(FRAME_WAIT).io_method(method))
}

/// Each way to wait for the writes of pages.
const WAYS: [fn(&BufferPool, PageId) -> Result<()>; 4] = [
    |pool, _| pool.checkpoint(CheckpointOptions::new()).wait().map(drop),
    |pool, page| pool.flush_file(page.file).wait().map(drop),
    |pool, page| pool.flush(page).wait(),
    |pool, _| pollster::block_on(pool.checkpoint(CheckpointOptions::new())).map(drop),
];

/// Holds the page's share latch as `hold` does, gets a writer in line for the page, and runs `wait_for_write`.
fn beside_a_writer_in_line(bench: &Bench, block: u32, is_frozen: bool, wait_for_write: impl FnOnce()) {
    let page = bench.fetch(block).unwrap();
    restamp(&page, 2);
    let view = page.try_clone().unwrap().into_read();
    let frozen = is_frozen.then(|| page.try_clone().unwrap().freeze());
    let view = (!is_frozen).then_some(view);
    thread::scope(|scope| {
        let writer = page.try_clone().unwrap();
        let writing = scope.spawn(move || restamp(&writer, 3));
        eventually("the writer is in line", || page.try_read().is_none());
        wait_for_write();
        assert!(!writing.is_finished(), "the latch is held");
        drop((view, frozen));
        writing.join().unwrap();
    });
}

#[test]
fn c6_a_thread_that_holds_a_view_or_frozen_bytes_may_wait_for_the_pages_write_though_a_writer_waits() {
    with_each_method(|method| {
        let bench = bench(method);
        for wait_for_write in WAYS {
            for is_frozen in [false, true] {
                beside_a_writer_in_line(&bench, 5, is_frozen, || {
                    wait_for_write(&bench.pool, bench.page(5)).unwrap();
                    assert!(bench.image()[5 * stamped(5, 2).len()..].starts_with(&stamped(5, 2)));
                });
            }
        }
        // An operation that needs the page for itself fails in time.
        beside_a_writer_in_line(&bench, 6, false, || {
            let refused = bench.pool.close_file(bench.file).wait();
            assert!(
                matches!(refused, Err(Error::Pinned { page, .. }) if page == bench.page(6)),
                "{refused:?}"
            );
            assert_eq!(bench.pool.evict(bench.page(6)).wait().unwrap(), Evicted::Pinned);
        });
        bench.assert_at_rest();
    });
}

#[test]
fn c6_a_thread_that_holds_a_view_may_shut_the_pool_down_though_a_writer_waits() {
    with_each_method(|method| {
        let bench = bench(method);
        beside_a_writer_in_line(&bench, 5, false, || {
            bench.pool.clone().shutdown(Shutdown::Flush).unwrap();
            assert!(bench.image()[5 * stamped(5, 2).len()..].starts_with(&stamped(5, 2)));
        });
    });
}

/// Returns the error of something that must end in time.
fn refusal<T>(result: Result<T>, begun: Instant) -> Error {
    let took = begun.elapsed();
    assert!(took < FRAME_WAIT + TOLERANCE, "took {took:?}");
    result.err().expect("the page cannot be written")
}

#[track_caller]
fn assert_latched(error: &Error, page: PageId) {
    let Error::Latched { page: named, waited, .. } = error else { panic!("{error}") };
    assert_eq!((*named, *waited >= FRAME_WAIT), (page, true));
    assert!(error.to_string().contains("drop its write guard"), "{error}");
}

#[test]
fn c6_a_write_guard_that_is_held_is_an_error_in_time_and_all_other_pages_are_written() {
    with_each_method(|method| {
        for is_forgotten in [false, true] {
            let (disk, pool, file) = bench(method.clone()).into_parts();
            let page = |block| PageId::new(file, block);
            (0..12).for_each(|block| restamp(&pool.fetch(page(block)).wait().unwrap(), 2));
            let pages: Vec<_> = [3, 4, 5].map(|block| pool.fetch(page(block)).wait().unwrap()).into();
            let mut guards: Vec<_> = pages.iter().map(|page| page.write().unwrap()).collect();
            if is_forgotten {
                guards.drain(..).for_each(mem::forget);
            }
            for wait_for_write in WAYS {
                let begun = Instant::now();
                let error = refusal(wait_for_write(&pool, page(3)), begun);
                assert_latched(&error, page(3));
            }
            let image = disk.image("data").unwrap();
            for block in (0..12).filter(|block| !(3..6).contains(block)) {
                let at = block as usize * stamped(0, 0).len();
                assert!(image[at..].starts_with(&stamped(block, 2)), "block {block} is not written");
            }
            assert_eq!(
                pool.stats().frames.dirty,
                3,
                "those that could not be written are as dirty as before"
            );
            let begun = Instant::now();
            assert_latched(&refusal(pool.close_file(file).wait(), begun), page(3));
            let begun = Instant::now();
            let refused = pool.clone().shutdown(Shutdown::Flush).map_err(|refused| refused.into_parts().1);
            assert_latched(&refusal(refused, begun), page(3));
            if is_forgotten {
                drop(guards);
                drop(pages);
                // Only its latch is left.
                let begun = Instant::now();
                assert_latched(&refusal(pool.evict(page(4)).wait(), begun), page(4));
                let begun = Instant::now();
                assert!(matches!(refusal(pool.truncate(file, 4).wait(), begun), Error::Pinned { .. }));
                pool.shutdown(Shutdown::Discard).unwrap();
            } else {
                assert_eq!(pool.evict(page(4)).wait().unwrap(), Evicted::Pinned);
                drop(guards);
                pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
                assert_eq!(pool.stats().frames.dirty, 0);
                drop(pages);
                pool.close_file(file).wait().unwrap();
            }
        }
    });
}

#[test]
fn c6_a_guard_that_is_held_is_no_obstacle_to_other_waiters() {
    with_each_method(|method| {
        let bench = bench(method);
        bench.dirty([7], 2);
        let page = bench.fetch(7).unwrap();
        let (taken, is_taken) = channel();
        thread::scope(|scope| {
            let writer = page.try_clone().unwrap();
            scope.spawn(move || {
                let guard = writer.write().unwrap();
                taken.send(()).unwrap();
                thread::sleep(FRAME_WAIT / 4);
                drop(guard);
            });
            is_taken.recv().unwrap();
            // A change that is over in time is waited for.
            let flushed = loop {
                match bench.pool.flush(bench.page(7)).wait() {
                    Err(Error::Latched { .. }) => {}
                    other => break other,
                }
            };
            flushed.unwrap();
        });
        assert_eq!(bench.pool.stats().frames.dirty, 0);
    });
}
