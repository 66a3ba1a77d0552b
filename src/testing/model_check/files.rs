//! Scenarios of files that grow, are cut, closed and removed.

use std::time::Duration;

use super::{
    PAGE, assert_at_rest, check, checkpoint, disk::SteppedDisk, increment, join, pool_over, pool_with, spawn,
    stamp, version, version_of, versions_on,
};
use crate::{
    BufferPool, Builder, Error, IoMethod, OpenOptions, PageId,
    sync::{Arc, Mutex, thread},
};

/// Truncation against reads, prefetches and write-outs of the very blocks: what is cut is gone, also after growing again.
#[test]
fn a_truncated_page_never_comes_back() {
    check(|method: IoMethod| {
        let (pool, file, disk) = pool_over(3, 3, method);
        increment(&pool, file, 2);
        let reading = {
            let pool = pool.clone();
            spawn(move || {
                for block in [2, 0, 2] {
                    match pool.fetch(PageId::new(file, block)).wait() {
                        Ok(page) => drop(version_of(&page.read(), block)),
                        Err(Error::PastEof { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                pool.prefetch(file.pages(0..3));
            })
        };
        let checkpointing = {
            let pool = pool.clone();
            spawn(move || checkpoint(&pool))
        };
        pool.truncate(file, 1).wait().unwrap();
        assert_eq!(disk.bytes().len(), PAGE);
        join([reading, checkpointing]);
        assert_eq!(disk.bytes().len(), PAGE, "something was written behind the end");
        pool.extend(file, std::num::NonZeroU32::new(2).unwrap()).wait().unwrap();
        assert_eq!(version(&pool, file, 2), 0, "the old page came back");
        assert_at_rest(&pool);
    });
}

/// A cut that a pin may stop at any moment, against changes of what lies behind it and a checkpoint: it takes all pages or none.
/// Where it takes none every change is there, and a checkpoint that began after it covers them.
#[test]
fn a_cut_that_fails_keeps_every_change() {
    check(|method| {
        let impatient = |builder: Builder| builder.frame_wait(Duration::from_millis(12));
        let (pool, file, disk) = pool_with(4, 4, method, impatient);
        (0..4).for_each(|block| increment(&pool, file, block));
        let pinning = {
            let pool = pool.clone();
            spawn(move || match pool.fetch(PageId::new(file, 3)).wait() {
                Ok(page) => {
                    (0..10).for_each(|_| thread::yield_now());
                    assert_eq!(version_of(&page.read(), 3), 1);
                }
                Err(Error::PastEof { .. }) => {}
                Err(error) => panic!("{error}"),
            })
        };
        let changes = Arc::new(Mutex::new(1));
        let changing = {
            let (pool, changes) = (pool.clone(), Arc::clone(&changes));
            spawn(move || match pool.fetch(PageId::new(file, 2)).wait() {
                Ok(page) => {
                    stamp(&mut page.write().unwrap(), 2, 2);
                    *changes.lock() = 2;
                }
                Err(Error::PastEof { .. }) => {}
                Err(error) => panic!("{error}"),
            })
        };
        let checkpointing = {
            let (pool, disk) = (pool.clone(), disk.clone());
            spawn(move || {
                checkpoint(&pool);
                // What was cut meanwhile is gone; what was not is there.
                assert!(versions_on(&disk).iter().all(|&version| version > 0));
            })
        };
        let cut = pool.truncate(file, 1).wait();
        join([pinning, changing, checkpointing]);
        match cut {
            Ok(()) => assert_eq!(disk.bytes().len(), PAGE),
            Err(Error::Pinned { .. }) => {
                let versions: Vec<_> = (0..4).map(|block| version(&pool, file, block)).collect();
                assert_eq!(versions, [1, 1, *changes.lock(), 1]);
                checkpoint(&pool);
                assert_eq!(versions_on(&disk), versions);
            }
            Err(error) => panic!("{error}"),
        }
        assert_at_rest(&pool);
    });
}

/// Closing a file against fetches of its pages: they end with the page or with an error, and the close goes through.
#[test]
fn closing_a_file_in_use_ends_well() {
    check(|method| {
        let (pool, file, disk) = pool_over(2, 2, method);
        increment(&pool, file, 0);
        let using = (0..2).map(|block| {
            let pool = pool.clone();
            spawn(move || match pool.fetch(PageId::new(file, block)).wait() {
                Ok(page) => drop(version_of(&page.read(), block)),
                Err(Error::NotOpen { .. }) => {}
                Err(error) => panic!("{error}"),
            })
        });
        let using: Vec<_> = using.collect();
        pool.close_file(file).wait().unwrap();
        join(using);
        assert_eq!(version_of(&disk.bytes()[..PAGE], 0), 1);
        assert_at_rest(&pool);
        assert_eq!(pool.stats().frames.resident, 0, "a page of a closed file stayed");
    });
}

/// Extenders among themselves, with the next step zeroed in the background and a truncation in between: no block is given to two
/// extenders, and each is zero when it is given.
#[test]
fn extenders_get_blocks_of_their_own() {
    check(|method| {
        let disk = SteppedDisk::new();
        let builder = BufferPool::builder().frames(4).page_size(PAGE as u32).io_method(method);
        let pool = builder.frame_wait(Duration::from_secs(10)).storage(disk.clone()).build().unwrap();
        let file = pool.open_file("file", OpenOptions::new().grow_by_blocks(2)).unwrap();
        join((0..3).map(|_| {
            let pool = pool.clone();
            spawn(move || {
                for blocks in [1, 2] {
                    let blocks = std::num::NonZeroU32::new(blocks).unwrap();
                    let extended = pool.extend(file, blocks).wait().unwrap();
                    for block in extended.first.0..extended.first.0 + blocks.get() {
                        assert_eq!(version(&pool, file, block), 0, "another caller has block {block}");
                        increment(&pool, file, block);
                    }
                }
            })
        }));
        assert_eq!(pool.blocks(file).unwrap(), 9);
        pool.truncate(file, 4).wait().unwrap();
        let more = std::num::NonZeroU32::new(1).unwrap();
        assert_eq!(pool.extend(file, more).wait().unwrap().first.0, 4);
        assert_eq!((0..5).map(|block| version(&pool, file, block)).collect::<Vec<_>>(), [1, 1, 1, 1, 0]);
        pool.close_file(file).wait().unwrap();
        assert_eq!(versions_on(&disk), [1, 1, 1, 1, 0]);
    });
}

/// Removing a file against fetches, prefetches, changes and write-outs of its pages: nothing is written afterwards.
#[test]
fn a_removed_file_is_not_written_once_more() {
    check(|method| {
        let (pool, file, disk) = pool_over(2, 2, method);
        increment(&pool, file, 0);
        let using = {
            let pool = pool.clone();
            spawn(move || {
                for block in [1, 0] {
                    match pool.fetch(PageId::new(file, block)).wait() {
                        Ok(page) => drop(version_of(&page.read(), block)),
                        Err(Error::NotOpen { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                pool.prefetch(file.pages(0..2));
            })
        };
        let checkpointing = {
            let pool = pool.clone();
            spawn(move || checkpoint(&pool))
        };
        pool.drop_file(file).wait().unwrap();
        assert_eq!(disk.bytes().len(), 0);
        join([using, checkpointing]);
        assert_eq!(disk.bytes().len(), 0, "something was written to a file that is gone");
        assert_at_rest(&pool);
        assert_eq!(pool.stats().frames.resident, 0, "a page of a removed file stayed");
    });
}
