//! Scenarios of a pool that changes its size.

use std::time::Duration;

use super::{assert_at_rest, check, checkpoint, increment, join, pool_with, spawn, version, versions_on};
use crate::{BufferPool, Builder, Error, PageId, StreamOptions, sync::thread};

/// Changes the size. A shrink that pins stop leaves it as it was.
fn resize(pool: &BufferPool, frames: u32) {
    let before = pool.stats().frames.total;
    let now = match pool.resize(frames).wait() {
        Ok(report) => report.frames,
        Err(Error::Pinned { .. }) if frames < before => before,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(pool.stats().frames.total, now);
}

/// Growing and shrinking under threads that add to pages and evict one another's pages: nothing is lost, no page is mixed up.
#[test]
fn c1_updates_survive_resizes() {
    check(|method| {
        const BLOCKS: u32 = 3;
        let (pool, file, disk) = pool_with(2, BLOCKS, method, |builder| builder.frames_at_most(3));
        let users = [[0, 1, 2], [2, 0, 1]].map(|order| {
            let pool = pool.clone();
            spawn(move || order.into_iter().for_each(|block| increment(&pool, file, block)))
        });
        let resizing = {
            let pool = pool.clone();
            spawn(move || [1, 3, 1].into_iter().for_each(|frames| resize(&pool, frames)))
        };
        join(users.into_iter().chain([resizing]));
        (0..BLOCKS).for_each(|block| assert_eq!(version(&pool, file, block), 2));
        assert_at_rest(&pool);
        resize(&pool, 1);
        checkpoint(&pool);
        assert_eq!(versions_on(&disk), [2; BLOCKS as usize]);
        assert_at_rest(&pool);
    });
}

/// A miss takes a frame that has no page, whichever shard that is in and whichever thread uses the shard, before any page goes.
#[test]
fn no_page_goes_while_there_is_a_free_frame() {
    check(|method| {
        const BLOCKS: u32 = 5;
        let (pool, file, _) = pool_with(2, BLOCKS, method, |builder| builder.frames_at_most(BLOCKS));
        (0..2).for_each(|block| increment(&pool, file, block));
        resize(&pool, BLOCKS);
        join([2, 3, 4].map(|block| {
            let pool = pool.clone();
            spawn(move || increment(&pool, file, block))
        }));
        assert_eq!(pool.resident_pages().len(), BLOCKS as usize);
        assert_at_rest(&pool);
    });
}

/// A checkpoint writes what is dirty in a frame that has just come.
#[test]
fn c3_a_checkpoint_misses_no_frame_that_has_just_come() {
    check(|method| {
        let (pool, file, disk) = pool_with(1, 2, method, |builder| builder.frames_at_most(2));
        let growing = {
            let pool = pool.clone();
            spawn(move || resize(&pool, 2))
        };
        increment(&pool, file, 0);
        increment(&pool, file, 1);
        checkpoint(&pool);
        assert_eq!(versions_on(&disk), [1, 1]);
        join([growing]);
        assert_at_rest(&pool);
    });
}

/// A cut against a pool that grows: what is cut does not stay in a frame that has just come.
#[test]
fn c1_a_cut_misses_no_frame_that_has_just_come() {
    check(|method| {
        let (pool, file, _) = pool_with(1, 2, method, |builder| builder.frames_at_most(2));
        let growing = {
            let pool = pool.clone();
            spawn(move || resize(&pool, 2))
        };
        let reading = {
            let pool = pool.clone();
            spawn(move || match pool.fetch(PageId::new(file, 1)).wait() {
                Ok(_) | Err(Error::PastEof { .. }) => {}
                Err(error) => panic!("{error}"),
            })
        };
        pool.truncate(file, 1).wait().unwrap();
        join([growing, reading]);
        assert_at_rest(&pool);
    });
}

/// A shrink beside pins that stop it for a while, a stream and a checkpoint: a shrink goes through or leaves everything in place,
/// and a miss that wanted a frame meanwhile gets one.
#[test]
fn c6_a_shrink_beside_pins_streams_and_checkpoints_ends() {
    check(|method| {
        let impatient = |builder: Builder| builder.frames_at_most(3).frame_wait(Duration::from_millis(40));
        let (pool, file, disk) = pool_with(3, 3, method, impatient);
        (0..3).for_each(|block| increment(&pool, file, block));
        let patient = |mut attempt: Box<dyn FnMut() -> Result<(), Error>>| {
            while let Err(error) = attempt() {
                assert!(matches!(error, Error::AllPinned { .. }), "{error}");
            }
        };
        let pinning = {
            let pool = pool.clone();
            spawn(move || {
                patient(Box::new(move || {
                    let page = pool.fetch(PageId::new(file, 2)).wait()?;
                    (0..10).for_each(|_| thread::yield_now());
                    drop(page);
                    Ok(())
                }));
            })
        };
        let streaming = {
            let pool = pool.clone();
            spawn(move || {
                patient(Box::new(move || {
                    pool.read_stream(file.pages(0..3_u32), StreamOptions::new())
                        .try_for_each(|page| page.map(drop))
                }));
            })
        };
        let checkpointing = {
            let pool = pool.clone();
            spawn(move || checkpoint(&pool))
        };
        resize(&pool, 1);
        join([pinning, streaming, checkpointing]);
        assert_eq!(versions_on(&disk), [1; 3]);
        assert_at_rest(&pool);
    });
}
