//! C6: a task that need not wait lets other tasks of its thread be polled all the same, and one that is polled late gets no error
//! about pins that it has not met.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use ringpool::{CheckpointOptions, Error, StreamOptions};

use crate::support::{Bench, eventually, with_each_method};

/// The most results that a task may get before other tasks are polled.
const IN_A_ROW: u32 = 128;

const PAGES: u32 = 4;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// Runs two tasks on one thread: polls those that were woken, one after another, until the first is over. Returns how often the
/// second was polled.
fn run(first: impl Future<Output = ()>, mut second: impl FnMut()) -> u32 {
    let woken = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut first = Box::pin(first);
    let mut turns = 0;
    eventually("the first task is over", || {
        while woken.0.swap(false, SeqCst) {
            if first.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return true;
            }
            second();
            turns += 1;
        }
        false
    });
    turns
}

/// Has a task get `results`, one by one; returns the most of them in a row without a poll of another task.
fn most_in_a_row<F: Future<Output = ()>>(results: u32, mut next: impl FnMut(u32) -> F) -> u32 {
    let (in_a_row, most) = (Cell::new(0), Cell::new(0));
    let task = async {
        for n in 0..results {
            next(n).await;
            in_a_row.set(in_a_row.get() + 1);
            most.set(in_a_row.get().max(most.get()));
        }
    };
    run(task, || in_a_row.set(0));
    most.get()
}

#[test]
fn c6_a_task_whose_futures_are_always_ready_leaves_its_thread_to_others() {
    with_each_method(|method| {
        const RESULTS: u32 = 2000;
        let bench = Bench::new(method, 2 * PAGES, 4 * PAGES);
        let Bench { pool, file, .. } = &bench;
        let all: Vec<_> = (0..PAGES).map(|block| bench.page(block)).collect();
        let page = bench.fetch(0).unwrap();
        drop(pool.fetch_many(&all).wait().unwrap());
        let fetched = most_in_a_row(RESULTS, |n| {
            let fetch = pool.fetch(all[(n % PAGES) as usize]);
            async { drop(fetch.await.unwrap()) }
        });
        let viewed = most_in_a_row(RESULTS, |n| {
            let view = pool.read(all[(n % PAGES) as usize]);
            async { drop(view.await.unwrap()) }
        });
        let fetched_together = most_in_a_row(RESULTS, |_| {
            let fetch = pool.fetch_many(&all);
            async { drop(fetch.await.unwrap()) }
        });
        let read = most_in_a_row(RESULTS, |_| async { drop(page.read_async().await) });
        let written = most_in_a_row(RESULTS, |_| async { drop(page.write_async().await.unwrap()) });
        let stream = pool.read_stream(file.pages((0..PAGES).cycle()), StreamOptions::new());
        let stream = Rc::new(RefCell::new(stream));
        #[allow(clippy::await_holding_refcell_ref)] // One after another.
        let streamed = most_in_a_row(RESULTS, |_| {
            let stream = Rc::clone(&stream);
            async move { drop(stream.borrow_mut().next_page().await.unwrap().unwrap()) }
        });
        // Under sync the thread reads them itself.
        let missed = most_in_a_row(RESULTS, |n| {
            let fetch = pool.fetch(bench.page(n % (4 * PAGES)));
            async { drop(fetch.await.unwrap()) }
        });
        let rows = [fetched, viewed, fetched_together, read, written, streamed, missed];
        assert!(rows.iter().all(|&most| (1..=IN_A_ROW).contains(&most)), "{rows:?}");
        drop((page, stream));
    });
}

#[test]
fn c6_threads_that_wait_have_no_part_in_the_turns_of_tasks() {
    with_each_method(|method| {
        let bench = Bench::new(method, PAGES, 4 * PAGES);
        for n in 0..1000 {
            drop(bench.fetch(n % (4 * PAGES)).unwrap());
            drop(bench.pool.read(bench.page(n % (4 * PAGES))).wait().unwrap());
        }
        bench.pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        drop(bench.fetch(0).unwrap());
        let polled = Box::pin(bench.pool.fetch(bench.page(0)));
        assert!(once(polled).1.is_ready(), "it need not give way, since it has had nothing");
    });
}

fn once<F: Future>(mut future: Pin<Box<F>>) -> (Pin<Box<F>>, Poll<F::Output>) {
    let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    (future, polled)
}

/// A future that has given way loses nothing when it is dropped or waited for in another way.
#[test]
fn c6_a_future_that_gives_way_can_be_dropped_or_asked_again() {
    with_each_method(|method| {
        let bench = Bench::new(method, 2 * PAGES, PAGES);
        let page = bench.fetch(1).unwrap();
        let mut ways = VecDeque::from([0, 1, 2]);
        for _ in 0..10 * IN_A_ROW {
            let (writing, polled) = once(Box::pin(page.write_async()));
            if polled.is_ready() {
                continue;
            }
            // The latch is free: it has given way. So it is not in line.
            match ways.pop_front() {
                Some(0) => drop(writing),
                Some(1) => assert!(once(writing).1.is_ready()),
                Some(2) => {
                    assert!(page.try_write().unwrap().is_some());
                    drop(pollster::block_on(writing).unwrap());
                }
                _ => break,
            }
            assert!(page.try_write().unwrap().is_some(), "the latch was kept");
        }
        assert!(ways.is_empty(), "it has not given way often enough");
        let pinned = (0..=IN_A_ROW).find_map(|_| {
            let (fetch, polled) = once(Box::pin(bench.pool.fetch(bench.page(2))));
            polled.is_pending().then(|| Pin::into_inner(fetch))
        });
        assert_eq!(pinned.expect("it gives way").wait().unwrap().id(), bench.page(2));
    });
}

/// Time in which the runtime does not poll the task does not count as time in which all frames were pinned.
#[test]
fn c6_a_task_that_is_polled_after_its_deadline_looks_more_than_once() {
    with_each_method(|method| {
        for patience in [10, 40, 400].map(Duration::from_millis) {
            let bench = Bench::new(method.clone(), 1, 2);
            let pinned = bench.fetch(0).unwrap();
            let options = patience;
            let fetch = Box::pin(bench.pool.fetch(bench.page(1)).frame_wait(options));
            let (fetch, polled) = once(fetch);
            assert!(polled.is_pending());
            thread::sleep(patience + Duration::from_millis(100));
            let (fetch, polled) = once(fetch);
            assert!(polled.is_pending(), "{patience:?}: {polled:?}");
            drop(pinned);
            drop(pollster::block_on(fetch).unwrap());

            // Where a page is pinned it still waits for its whole bound.
            let pinned = bench.fetch(0).unwrap();
            let fetched = pollster::block_on(bench.pool.fetch(bench.page(1)).frame_wait(options));
            assert!(
                matches!(fetched, Err(Error::AllPinned { waited, .. }) if waited >= patience),
                "{fetched:?}"
            );
            drop(pinned);
        }
    });
}
