//! C6: a task in line that its runtime does not poll holds up no other waiter, and a line may have any length.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use ringpool::{PageWrite, PinnedPage, Result, testing::Op};

use crate::support::{Bench, eventually, restamp, with_each_method};

/// Counts how often it was called.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Counting {
    fn calls(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

type Writing<'a> = Pin<Box<dyn Future<Output = Result<PageWrite<'a>>> + 'a>>;

/// Makes a task that wants to write and is in line for the latch; returns it with the count of its wake-ups.
fn writer_in_line(page: &PinnedPage) -> (Writing<'_>, Arc<Counting>, Waker) {
    let counting = Arc::new(Counting::default());
    let waker = Waker::from(Arc::clone(&counting));
    let mut writing: Writing<'_> = Box::pin(page.write_async());
    assert!(poll(writing.as_mut(), &waker).is_pending());
    (writing, counting, waker)
}

/// Starts a thread that writes version 2 to the page, and returns when it is in line behind the latch's holder.
fn thread_in_line(page: &PinnedPage) -> thread::JoinHandle<()> {
    let page = page.try_clone().unwrap();
    let (send, begins) = std::sync::mpsc::channel();
    let writing = thread::spawn(move || {
        send.send(()).unwrap();
        restamp(&page, 2);
    });
    begins.recv().unwrap();
    // It spins for a while before it gets in line; the test still holds if that takes longer.
    thread::sleep(Duration::from_millis(50));
    writing
}

#[test]
fn c6_a_task_that_is_called_for_a_latch_and_not_polled_holds_up_no_thread() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 2);
        let page = bench.fetch(0).unwrap();
        let held = page.write().unwrap();
        let (mut parked, called, waker) = writer_in_line(&page);
        let waiting = [(); 3].map(|()| thread_in_line(&page));
        drop(held);
        eventually("the task is called", || called.calls() > 0);
        for thread in waiting {
            eventually("a thread behind it has the latch", || thread.is_finished());
            thread.join().unwrap();
        }
        assert!(
            matches!(poll(parked.as_mut(), &waker), Poll::Ready(Ok(_))),
            "the latch is free when it comes"
        );
    });
}

#[test]
fn c6_a_latch_that_is_handed_to_a_task_that_is_not_polled_is_taken_back() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 2);
        let page = bench.fetch(0).unwrap();
        let held = page.write().unwrap();
        let (mut parked, called, waker) = writer_in_line(&page);
        drop(held);
        eventually("it is called", || called.calls() == 1);
        // Another has the latch when it comes. It is the first to be late here, so it has a turn: the latch is handed to it.
        let held = page.try_write().unwrap().expect("free until the task comes");
        assert!(poll(parked.as_mut(), &waker).is_pending());
        let waiting = thread_in_line(&page);
        drop(held);
        eventually("it is woken again", || called.calls() == 2);
        eventually("the thread behind it has the latch", || waiting.is_finished());
        waiting.join().unwrap();
        assert!(
            matches!(poll(parked.as_mut(), &waker), Poll::Ready(Ok(_))),
            "the latch is free when it comes"
        );
    });
}

/// Tasks get in line for the end of a read, and leave the line by being dropped or served: 64,000 tasks took 15 s each way when
/// every step walked along the line.
#[test]
fn c6_tens_of_thousands_get_in_line_for_one_page_and_leave_it_in_no_time() {
    const TASKS: usize = 64_000;
    const PATIENCE: Duration = Duration::from_secs(8);
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 2);
        let gate = bench.disk.hold(Op::Read);
        let reading = {
            let (pool, page) = (bench.pool.clone(), bench.page(0));
            thread::spawn(move || pool.fetch(page).wait().map(drop))
        };
        gate.wait_for(1);
        let counting = Arc::new(Counting::default());
        let waker = Waker::from(Arc::clone(&counting));
        let begun = Instant::now();
        let mut fetches: Vec<_> = (0..TASKS).map(|_| bench.pool.fetch(bench.page(0))).collect();
        for fetch in &mut fetches {
            assert!(poll(Pin::new(fetch), &waker).is_pending());
        }
        // From the middle of the line, not in order of arrival.
        let served = fetches.split_off(TASKS / 2);
        drop(fetches);
        gate.open();
        reading.join().unwrap().unwrap();
        eventually("all callers that are left are served", || counting.calls() == served.len());
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        drop(served);
    });
}
