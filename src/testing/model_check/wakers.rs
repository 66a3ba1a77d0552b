//! Tasks of callers, whose wakers panic or own pages, or which are not polled when they are woken.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use super::{assert_at_rest, check, checkpoint, increment, join, pool_over, spawn, version, versions_on};
use crate::{
    PageId,
    sync::{thread, wait},
};

fn poll<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

/// Runs a future as an executor does whose tasks sleep until they are woken.
fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    wait::block_on(|waker| poll(future.as_mut(), waker))
}

/// A waker that does nothing, and owns something.
///
/// The pool catches the panic of a waker's drop, and so also the checker's panic about a lock that the thread holds already. The
/// waker notes it, so that it is not lost.
struct Owning<T> {
    owned: Option<T>,
    has_panicked: Arc<AtomicBool>,
}

impl<T: Send + Sync + 'static> Owning<T> {
    fn waker(owned: T, has_panicked: &Arc<AtomicBool>) -> Waker {
        Waker::from(Arc::new(Self { owned: Some(owned), has_panicked: Arc::clone(has_panicked) }))
    }
}

impl<T> Drop for Owning<T> {
    fn drop(&mut self) {
        let owned = self.owned.take();
        if catch_unwind(AssertUnwindSafe(|| drop(owned))).is_err() {
            self.has_panicked.store(true, Ordering::Relaxed);
        }
    }
}

impl<T: Send + Sync + 'static> Wake for Owning<T> {
    fn wake(self: Arc<Self>) {}
}

struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        resume_unwind(Box::new("the executor has gone"));
    }
}

/// Tasks with wakers that panic wait for reads, frames and a latch: writes, reads, checkpoints and other tasks go on.
#[test]
fn c10_wakers_that_panic_stop_nothing_else() {
    check(|method| {
        let (pool, file, disk) = pool_over(2, 3, method);
        let abandoned = {
            let pool = pool.clone();
            spawn(move || {
                let waker = Waker::from(Arc::new(Panicking));
                for block in 0..3 {
                    let mut fetch = pin!(pool.fetch(PageId::new(file, block)));
                    let Poll::Ready(page) = poll(fetch.as_mut(), &waker) else {
                        thread::yield_now();
                        continue;
                    };
                    let page = page.unwrap();
                    let mut latch = pin!(page.read_async());
                    let _ = poll(latch.as_mut(), &waker);
                    thread::yield_now();
                }
            })
        };
        let working = [[0, 1, 2], [2, 1, 0]].map(|order| {
            let pool = pool.clone();
            spawn(move || order.into_iter().for_each(|block| increment(&pool, file, block)))
        });
        join(working.into_iter().chain([abandoned]));
        (0..3).for_each(|block| assert_eq!(version(&pool, file, block), 2));
        checkpoint(&pool);
        assert_eq!(versions_on(&disk), [2; 3]);
        (0..100).for_each(|_| thread::yield_now());
        assert_at_rest(&pool);
    });
}

/// Tasks in line for a latch and for the only frame are woken and not polled: threads and tasks behind them get both.
#[test]
fn c6_tasks_that_are_not_polled_hold_up_no_others() {
    check(|method| {
        let (pool, file, _) = pool_over(1, 2, method);
        let page = pool.fetch(PageId::new(file, 0)).wait().unwrap();
        let held = page.write().unwrap();
        let mut parked = [(); 2].map(|()| Box::pin(page.write_async()));
        let mut parked_fetch = pin!(pool.fetch(PageId::new(file, 1)));
        assert!(parked.iter_mut().all(|task| poll(task.as_mut(), Waker::noop()).is_pending()));
        assert!(poll(parked_fetch.as_mut(), Waker::noop()).is_pending());
        let thread = {
            let pool = pool.clone();
            spawn(move || increment(&pool, file, 0))
        };
        let task = {
            let page = page.try_clone().unwrap();
            spawn(move || drop(run(page.write_async()).unwrap()))
        };
        drop(held);
        join([thread, task]);
        // The parked tasks come at last, one after another.
        for task in parked {
            drop(run(task).unwrap());
        }
        let fetching = {
            let pool = pool.clone();
            spawn(move || drop(run(pool.fetch(PageId::new(file, 1))).unwrap()))
        };
        drop(page);
        join([fetching]);
        assert_eq!(run(parked_fetch).unwrap().id().block.0, 1);
        assert_eq!(version(&pool, file, 0), 1);
        checkpoint(&pool);
        assert_at_rest(&pool);
    });
}

/// Wakers that own the page that their own task waits for, or the only frame: they are dropped, replaced and called while other
/// tasks want the same.
#[test]
fn c10_wakers_that_own_pages_hold_up_nothing_when_they_go() {
    check(|method| {
        let (pool, file, _) = pool_over(1, 3, method);
        let has_panicked = Arc::new(AtomicBool::new(false));
        let tasks = [false, true].map(|is_replaced| {
            let (pool, has_panicked) = (pool.clone(), Arc::clone(&has_panicked));
            spawn(move || {
                let pinned = pool.fetch(PageId::new(file, 0)).wait().unwrap();
                let mut fetch = pin!(pool.fetch(PageId::new(file, 1 + u32::from(is_replaced))));
                let polled = poll(fetch.as_mut(), &Owning::waker(pinned, &has_panicked));
                if is_replaced && polled.is_pending() {
                    let _ = poll(fetch.as_mut(), Waker::noop());
                }
            })
        });
        let viewing = {
            let (pool, has_panicked) = (pool.clone(), Arc::clone(&has_panicked));
            spawn(move || {
                let page = pool.fetch(PageId::new(file, 0)).wait().unwrap();
                let view = pool.read(page.id()).wait().unwrap();
                let mut writing = pin!(page.write_async());
                let _ = poll(writing.as_mut(), &Owning::waker(view, &has_panicked));
                thread::yield_now();
            })
        };
        (0..3).for_each(|block| increment(&pool, file, block));
        join(tasks.into_iter().chain([viewing]));
        checkpoint(&pool);
        (0..3).for_each(|block| assert_eq!(version(&pool, file, block), 1));
        (0..100).for_each(|_| thread::yield_now());
        assert_at_rest(&pool);
        assert!(!has_panicked.load(Ordering::Relaxed), "a waker went with a lock held");
    });
}
