//! The scenarios. The name of a promise's test begins with the promise's number.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    Log, PAGE, assert_at_rest, check, checkpoint, disk::LATE, increment, join, pool_over, pool_with, spawn,
    stamp, version, version_of, versions_on,
};
use crate::{
    BufferPool, CheckpointOptions, Error, IoMethod, IoOp, Lsn, OpenOptions, PageId, StreamOptions, Wal,
    options::BackgroundWriter, sync::thread,
};

/// Two frames, four pages, three threads that each add to every page: no update is lost, no page is mixed up.
#[test]
fn c1_updates_survive_eviction() {
    check(|method| {
        const BLOCKS: u32 = 4;
        let (pool, file, disk) = pool_over(2, BLOCKS, method);
        (0..BLOCKS).for_each(|block| increment(&pool, file, block));
        join([[0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]].map(|order| {
            let pool = pool.clone();
            spawn(move || order.into_iter().for_each(|block| increment(&pool, file, block)))
        }));
        for block in 0..BLOCKS {
            assert_eq!(version(&pool, file, block), 4);
        }
        checkpoint(&pool);
        assert_at_rest(&pool);
        assert_eq!(versions_on(&disk), [4; BLOCKS as usize]);
    });
}

/// Readers of hot pages beside eviction, replacement and change: whole versions of their own page, never an older one than before.
#[test]
fn c1_a_hot_page_is_never_out_of_date() {
    check(|method| {
        let (pool, file, _) = pool_over(2, 3, method);
        let read = move |pool: &BufferPool, block| {
            // As often as it takes to read it by a slot.
            let views = (0..6).map(|_| pool.read(PageId::new(file, block)).wait().unwrap());
            views.map(|view| version_of(&view, block)).fold(0, |before, now| {
                assert!(now >= before);
                now
            })
        };
        let reading = (0..2).map(|_| {
            let pool = pool.clone();
            spawn(move || {
                let first = read(&pool, 0);
                read(&pool, 1);
                assert!(read(&pool, 0) >= first);
            })
        });
        let reading: Vec<_> = reading.collect();
        for version in 1..3 {
            increment(&pool, file, 0);
            assert_eq!(read(&pool, 0), version);
            read(&pool, 2);
        }
        join(reading);
        // A write that an eviction began may still be under way.
        checkpoint(&pool);
        assert_at_rest(&pool);
    });
}

/// Readers of a page that is evicted and replaced all the time never see another page.
#[test]
fn c1_a_reader_never_sees_another_page() {
    check(|method| {
        let (pool, file, _) = pool_over(1, 2, method);
        (0..2).for_each(|block| increment(&pool, file, block));
        join((0..3).map(|n| {
            let pool = pool.clone();
            spawn(move || {
                for turn in 0..3 {
                    assert_eq!(version(&pool, file, (n + turn) % 2), 1);
                }
            })
        }));
        assert_at_rest(&pool);
    });
}

/// A failed read reaches all that wait for it, and leaves nothing behind.
#[test]
fn c2_a_failed_read_reaches_every_waiter_and_leaves_nothing() {
    check(|method| {
        let (pool, file, disk) = pool_over(2, 1, method);
        disk.fail_reads(1);
        let fetch = |pool: BufferPool| {
            move || match pool.fetch(PageId::new(file, 0)).wait() {
                Ok(page) => assert_eq!(version_of(&page.read(), 0), 0),
                Err(Error::Io { op: IoOp::Read, page, .. }) => assert_eq!(page, PageId::new(file, 0)),
                Err(error) => panic!("{error}"),
            }
        };
        join((0..3).map(|_| spawn(fetch(pool.clone()))));
        assert_eq!(version(&pool, file, 0), 0);
        assert_eq!(pool.stats().counts.failures, 1);
        assert_at_rest(&pool);
    });
}

