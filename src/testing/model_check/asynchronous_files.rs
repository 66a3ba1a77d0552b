//! Files whose requests end later, by threads of their storage.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
};

use super::{
    PAGE, SteppedDisk, assert_at_rest, check, checkpoint, increment, join, spawn, version, versions_on,
};
use crate::{
    BufferPool, CheckpointOptions, FileId, IoMethod, OpenOptions, PageId,
    sync::{thread, time::Duration},
    testing::Later,
};

/// Makes a pool over one file of `blocks` whose requests end later, with the disk that holds it.
fn pool_later(frames: u32, blocks: u32, method: IoMethod) -> (BufferPool, FileId, SteppedDisk) {
    let disk = SteppedDisk::new();
    let builder = BufferPool::builder().frames(frames).page_size(PAGE as u32).io_method(method);
    let builder = builder.frame_wait(Duration::from_secs(10)).storage(Later::new(disk.clone(), 7));
    let pool = builder.build().unwrap();
    let options = OpenOptions::new().max_in_flight(std::num::NonZeroU32::new(2).unwrap());
    let file = pool.open_file("file", options.initial_blocks(blocks)).unwrap();
    (pool, file, disk)
}

/// Two frames, four pages, two threads that each add to every page, and one that reads ahead: no update is lost, no page is mixed up.
#[test]
fn c1_updates_survive_requests_that_end_later() {
    check(|method| {
        const BLOCKS: u32 = 4;
        let (pool, file, disk) = pool_later(2, BLOCKS, method);
        let adding = [[0, 1, 2, 3], [3, 2, 1, 0]].map(|order| {
            let pool = pool.clone();
            spawn(move || order.into_iter().for_each(|block| increment(&pool, file, block)))
        });
        let ahead = {
            let pool = pool.clone();
            spawn(move || {
                let _ = pool.prefetch(file.pages(0..BLOCKS));
            })
        };
        join(adding.into_iter().chain([ahead]));
        for block in 0..BLOCKS {
            assert_eq!(version(&pool, file, block), 2);
        }
        checkpoint(&pool);
        while pool.stats().frames.in_flight() > 0 {
            thread::yield_now();
        }
        assert_at_rest(&pool);
        assert_eq!(versions_on(&disk), [2; BLOCKS as usize]);
    });
}

/// Reads and writes that fail reach those that wait, and lose nothing.
#[test]
fn c3_requests_that_fail_later_lose_nothing() {
    check(|method| {
        let (pool, file, disk) = pool_later(2, 3, method);
        increment(&pool, file, 0);
        disk.fail_writes(1);
        disk.fail_reads(1);
        let reading = {
            let pool = pool.clone();
            spawn(move || drop(pool.fetch(PageId::new(file, 1)).wait()))
        };
        let flushing = {
            let pool = pool.clone();
            spawn(move || drop(pool.checkpoint(CheckpointOptions::new()).wait()))
        };
        join([reading, flushing]);
        disk.fail_writes(0);
        disk.fail_reads(0);
        assert_eq!(version(&pool, file, 0), 1);
        checkpoint(&pool);
        assert_at_rest(&pool);
        assert_eq!(versions_on(&disk), [1, 0, 0]);
    });
}

/// A pool that goes while its requests are under way waits for them; and a file can be closed as soon as the last one has ended.
#[test]
fn c5_a_pool_and_its_files_go_while_requests_end() {
    check(|method| {
        let (pool, file, disk) = pool_later(3, 3, method);
        increment(&pool, file, 0);
        let closing = {
            let pool = pool.clone();
            spawn(move || {
                let _ = pool.fetch(PageId::new(file, 1)).wait();
                drop(pool.close_file(file).wait());
            })
        };
        let _ = pool.prefetch(file.pages(1..3));
        drop(pool);
        join([closing]);
        assert_eq!(versions_on(&disk)[1..], [0, 0]);
    });
}

/// Drops the pool when it is woken.
struct LastClone(Mutex<Option<BufferPool>>);

impl Wake for LastClone {
    fn wake(self: Arc<Self>) {
        let pool = self.0.lock().unwrap().take();
        drop(pool);
    }
}

/// The last clone of a pool may go in a thread of the storage, which ends a request.
#[test]
fn c5_the_last_clone_may_go_in_a_thread_of_the_storage() {
    check(|method| {
        let (pool, file, _) = pool_later(2, 2, method);
        let mut fetch = pin!(pool.fetch(PageId::new(file, 1)));
        let last = Arc::new(LastClone(Mutex::new(None)));
        let waker = Waker::from(Arc::clone(&last));
        if let Poll::Pending = fetch.as_mut().poll(&mut Context::from_waker(&waker)) {
            *last.0.lock().unwrap() = Some(pool);
            while fetch.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                thread::yield_now();
            }
        }
    });
}
