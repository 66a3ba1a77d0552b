//! C5, for the end of a pool: whatever is alive when it ends, and in whatever order things are dropped, every I/O that was begun
//! ends, no thread or task hangs, and nothing is lost without an error.

use std::{
    any::Any,
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use ringpool::{
    CheckpointOptions, Error, IoMethod, PageId, Shutdown,
    testing::{Fault, Moment, Op, SimDisk},
};

use crate::support::{
    Bench, EIO, assert_stamped, eventually, guarded, restamp, stamped, stamped_file, with_each_method,
};

/// Something that is alive when the pool ends.
type Alive = Box<dyn Any + Send>;

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Returns all orders of the first `n` numbers.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let insert = |order: Vec<usize>| {
        (0..n).map(move |at| {
            let mut longer = order.clone();
            longer.insert(at, n - 1);
            longer
        })
    };
    orders(n - 1).into_iter().flat_map(insert).collect()
}

/// Makes a pool with one of everything alive: reads and writes are under way, pages are pinned and dirty.
fn everything(method: IoMethod) -> (SimDisk, Vec<Alive>) {
    let (disk, pool, file) = Bench::new(method, 16, 16).into_parts();
    let page = |block| PageId::new(file, block);
    (0..4).for_each(|block| restamp(&pool.fetch(page(block)).wait().unwrap(), 2));
    let pinned = pool.fetch(page(0)).wait().unwrap();
    let frozen = pool.fetch(page(5)).wait().unwrap().freeze();
    let part = frozen.slice(8..16);
    disk.inject(Fault::delay(Op::Read, Duration::from_millis(1)));
    disk.inject(Fault::delay(Op::Write, Duration::from_millis(1)));
    let mut checkpoint = pool.checkpoint(CheckpointOptions::new());
    let _ = poll_once(&mut checkpoint);
    let mut fetch = pool.fetch(page(7));
    let _ = poll_once(&mut fetch);
    pool.prefetch(file.pages((8..14).step_by(2)));
    let alive: Vec<Alive> =
        vec![Box::new(pool), Box::new(pinned), Box::new(part), Box::new(checkpoint), Box::new(fetch)];
    (disk, alive)
}

#[test]
fn c5_a_pool_goes_in_every_order() {
    with_each_method(|method| {
        // A third of the orders where reads and writes are under way in the background, fewer where they are not.
        let step = if method == IoMethod::worker() { 3 } else { 11 };
        for order in orders(5).into_iter().step_by(step) {
            let (disk, alive) = everything(method.clone());
            let mut alive: Vec<Option<Alive>> = alive.into_iter().map(Some).collect();
            for index in order {
                drop(alive[index].take());
            }
            // What a job thread was still doing for the checkpoint has the pool to itself.
            eventually("every I/O has ended", || {
                let log = disk.log();
                let ended = log.iter().filter(|event| event.moment != Moment::Begin);
                let failed = log.iter().any(|event| matches!(event.moment, Moment::End(Err(_))));
                assert!(!failed, "an I/O was cut off: {log:?}");
                2 * ended.count() == log.len()
            });
            // Old or new, whole in either case.
            let image = disk.image("data").unwrap();
            for (block, page) in (0..).zip(image.chunks(8192)) {
                assert!(page == stamped(block, 1) || block < 4 && page == stamped(block, 2), "block {block}");
            }
        }
    });
}

#[test]
fn c5_a_shutdown_waits_for_a_thread_that_is_changing_a_page_and_keeps_the_change() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        let page = bench.fetch(3).unwrap();
        let mut changing = page.write().unwrap();
        let pool = bench.pool.clone();
        let shutdown = thread::spawn(move || pool.shutdown(Shutdown::Flush));
        changing.copy_from_slice(&stamped(3, 2));
        thread::sleep(Duration::from_millis(20));
        assert!(!shutdown.is_finished(), "the change would be lost");
        drop(changing);
        let report = shutdown.join().unwrap().unwrap();
        assert_eq!((report.pages_written, report.pages_discarded), (1, 0));
        assert!(bench.durable()[3 * 8192..4 * 8192] == stamped(3, 2));
    });
}

#[test]
fn c5_a_shutdown_that_cannot_write_says_what_and_the_pool_goes_on() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        bench.dirty(2..5, 2);
        bench.disk.inject(Fault::error(Op::Write, EIO));
        let refused = bench.pool.clone().shutdown(Shutdown::Flush).unwrap_err();
        assert!(matches!(refused.error(), Error::Io { .. }), "{refused}");
        let (pool, _) = refused.into_parts();
        assert_eq!(pool.stats().frames.dirty, 3);
        assert_stamped(&bench.fetch(3).unwrap(), 2);
        assert_stamped(&bench.fetch(7).unwrap(), 1);
        bench.disk.heal();
        assert_eq!(pool.shutdown(Shutdown::Flush).unwrap().pages_written, 3);
        assert!(bench.durable()[2 * 8192..5 * 8192] == stamped_file(5, 2)[2 * 8192..]);
    });
}

/// It is clean when the pool ends, so that no report of discarded pages would tell of it.
#[test]
fn c5_what_is_written_behind_the_sync_of_a_shutdown_is_synced_too() {
    with_each_method(|method| {
        let bench = Bench::new(method, 16, 8);
        bench.dirty([3], 2);
        let gate = bench.disk.hold(Op::Sync);
        let pool = bench.pool.clone();
        let shutdown = thread::spawn(move || pool.shutdown(Shutdown::Flush));
        gate.wait_for(1);
        bench.dirty([5], 2);
        bench.pool.flush(bench.page(5)).wait().unwrap();
        gate.open();
        assert_eq!(shutdown.join().unwrap().unwrap().pages_discarded, 0);
        assert!(bench.durable()[5 * 8192..6 * 8192] == stamped(5, 2));
    });
}

#[test]
fn c5_what_is_changed_after_a_shutdown_is_counted_when_the_pool_goes() {
    guarded(|| {
        let bench = Bench::new(IoMethod::Sync, 16, 8);
        let page = bench.fetch(3).unwrap();
        assert_eq!(bench.pool.clone().shutdown(Shutdown::Flush).unwrap().pages_discarded, 0);
        // A pinned page can still be used, but is not written any more.
        restamp(&page, 2);
        assert_eq!(bench.pool.stats().frames.dirty, 1);
        assert!(matches!(bench.pool.flush(bench.page(3)).wait(), Err(Error::ShutDown)));
        let refused = bench.pool.clone().shutdown(Shutdown::Flush).unwrap_err();
        assert!(matches!(refused.error(), Error::ShutDown) && !refused.pool_is_open());
    });
}
