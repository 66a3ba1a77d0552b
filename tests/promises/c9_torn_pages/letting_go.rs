//! Copies that go with what is cut, closed or removed: not before they have no use any more, and then for good.

use std::{collections::BTreeSet, num::NonZeroU32};

use ringpool::{IoMethod, PageId};

use super::{Allowed, BLOCKS, TAGS, area, new_disk, open, path, pool_on, torn_pages};
use crate::support::{PAGE, stamped, stamped_file, with_each_method};

#[test]
fn c9_what_was_cut_removed_or_closed_does_not_come_back() {
    with_each_method(|method| {
        let disk = new_disk();
        let pool = pool_on(&disk, method, area()).unwrap();
        let files = TAGS.map(|tag| open(&pool, tag).unwrap());
        for file in files {
            for block in 0..BLOCKS {
                let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
                page.write().unwrap().copy_from_slice(&stamped(block, 2));
            }
            pool.flush_file(file).wait().unwrap();
        }
        // Cut, and grown again: the blocks are zeros, and durable.
        pool.truncate(files[0], 4).wait().unwrap();
        pool.extend(files[0], NonZeroU32::new(BLOCKS - 4).unwrap()).wait().unwrap();
        pool.sync_file(files[0]).wait().unwrap();
        // Removed, and another one with its tag.
        pool.drop_file(files[1]).wait().unwrap();
        disk.put(path(TAGS[1]), stamped_file(BLOCKS, 5));
        let found = disk.after_power_cut(3);
        let pool = pool_on(&found, IoMethod::Sync, area()).unwrap();
        let files = TAGS.map(|tag| open(&pool, tag).unwrap());
        for block in 4..BLOCKS {
            let page = pool.fetch(PageId::new(files[0], block)).wait().unwrap();
            assert!(page.read().iter().all(|&byte| byte == 0), "block {block} came back");
        }
        for block in 0..BLOCKS {
            let page = pool.fetch(PageId::new(files[1], block)).wait().unwrap();
            assert!(*page.read() == *stamped(block, 5), "block {block} of the removed file came back");
        }
        // Closed, and changed by somebody else.
        let page = pool.fetch(PageId::new(files[1], 0)).wait().unwrap();
        page.write().unwrap().copy_from_slice(&stamped(0, 6));
        drop(page);
        pool.close_file(files[1]).wait().unwrap();
        found.put(path(TAGS[1]), stamped_file(BLOCKS, 7));
        let found = found.after_power_cut(4);
        let pool = pool_on(&found, IoMethod::Sync, area()).unwrap();
        assert!(!pool.torn_page_tags().contains(&TAGS[1]));
        let file = open(&pool, TAGS[1]).unwrap();
        assert!(*pool.fetch(PageId::new(file, 0)).wait().unwrap().read() == *stamped(0, 7));
    });
}

#[test]
fn c9_a_cut_that_a_crash_undoes_leaves_whole_pages() {
    with_each_method(|method| {
        let disk = new_disk();
        let pool = pool_on(&disk, method, area()).unwrap();
        let file = open(&pool, TAGS[0]).unwrap();
        let mut allowed = Allowed::new();
        for block in 0..BLOCKS {
            let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
            page.write().unwrap().copy_from_slice(&stamped(block, 2));
            allowed.may_be(0, block, 2);
        }
        pool.flush_file(file).wait().unwrap();
        pool.truncate(file, 4).wait().unwrap();
        let lengths: BTreeSet<usize> = (0..20)
            .map(|seed| {
                let found = disk.after_power_cut(seed);
                let len = found.image(path(TAGS[0])).unwrap().len();
                if len == BLOCKS as usize * PAGE {
                    assert_eq!(torn_pages(&found, area(), &allowed), 0);
                }
                len
            })
            .collect();
        assert!(lengths.contains(&(BLOCKS as usize * PAGE)), "a test of nothing: {lengths:?}");
    });
}
