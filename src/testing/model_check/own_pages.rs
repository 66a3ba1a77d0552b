//! Callers that wait for a page while they keep other callers from it: from an iterator, or while they hold a latch.

use super::{
    assert_at_rest, check, checkpoint, increment, join, pool_over, spawn, version, version_of, versions_on,
};
use crate::PageId;

/// Iterators that fetch the very blocks that they gave, beside fetches of these, a change and a cut.
#[test]
fn c10_iterators_that_wait_for_their_own_blocks_get_on() {
    check(|method| {
        const BLOCKS: u32 = 4;
        let (pool, file, _) = pool_over(8, BLOCKS + 2, method);
        (0..BLOCKS).for_each(|block| increment(&pool, file, block));
        (0..BLOCKS).for_each(|block| _ = pool.evict(PageId::new(file, block)).wait().unwrap());
        let prefetching = [false, true].map(|backward| {
            let pool = pool.clone();
            spawn(move || {
                let order = |n| if backward { BLOCKS - 1 - n } else { n };
                let blocks = (0..BLOCKS).map(|n| {
                    if n > 0 {
                        assert_eq!(version(&pool, file, order(n - 1)), 1);
                    }
                    order(n)
                });
                pool.prefetch(file.pages(blocks));
            })
        });
        pool.truncate(file, BLOCKS).wait().unwrap();
        assert_eq!(version(&pool, file, 1), 1);
        join(prefetching);
        // A read that no caller waits for ends a moment after its page can be seen.
        (0..BLOCKS).for_each(|block| assert_eq!(version(&pool, file, block), 1));
        (0..100).for_each(|_| crate::sync::thread::yield_now());
        assert_at_rest(&pool);
    });
}

/// A thread with a read guard of a page waits for a checkpoint of it, while other threads are in line to change the page.
#[test]
fn c6_a_checkpoint_needs_no_turn_among_the_threads_that_wait_to_change_a_page() {
    check(|method| {
        let (pool, file, disk) = pool_over(2, 1, method);
        increment(&pool, file, 0);
        let view = pool.read(PageId::new(file, 0)).wait().unwrap();
        let writing = [(); 2].map(|()| {
            let pool = pool.clone();
            spawn(move || increment(&pool, file, 0))
        });
        checkpoint(&pool);
        assert_eq!((version_of(&view, 0), versions_on(&disk)), (1, vec![1]));
        drop(view);
        checkpoint(&pool);
        join(writing);
        checkpoint(&pool);
        assert_eq!(versions_on(&disk), [3]);
        assert_at_rest(&pool);
    });
}
