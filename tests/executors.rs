//! The pool's futures under executors of every kind: one thread, many threads, none; and tasks that are dropped at any point.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    num::NonZeroU32,
    path::Path,
    pin::{Pin, pin},
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use ringpool::{
    BufferPool, CheckpointOptions, Error, FileId, IoMethod, OpenOptions, PageId, Shutdown, StreamOptions,
};
use support::{Bench, assert_at_rest, assert_stamped, restamp, stamped_file, with_each_method};
use tempfile::TempDir;
use tokio::runtime;

/// Makes a pool over a real file, so that with io_uring the ring itself transfers.
fn pool_over(method: &IoMethod, frames: u32, blocks: u32) -> (TempDir, BufferPool, FileId) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(dir.path().join("file"), stamped_file(blocks, 1)).unwrap();
    // Long enough for all tasks that wait for a frame, whatever else the machine does.
    let builder = BufferPool::builder().frames(frames).frame_wait(Duration::from_secs(20));
    let pool = builder.io_method(method.clone()).build().unwrap();
    let file = pool.open_file(dir.path().join("file"), OpenOptions::new()).unwrap();
    (dir, pool, file)
}

/// Uses all that can be awaited.
async fn a_bit_of_everything(path: &Path, pool: BufferPool, file: FileId) {
    for block in 0..32 {
        let page = pool.fetch(PageId::new(file, block)).await.unwrap();
        assert_stamped(&page, 1);
        assert_eq!(page.read_async().await.len(), support::PAGE);
        page.write_async().await.unwrap().copy_from_slice(&support::stamped(block, 2));
    }
    let added = pool.extend(file, NonZeroU32::new(2).unwrap()).await.unwrap();
    restamp(&pool.fetch(PageId::new(file, added.first)).await.unwrap(), 2);
    pool.flush(PageId::new(file, 3)).await.unwrap();
    pool.evict(PageId::new(file, 4)).await.unwrap();
    pool.checkpoint(CheckpointOptions::new()).await.unwrap();
    assert!(!pool.sync_file(file).await.unwrap(), "a checkpoint has synced it");
    assert!(fs::read(path).unwrap()[..33 * support::PAGE] == stamped_file(33, 2));
    pool.truncate(file, 32).await.unwrap();
    assert!(matches!(pool.fetch(PageId::new(file, 32)).await, Err(Error::PastEof { .. })));
    assert_stamped(&pool.fetch(PageId::new(file, 31)).await.unwrap(), 2);
    let pages = pool.fetch_many(&[5, 7, 6].map(|block| PageId::new(file, block))).await.unwrap();
    assert_eq!(pages.iter().map(|page| page.id().block.0).collect::<Vec<_>>(), [5, 7, 6]);
    drop(pages);
    let mut stream = pool.read_stream(file.pages(0..32_u32), StreamOptions::new());
    let mut block = 0;
    while let Some(page) = stream.next_page().await {
        assert_stamped(&page.unwrap(), 2);
        block += 1;
    }
    assert_eq!(block, 32);
    drop(stream);
    assert_eq!(*pool.read(PageId::new(file, 9)).await.unwrap(), *support::stamped(9, 2));
    pool.close_file(file).await.unwrap();
    assert_at_rest(&pool);
}

#[test]
fn every_executor_can_drive_everything() {
    with_each_method(|method| {
        let (dir, pool, file) = pool_over(&method, 8, 32);
        pollster::block_on(a_bit_of_everything(&dir.path().join("file"), pool, file));
        let one_thread = runtime::Builder::new_current_thread().build().unwrap();
        let two_threads = runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        for runtime in [one_thread, two_threads] {
            let (dir, pool, file) = pool_over(&method, 8, 32);
            let path = dir.path().join("file");
            let task = runtime.spawn(async move { a_bit_of_everything(&path, pool, file).await });
            runtime.block_on(task).unwrap();
        }
        let (dir, pool, file) = pool_over(&method, 8, 32);
        let path = dir.path().join("file");
        smol::block_on(smol::spawn(async move { a_bit_of_everything(&path, pool, file).await }));
    });
}

/// Adds one to the number at the start of a page.
async fn increment(pool: BufferPool, page: PageId) {
    let page = pool.fetch(page).await.unwrap();
    let mut bytes = page.write_async().await.unwrap();
    let count = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    // Other tasks run while the latch is held.
    tokio::task::yield_now().await;
    bytes[..8].copy_from_slice(&(count + 1).to_le_bytes());
}

fn counts(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    bytes.chunks(support::PAGE).map(|page| u64::from_le_bytes(page[..8].try_into().unwrap())).collect()
}

