//! Latches that many threads and tasks want at once.

mod support;

use std::{
    sync::{
        Barrier, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use futures_util::future;
use ringpool::{IoMethod, PageWrite, PinnedPage};
use support::{Bench, eventually, guarded};

/// Threads that wait, and tasks on one more thread.
const THREADS: u32 = 100;
const TASKS: u32 = 900;

fn count(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(*bytes.first_chunk().expect("a page is longer"))
}

fn add_one(bytes: &mut [u8]) {
    let more = count(bytes) + 1;
    bytes[..4].copy_from_slice(&more.to_le_bytes());
}

/// Makes a pool with a page whose count is zero.
fn page_at_zero() -> (Bench, PinnedPage) {
    let bench = Bench::new(IoMethod::Sync, 4, 1);
    let page = bench.fetch(0).unwrap();
    page.write().unwrap().fill(0);
    (bench, page)
}

/// How long the latch of a page was not held each time, by the kind of waiter that got it.
struct HandOvers {
    begun: Instant,
    /// When it was last let go.
    released: AtomicU64,
    to_threads: Mutex<Vec<u64>>,
    to_tasks: Mutex<Vec<u64>>,
}

impl HandOvers {
    fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    /// Takes a waiter's turn.
    fn take_turn(&self, mut guard: PageWrite<'_>, took: &Mutex<Vec<u64>>) {
        took.lock().unwrap().push(self.now() - self.released.load(Ordering::Relaxed));
        add_one(&mut guard);
        self.released.store(self.now(), Ordering::Relaxed);
    }
}

/// All wait for one page that is latched, a tenth as threads and the rest as tasks of one thread: each has it once, and none is
/// forgotten. What it takes to hand the latch from one to the next is printed.
#[test]
fn a_thousand_waiters_get_one_page_each_in_turn() {
    guarded(|| {
        let (bench, page) = page_at_zero();
        let hand_overs = HandOvers {
            begun: Instant::now(),
            released: AtomicU64::new(0),
            to_threads: Mutex::default(),
            to_tasks: Mutex::default(),
        };
        let asked = AtomicU32::new(0);
        let guard = page.write().unwrap();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    asked.fetch_add(1, Ordering::Relaxed);
                    hand_overs.take_turn(page.write().unwrap(), &hand_overs.to_threads);
                });
            }
            scope.spawn(|| {
                let tasks = (0..TASKS).map(|_| async {
                    asked.fetch_add(1, Ordering::Relaxed);
                    hand_overs.take_turn(page.write_async().await.unwrap(), &hand_overs.to_tasks);
                });
                pollster::block_on(future::join_all(tasks));
            });
            eventually("all have asked", || asked.load(Ordering::Relaxed) == THREADS + TASKS);
            hand_overs.released.store(hand_overs.now(), Ordering::Relaxed);
            drop(guard);
        });
        for (kind, took) in [("threads", hand_overs.to_threads), ("tasks", hand_overs.to_tasks)] {
            let mut took = took.into_inner().unwrap();
            took.sort_unstable();
            let at = |percent: usize| took[(took.len() - 1) * percent / 100] as f64 / 1000.0;
            println!(
                "handed to {} {kind}: {:.1} us (median), {:.1} us (of 99 in 100)",
                took.len(),
                at(50),
                at(99)
            );
        }
        assert_eq!(count(&page.read()), THREADS + TASKS);
        drop(page);
        bench.assert_at_rest();
    });
}

/// Readers that take turns so that there is always one: a writer gets in between all the same.
#[test]
fn c6_a_writer_does_not_starve_behind_readers() {
    guarded(|| {
        let (bench, page) = page_at_zero();
        let done = AtomicBool::new(false);
        let started = Barrier::new(5);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    started.wait();
                    let mut held = page.try_clone().unwrap().into_read();
                    while !done.load(Ordering::Relaxed) {
                        // The next before the last is let go, unless a waiter is in line.
                        held = match bench.pool.read(held.id()).now() {
                            Some(next) => next,
                            None => {
                                drop(held);
                                page.try_clone().unwrap().into_read()
                            }
                        };
                    }
                });
            }
            started.wait();
            for _ in 0..100 {
                add_one(&mut page.write().unwrap());
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(count(&page.read()), 100);
    });
}