/// Writes that fail, under eviction and checkpoints, lose nothing: a later checkpoint brings everything to disk.
#[test]
fn c3_failed_writes_lose_nothing() {
    check(|method| {
        let (pool, file, disk) = pool_over(2, 3, method);
        disk.fail_writes(2);
        let writers = (0..2).map(|first| {
            let pool = pool.clone();
            spawn(move || {
                for block in [first, 2] {
                    let page = loop {
                        match pool.fetch(PageId::new(file, block)).wait() {
                            Ok(page) => break page,
                            // No frame but those whose write has failed.
                            Err(Error::Io { op: IoOp::Write, .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    };
                    let mut bytes = page.write().unwrap();
                    let version = version_of(&bytes, block);
                    stamp(&mut bytes, block, version + 1);
                }
            })
        });
        let checkpointer = {
            let pool = pool.clone();
            spawn(move || drop(pool.checkpoint(CheckpointOptions::new()).wait()))
        };
        join(writers.collect::<Vec<_>>().into_iter().chain([checkpointer]));
        disk.fail_writes(0);
        checkpoint(&pool);
        assert_eq!(versions_on(&disk), [1, 1, 2]);
        assert_at_rest(&pool);
    });
}

/// Changes made while the page is being written out are written by the next checkpoint.
#[test]
fn a_change_during_a_checkpoint_is_not_lost() {
    check(|method| {
        let (pool, file, disk) = pool_over(2, 2, method);
        (0..2).for_each(|block| increment(&pool, file, block));
        let changing = {
            let pool = pool.clone();
            spawn(move || (0..4).for_each(|n| increment(&pool, file, n % 2)))
        };
        let checkpointing = (0..2).map(|_| {
            let pool = pool.clone();
            spawn(move || (0..2).for_each(|_| checkpoint(&pool)))
        });
        join(checkpointing.collect::<Vec<_>>().into_iter().chain([changing]));
        checkpoint(&pool);
        assert_eq!(versions_on(&disk), [3, 3]);
    });
}

/// A page that is changed while the device reads it: what arrives is of one moment, readers see every change, and the log is
/// ahead of what is written.
#[test]
fn c8_what_is_lent_to_the_device_stays_as_the_log_covers_it() {
    check(|method| {
        let log = Log::default();
        let (pool, file, disk) = pool_with(2, 1, method, |builder| builder.wal(log.clone()));
        let change = |pool: &BufferPool, log: &Log| {
            let page = pool.fetch(PageId::new(file, 0)).wait().unwrap();
            let mut bytes = page.write().unwrap();
            let version = version_of(&bytes, 0) + 1;
            bytes.set_lsn(Lsn(version.into()));
            stamp(&mut bytes, 0, version);
            drop(bytes);
            assert!(version_of(&page.read(), 0) >= version);
            // A write may be half way through.
            let arrived = disk.bytes().chunks(PAGE / 2).map(|half| half[0]).max();
            assert!(arrived.map_or(0, u64::from) <= log.flushed_lsn().0, "the page overtook the log");
        };
        change(&pool, &log);
        let checkpointing = {
            let pool = pool.clone();
            spawn(move || (0..3).for_each(|_| checkpoint(&pool)))
        };
        (0..3).for_each(|_| change(&pool, &log));
        join([checkpointing]);
        checkpoint(&pool);
        assert_eq!(versions_on(&disk), [4]);
        assert_at_rest(&pool);
    });
}

/// The background writer beside fetches, changes and a checkpoint, in pools so small that all want the same frames, and a pool that
/// is dropped while it works.
#[test]
fn c1_updates_survive_the_background_writer() {
    check(|method| {
        const BLOCKS: u32 = 4;
        let writer = BackgroundWriter::ReadyFrames { low: 1, high: 2 };
        let (pool, file, disk) = pool_with(2, BLOCKS, method, |builder| builder.background_writer(writer));
        join([[0, 1, 2, 3], [3, 2, 0, 1]].map(|order| {
            let pool = pool.clone();
            spawn(move || order.into_iter().for_each(|block| increment(&pool, file, block)))
        }));
        checkpoint(&pool);
        assert_eq!(versions_on(&disk), [2; BLOCKS as usize]);
        (0..2).for_each(|block| increment(&pool, file, block));
        drop(pool);
        assert!(versions_on(&disk).iter().all(|&version| version == 2 || version == 3));
    });
}

/// What was dirty when a checkpoint began is on disk when it returns, whichever thread writes it.
#[test]
fn a_checkpoint_covers_what_others_are_writing() {
    check(|method| {
        let (pool, file, disk) = pool_over(2, 3, method);
        (0..2).for_each(|block| increment(&pool, file, block));
        let evicting = {
            let pool = pool.clone();
            spawn(move || _ = version(&pool, file, 2))
        };
        checkpoint(&pool);
        assert_eq!(versions_on(&disk)[..2], [1, 1]);
        join([evicting]);
    });
}

/// Futures that are dropped at any point, pools dropped with reads in flight, pages that outlive them.
#[test]
fn c5_dropping_anything_at_any_time_is_safe() {
    check(|method| {
        let (pool, file, _) = pool_over(2, 3, method);
        let dropping = {
            let pool = pool.clone();
            spawn(move || {
                for block in 0..3 {
                    let mut fetch = pin!(pool.fetch(PageId::new(file, block)));
                    let _ = fetch.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                }
            })
        };
        let prefetching = {
            let pool = pool.clone();
            spawn(move || _ = pool.prefetch(file.pages(0..3)))
        };
        let page = pool.fetch(PageId::new(file, 1)).wait().unwrap();
        drop(pool);
        join([dropping, prefetching]);
        let other = page.try_clone().unwrap();
        drop(page);
        assert_eq!(version_of(&other.read(), 1), 0);
        assert_eq!(version_of(&other.freeze(), 1), 0);
    });
}

/// A checkpoint that was left alone, at once or with time, and the pool dropped: nothing of it is written afterwards, when another
/// pool has the file.
#[test]
fn c5_a_checkpoint_that_was_left_alone_ends_with_the_pool() {
    check(|method| {
        let (pool, file, disk) = pool_over(4, 2, method.clone());
        (0..2).for_each(|block| increment(&pool, file, block));
        for options in
            [CheckpointOptions::new().spread_over(Duration::from_secs(1 << 20)), CheckpointOptions::new()]
        {
            let mut checkpoint = pin!(pool.checkpoint(options));
            assert!(checkpoint.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        drop(pool);
        assert_eq!(versions_on(&disk), [1; 2], "what was begun did not go to its end");
        let written = disk.writes();
        (0..50).for_each(|_| thread::yield_now());
        assert_eq!(disk.writes(), written, "written after the pool was gone");
    });
}

/// A dropped waiter for a latch neither keeps it nor loses it for the other waiters.
#[test]
fn latches_pass_over_waiters_that_are_gone() {
    check(|method| {
        let (pool, file, _) = pool_over(1, 1, method);
        let page = pool.fetch(PageId::new(file, 0)).wait().unwrap();
        let give_up = |page: crate::PinnedPage| {
            move || {
                let mut wait = pin!(page.write_async());
                if let Poll::Ready(Ok(mut bytes)) =
                    wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
                {
                    stamp(&mut bytes, 0, 1);
                }
            }
        };
        let go_on = |page: crate::PinnedPage| {
            move || {
                let version = version_of(&page.read(), 0);
                let mut bytes = page.write().unwrap();
                assert!(version_of(&bytes, 0) >= version);
                stamp(&mut bytes, 0, 1);
                assert_eq!(version_of(&bytes.downgrade(), 0), 1);
            }
        };
        let mut threads = vec![spawn(give_up(page.try_clone().unwrap()))];
        threads.extend((0..2).map(|_| spawn(go_on(page.try_clone().unwrap()))));
        join(threads);
        drop(page);
        assert_at_rest(&pool);
    });
}

/// With every frame pinned a fetch waits, gets the frame that comes free, and else an error; it does not hang.
#[test]
fn c6_all_pinned_ends_in_a_page_or_an_error() {
    check(|method| {
        let (pool, file, _) = pool_over(1, 2, method);
        let pinned = pool.fetch(PageId::new(file, 0)).wait().unwrap();
        let waiting = {
            let pool = pool.clone();
            spawn(move || {
                let options = Duration::from_millis(20);
                match pool.fetch(PageId::new(file, 1)).frame_wait(options).wait() {
                    Ok(page) => assert_eq!(version_of(&page.read(), 1), 0),
                    Err(Error::AllPinned { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            })
        };
        drop(pinned);
        join([waiting]);
        assert_at_rest(&pool);
    });
}

/// A file that does not answer has its share of the threads, and no more: tasks and look-ahead on another file go on.
#[test]
fn c6_a_file_that_does_not_answer_stops_no_other_file() {
    check(|method| {
        // One thread is all there is to share, and the sync method has none: then the file answers.
        let holds = matches!(method, IoMethod::Worker { threads: 2.. });
        let (pool, file, disk) = pool_over(8, 3, method);
        increment(&pool, file, 2);
        pool.evict(PageId::new(file, 2)).wait().unwrap();
        let late = pool.open_file(LATE, OpenOptions::new()).unwrap();
        disk.hold_late(holds);
        let stuck = [0, 2, 4].map(|block| {
            let pool = pool.clone();
            spawn(move || {
                let page = as_task(pool.fetch(PageId::new(late, block)));
                assert_eq!(version_of(&page.read(), block), 0);
            })
        });
        pool.prefetch(file.pages(0..1));
        let reading = {
            let pool = pool.clone();
            spawn(move || drop(as_task(pool.fetch(PageId::new(file, 0)))))
        };
        assert_eq!(version_of(&as_task(pool.fetch(PageId::new(file, 2))).read(), 2), 1);
        join([reading]);
        disk.hold_late(false);
        join(stuck);
        assert_at_rest(&pool);
    });
}

/// Two streams and an evictor on three frames: each stream gets its pages, in order, whichever thread takes the frames away.
#[test]
fn c6_streams_and_eviction_get_past_one_another() {
    check(|method| {
        const BLOCKS: u32 = 5;
        let (pool, file, _) = pool_over(4, BLOCKS, method);
        (0..BLOCKS).for_each(|block| increment(&pool, file, block));
        let streams = [false, true].map(|backward| {
            let pool = pool.clone();
            spawn(move || {
                let order = |block| if backward { BLOCKS - 1 - block } else { block };
                let options = if backward { StreamOptions::new().bulk() } else { StreamOptions::new() };
                let stream = pool.read_stream(file.pages((0..BLOCKS).map(order)), options);
                for (at, page) in (0..BLOCKS).zip(stream) {
                    let page = page.unwrap();
                    assert_eq!((page.id().block.0, version_of(&page.read(), order(at))), (order(at), 1));
                }
            })
        });
        let evicting = {
            let pool = pool.clone();
            spawn(move || {
                for block in 0..3 {
                    pool.evict(PageId::new(file, block)).wait().unwrap();
                }
            })
        };
        join(streams.into_iter().chain([evicting]));
        // A stream that found no clean frame has begun to write some, for any miss.
        checkpoint(&pool);
        assert_at_rest(&pool);
    });
}

/// A stream dropped with reads under way, for which fetches wait: they get their pages, and every place is given back.
#[test]
fn c5_a_stream_can_be_dropped_with_reads_under_way() {
    check(|method| {
        let (pool, file, _) = pool_over(8, 6, method);
        let dropping = [2, 3].map(|pages| {
            let pool = pool.clone();
            spawn(move || {
                let mut stream = pool.read_stream(file.pages(0..6), StreamOptions::new());
                for _ in 0..pages {
                    let next = pin!(stream.next_page());
                    let _ = next.poll(&mut Context::from_waker(Waker::noop()));
                }
            })
        });
        let pages = [0, 1, 2, 5].map(|block| PageId::new(file, block));
        for page in pool.fetch_many(&pages).wait().unwrap() {
            assert_eq!(version_of(&page.read(), page.id().block.0), 0);
        }
        join(dropping);
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        // Reads that no caller waits for end by themselves: a fetch of their pages waits for that.
        (0..6).for_each(|block| assert_eq!(version(&pool, file, block), 0));
        // Its place is given back a moment after a page can be seen.
        (0..100).for_each(|_| thread::yield_now());
        assert_at_rest(&pool);
    });
}

/// A writer changes two pages under both latches, in the opposite of the reader's order: pages that are read together are of one
/// moment, and neither thread waits for the other for ever.
#[test]
fn c6_pages_that_are_read_together_are_of_one_moment() {
    check(|method| {
        let (pool, file, _) = pool_over(4, 2, method);
        let pages = [0, 1].map(|block| PageId::new(file, block));
        let writing = {
            let pool = pool.clone();
            spawn(move || {
                for version in 1..3 {
                    let mut second = pool.write(pages[1]).wait().unwrap();
                    let mut first = pool.write(pages[0]).wait().unwrap();
                    stamp(&mut second, 1, version);
                    stamp(&mut first, 0, version);
                }
            })
        };
        let reading = [false, true].map(|twice| {
            let pool = pool.clone();
            spawn(move || {
                let list = if twice { vec![pages[0], pages[1], pages[0]] } else { pages.to_vec() };
                for _ in 0..2 {
                    let read = pool.read_many(&list).wait().unwrap();
                    assert_eq!(version_of(&read[0], 0), version_of(&read[1], 1));
                }
            })
        });
        join(reading.into_iter().chain([writing]));
        checkpoint(&pool);
        assert_at_rest(&pool);
    });
}

/// Returns the page, read as for a task: by the method's threads.
fn as_task(fetch: crate::pending::Fetch) -> crate::PinnedPage {
    let patience = Duration::from_secs(1 << 32);
    fetch.wait_timeout(patience).expect("time enough").unwrap()
}