#[test]
fn a_thousand_tasks_on_one_thread_share_64_frames() {
    with_each_method(|method| {
        const BLOCKS: u32 = 250;
        const ROUNDS: u64 = 3;
        let (dir, pool, file) = pool_over(&method, 64, BLOCKS);
        let path = dir.path().join("file");
        fs::write(&path, vec![0; BLOCKS as usize * support::PAGE]).unwrap();
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let tasks = (0..1000).map(|task| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    for round in 0..ROUNDS as u32 {
                        increment(pool.clone(), PageId::new(file, (task * 7 + round * 31) % BLOCKS)).await;
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
        });
        assert_at_rest(&pool);
        assert!(pool.stats().counts.evictions > 64);
        pool.shutdown(Shutdown::Flush).unwrap();
        assert!(counts(&path).iter().all(|&count| count == 4 * ROUNDS), "{:?}", counts(&path));
    });
}

#[test]
fn c5_tasks_dropped_at_random_points_leave_no_pin_and_no_latch() {
    with_each_method(|method| {
        const BLOCKS: u32 = 40;
        let (dir, pool, file) = pool_over(&method, 8, BLOCKS);
        let path = dir.path().join("file");
        fs::write(&path, vec![0; BLOCKS as usize * support::PAGE]).unwrap();
        let done: &'static [AtomicU32] = Vec::leak((0..BLOCKS).map(|_| AtomicU32::new(0)).collect());
        let mut random = SmallRng::seed_from_u64(7);
        for runtime in [
            runtime::Builder::new_current_thread().build().unwrap(),
            runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap(),
        ] {
            runtime.block_on(async {
                for _ in 0..40 {
                    let tasks: Vec<_> = (0..16)
                        .map(|_| {
                            let (pool, block) = (pool.clone(), random.random_range(0..BLOCKS));
                            tokio::spawn(async move {
                                increment(pool, PageId::new(file, block)).await;
                                done[block as usize].fetch_add(1, Ordering::SeqCst);
                            })
                        })
                        .collect();
                    let checkpoint = tokio::spawn(pool.checkpoint(CheckpointOptions::new()));
                    for _ in 0..random.random_range(0..60) {
                        tokio::task::yield_now().await;
                    }
                    tasks.iter().filter(|_| random.random_bool(0.7)).for_each(tokio::task::JoinHandle::abort);
                    checkpoint.abort();
                    for task in tasks {
                        let _ = task.await;
                    }
                }
            });
        }
        assert_at_rest(&pool);
        for block in 0..BLOCKS {
            let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
            assert!(page.try_write().unwrap().is_some(), "block {block} is latched for ever");
        }
        pool.shutdown(Shutdown::Flush).unwrap();
        for (count, done) in counts(&path).into_iter().zip(done) {
            assert_eq!(count, u64::from(done.load(Ordering::SeqCst)));
        }
    });
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn c5_a_latch_waiter_that_is_dropped_hands_on() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 4);
        let page = bench.fetch(1).unwrap();
        // It is dropped while it waits, or after it was called and before it was polled.
        for already_called in [false, true] {
            let holder = page.write().unwrap();
            let mut writer = Box::pin(page.write_async());
            let mut second = Box::pin(page.write_async());
            assert!(poll(writer.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
            let mut readers: Vec<_> = (0..3).map(|_| Box::pin(page.read_async())).collect();
            assert!(readers.iter_mut().all(|reader| poll(reader.as_mut()).is_pending()));
            if already_called {
                drop(holder);
                drop(writer);
            } else {
                drop(writer);
                drop(holder);
            }
            assert!(
                readers.iter_mut().all(|reader| poll(reader.as_mut()).is_pending()),
                "the second writer is next"
            );
            drop(second);
            let guards: Vec<_> = readers.iter_mut().map(|reader| poll(reader.as_mut())).collect();
            assert!(guards.iter().all(Poll::is_ready), "all readers are served together");
            assert!(page.try_write().unwrap().is_none());
            drop(guards);
            assert!(page.try_write().unwrap().is_some());
        }
    });
}

#[test]
fn a_thread_and_a_task_wait_in_one_line() {
    with_each_method(|method| {
        let bench = Bench::new(method, 4, 4);
        let page = bench.fetch(1).unwrap();
        let holder = page.write().unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| restamp(&page, 2));
            let task = scope.spawn(|| pollster::block_on(async { page.read_async().await.len() }));
            std::thread::sleep(Duration::from_millis(20));
            drop(holder);
            thread.join().unwrap();
            assert_eq!(task.join().unwrap(), support::PAGE);
        });
        let fetch = pin!(bench.pool.fetch(bench.page(1)));
        assert!(matches!(poll(fetch), Poll::Ready(Ok(_))));
    });
}
