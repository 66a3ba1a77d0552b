//! C10: a waker that panics, or owns pages of the pool, harms nothing but its own task.

use std::{
    future::Future,
    panic::resume_unwind,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use ringpool::{CheckpointOptions, Error, IoMethod, testing::Op};

use crate::support::{
    Bench, assert_stamped, eventually, fetch_apart, join_read, outcome, stamped, with_each_method,
};

/// Far longer than anything here takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A waker that panics, and counts how often it was called.
#[derive(Default)]
struct Panicking(AtomicUsize);

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
        resume_unwind(Box::new("the executor has gone"));
    }
}

/// A waker that owns something, and does nothing.
struct Owning<T>(#[allow(dead_code)] T);

impl<T: Send + Sync + 'static> Wake for Owning<T> {
    fn wake(self: Arc<Self>) {}
}

fn owning<T: Send + Sync + 'static>(owned: T) -> Waker {
    Waker::from(Arc::new(Owning(owned)))
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(waker))
}

fn bench(method: IoMethod, frames: u32) -> Bench {
    Bench::with(16, |builder| builder.frames(frames).io_method(method).frame_wait(PATIENCE))
}

#[test]
fn c10_a_waker_that_panics_at_the_end_of_a_write_stops_neither_it_nor_its_checkpoint() {
    with_each_method(|method| {
        let bench = bench(method, 4);
        bench.dirty(0..4, 2);
        let gate = bench.disk.hold(Op::Write);
        let pool = bench.pool.clone();
        let checkpoint = thread::spawn(move || pool.checkpoint(CheckpointOptions::new()).wait());
        gate.wait_for(1);
        let panicking = Arc::new(Panicking::default());
        let waker = Waker::from(Arc::clone(&panicking));
        // All frames are being written: it waits for one, again and again, and the write's end is to wake it.
        let mut fetch = bench.pool.fetch(bench.page(9));
        assert!(poll(&mut fetch, &waker).is_pending());
        eventually("it is woken by the clock", || panicking.0.load(SeqCst) > 0);
        assert!(poll(&mut fetch, &waker).is_pending());
        gate.open();
        let mut fetched = Poll::Pending;
        eventually("the checkpoint is over", || {
            if fetched.is_pending() {
                fetched = poll(&mut fetch, &waker);
            }
            checkpoint.is_finished()
        });
        assert_eq!(checkpoint.join().expect("no panic comes out of it").unwrap().pages_written, 4);
        drop((fetch, fetched));
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        assert_eq!(bench.image()[..stamped(0, 2).len()], stamped(0, 2));
    });
}

#[test]
fn c10_a_waker_that_panics_at_the_end_of_a_read_takes_no_other_waiter_and_no_other_page_along() {
    with_each_method(|method| {
        let bench = bench(method, 8);
        let gate = bench.disk.hold(Op::Read);
        let pages: Vec<_> = (0..4).map(|block| bench.page(block)).collect();
        let pool = bench.pool.clone();
        let together = thread::spawn(move || pollster::block_on(pool.fetch_many(&pages)));
        gate.wait_for(1);
        let waker = Waker::from(Arc::new(Panicking::default()));
        let mut fetch = bench.pool.fetch(bench.page(1));
        assert!(poll(&mut fetch, &waker).is_pending());
        let mut others = join_read(&bench.pool, bench.page(1), 4);
        others.extend(join_read(&bench.pool, bench.page(3), 2));
        gate.open();
        for fetching in others {
            assert_stamped(&outcome(fetching).unwrap(), 1);
        }
        let together = together.join().expect("no panic comes out of it").unwrap();
        together.iter().for_each(|page| assert_stamped(page, 1));
        assert!(matches!(poll(&mut fetch, &waker), Poll::Ready(Ok(_))), "it is only not told");
    });
}

#[test]
fn c10_a_waker_that_panics_does_not_keep_others_from_their_deadline() {
    with_each_method(|method| {
        let bench = bench(method, 2);
        let pins = [0, 1].map(|block| bench.fetch(block).unwrap());
        let panicking = Arc::new(Panicking::default());
        let mut fetch = bench.pool.fetch(bench.page(9));
        assert!(poll(&mut fetch, &Waker::from(Arc::clone(&panicking))).is_pending());
        eventually("it is woken", || panicking.0.load(SeqCst) > 0);
        let begun = Instant::now();
        let options = Duration::from_millis(50);
        let impatient = bench.pool.fetch(bench.page(8)).frame_wait(options);
        let waiting = thread::spawn(move || pollster::block_on(impatient));
        eventually("the other's wait is over", || waiting.is_finished());
        assert!(matches!(waiting.join().unwrap(), Err(Error::AllPinned { .. })));
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        drop(pins);
    });
}

/// A waker that owns a view of the page whose latch its task waits for: it is dropped when the list has no use for it, and lets go of
/// the latch.
#[test]
fn c10_a_waker_that_owns_a_view_is_dropped_with_no_lock_held() {
    with_each_method(|method| {
        let bench = bench(method, 2);
        let page = bench.fetch(0).unwrap();
        for is_replaced in [false, true] {
            let view = bench.pool.read(bench.page(0)).wait().unwrap();
            let mut writing = Box::pin(page.write_async());
            assert!(poll(&mut writing, &owning(view)).is_pending());
            if is_replaced {
                assert!(
                    poll(&mut writing, Waker::noop()).is_pending(),
                    "the view was let go by this very poll"
                );
                assert!(matches!(poll(&mut writing, Waker::noop()), Poll::Ready(Ok(_))));
            }
            drop(writing);
            assert!(page.try_write().unwrap().is_some());
        }
    });
}

#[test]
fn c10_a_waker_that_owns_a_pin_is_dropped_with_no_lock_held() {
    with_each_method(|method| {
        let bench = bench(method, 1);
        for is_replaced in [false, true] {
            let mut fetch = bench.pool.fetch(bench.page(1));
            let pin = bench.fetch(0).unwrap();
            assert!(poll(&mut fetch, &owning(pin)).is_pending());
            if is_replaced {
                let _ = poll(&mut fetch, Waker::noop());
            }
            drop(fetch);
            eventually("the only frame is free", || bench.fetch(0).is_ok());
        }
    });
}

/// The frame of a read under way has two waiters; what wakes one of them fetches the page at once, as an executor does that runs
/// its tasks in the waking thread.
#[test]
fn c10_a_waker_may_use_the_pool_on_the_spot() {
    struct Fetching(ringpool::BufferPool, ringpool::PageId, AtomicUsize);
    impl Wake for Fetching {
        fn wake(self: Arc<Self>) {
            let page = self.0.fetch(self.1).wait().unwrap();
            self.2.store(page.read().len(), SeqCst);
        }
    }
    with_each_method(|method| {
        let bench = bench(method, 8);
        let gate = bench.disk.hold(Op::Read);
        let pages: Vec<_> = (0..4).map(|block| bench.page(block)).collect();
        let pool = bench.pool.clone();
        let together =
            thread::spawn(move || pollster::block_on(pool.fetch_many(&pages)).map(|pages| pages.len()));
        gate.wait_for(1);
        // Page 3 is in the same request, and ends after page 0.
        let waking = Arc::new(Fetching(bench.pool.clone(), bench.page(3), AtomicUsize::new(0)));
        let mut fetch = bench.pool.fetch(bench.page(0));
        assert!(poll(&mut fetch, &Waker::from(Arc::clone(&waking))).is_pending());
        gate.open();
        assert_eq!(together.join().unwrap().unwrap(), 4);
        eventually("the waker is through", || waking.2.load(SeqCst) > 0);
        assert_stamped(&outcome(fetch_apart(&bench.pool, bench.page(0), true)).unwrap(), 1);
    });
}
