//! Copies that are kept for as long as they may be needed: writes that take long or fail half the way, syncs that fail.

use std::{thread, time::Duration};

use ringpool::{
    CheckpointOptions, Error, IoMethod, PageId,
    testing::{Fault, Op},
};

use super::{
    Allowed, BLOCKS, TAGS, area, change, new_disk, open, path, pool_on, torn_pages, version_at,
    write_half_way,
};
use crate::support::{EIO, PAGE, eventually, guarded, stamped, stamped_file, with_each_method};

#[test]
fn c9_copies_are_kept_for_as_long_as_a_page_is_on_its_way() {
    guarded(|| {
        let disk = new_disk();
        let pool = pool_on(&disk, IoMethod::worker(), area()).unwrap();
        let [slow, fast] = TAGS.map(|tag| open(&pool, tag).unwrap());
        (0..2).for_each(|block| change(&pool, slow, block, 2));
        let gate = disk.hold(Op::Write.of(path(TAGS[0])));
        let slowly = {
            let pool = pool.clone();
            thread::spawn(move || pool.flush_file(slow).wait())
        };
        gate.wait_for(1);
        // Other writes may go on until they need the half in which its copies lie.
        let round_and_round = {
            let pool = pool.clone();
            thread::spawn(move || {
                for version in 2..12 {
                    (0..BLOCKS).for_each(|block| change(&pool, fast, block, version));
                    pool.flush_file(fast).wait().unwrap();
                }
            })
        };
        let mut writes = 0;
        eventually("it goes no further", || {
            thread::sleep(Duration::from_millis(200));
            let before = std::mem::replace(&mut writes, disk.count(Op::Write.of(path(TAGS[1]))));
            before > 0 && before == writes
        });
        assert!(!round_and_round.is_finished(), "the copies are gone, and the page is half written");
        assert_eq!(gate.held(), 1, "it is written a second time while the first is under way");
        let mut allowed = Allowed::new();
        (0..BLOCKS).for_each(|block| (0..2).for_each(|file| allowed.may_be(file, block, 11)));
        assert_eq!(torn_pages(&disk.after_power_cut(1), area(), &allowed), 0);
        gate.open();
        slowly.join().unwrap().unwrap();
        round_and_round.join().unwrap();
    });
}

#[test]
fn c9_a_write_that_failed_half_way_is_repeated_before_its_copies_go() {
    with_each_method(|method| {
        let disk = new_disk();
        let pool = pool_on(&disk, method, area()).unwrap();
        let [failing, fine] = TAGS.map(|tag| open(&pool, tag).unwrap());
        write_half_way(&disk, &pool, failing, 3);
        let mut allowed = Allowed::new();
        allowed.may_be(0, 3, 2);
        // Each of these takes room in the area, until it has gone round more than once.
        for version in 2..40 {
            assert_eq!(torn_pages(&disk.after_power_cut(u64::from(version)), area(), &allowed), 0);
            (0..BLOCKS).for_each(|block| {
                allowed.may_be(1, block, version);
                change(&pool, fine, block, version);
            });
            pool.flush_file(fine).wait().unwrap();
        }
        assert_eq!((version_at(&disk, 3), pool.stats().frames.dirty), (Some(2), 1));
        // The pool still counts the page as dirty.
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    });
}

#[test]
fn c9_giving_up_what_is_in_use_changes_nothing() {
    guarded(|| {
        let disk = new_disk();
        let pool = pool_on(&disk, IoMethod::Sync, area()).unwrap();
        let file = open(&pool, TAGS[0]).unwrap();
        let mut allowed = Allowed::new();
        // Round and round the area, without a sync of the file but those that the area needs.
        for version in 2..20 {
            // A third of the blocks each time, so that the area never has copies of all.
            for block in (0..BLOCKS).skip(usize::from(version) % 3 * 4).take(4) {
                let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
                page.write().unwrap().copy_from_slice(&stamped(block, version));
                allowed.may_be(0, block, version);
            }
            pool.flush_file(file).wait().unwrap();
            pool.give_up_torn_pages(TAGS[0]).unwrap();
            assert_eq!(torn_pages(&disk.after_power_cut(version.into()), area(), &allowed), 0);
        }
    });
}

#[test]
fn c9_an_area_that_fails_keeps_every_page_dirty() {
    with_each_method(|method| {
        let disk = new_disk();
        let pool = pool_on(&disk, method, area()).unwrap();
        let file = open(&pool, TAGS[0]).unwrap();
        let page = pool.fetch(PageId::new(file, 3)).wait().unwrap();
        page.write().unwrap().copy_from_slice(&stamped(3, 2));
        drop(page);
        let checkpoint = || pool.checkpoint(CheckpointOptions::new()).wait();
        disk.inject(Fault::error(Op::Write.of("area"), EIO).once());
        assert_eq!(checkpoint().unwrap_err().raw_os_error(), Some(EIO));
        assert_eq!((pool.stats().frames.dirty, disk.count(Op::Write.of(path(TAGS[0])))), (1, 0));
        checkpoint().unwrap();
        assert!(disk.durable_image(path(TAGS[0])).unwrap()[3 * PAGE..4 * PAGE] == stamped(3, 2));
        // A sync that failed never counts as done.
        let page = pool.fetch(PageId::new(file, 3)).wait().unwrap();
        page.write().unwrap().copy_from_slice(&stamped(3, 3));
        drop(page);
        disk.inject(Fault::error(Op::Sync.of("area"), EIO).once());
        for _ in 0..3 {
            let error = checkpoint().unwrap_err();
            assert!(error.to_string().contains("sync of area failed"), "{error}");
        }
        assert_eq!((pool.stats().frames.dirty, disk.count(Op::Write.of(path(TAGS[0])))), (1, 1));
    });
}

#[test]
fn c9_a_poisoned_file_keeps_its_copies_until_it_is_opened_anew() {
    with_each_method(|method| {
        let disk = new_disk();
        let pool = pool_on(&disk, method, area()).unwrap();
        let file = open(&pool, TAGS[0]).unwrap();
        for block in 0..4 {
            let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
            page.write().unwrap().copy_from_slice(&stamped(block, 2));
        }
        disk.inject(Fault::error(Op::Sync.of(path(TAGS[0])), EIO).once());
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap_err();
        assert!(matches!(pool.close_file(file).wait(), Err(Error::SyncPoisoned { .. })));
        // As the failed sync may have left it.
        let torn = {
            let mut bytes = stamped_file(BLOCKS, 2);
            bytes[PAGE + 512..2 * PAGE].copy_from_slice(&stamped(1, 1)[512..]);
            bytes
        };
        disk.put(path(TAGS[0]), torn);
        let file = open(&pool, TAGS[0]).unwrap();
        assert_eq!(pool.stats().counts.pages_restored, 1);
        assert!(*pool.fetch(PageId::new(file, 1)).wait().unwrap().read() == *stamped(1, 2));
        assert!(disk.durable_image(path(TAGS[0])).unwrap()[PAGE..2 * PAGE] == stamped(1, 2));
    });
}

#[test]
fn c9_a_poisoned_file_that_is_given_up_lends_its_pages_to_no_other() {
    guarded(|| {
        let disk = new_disk();
        let pool = pool_on(&disk, IoMethod::Sync, area()).unwrap();
        let file = open(&pool, TAGS[0]).unwrap();
        let page = pool.fetch(PageId::new(file, 1)).wait().unwrap();
        page.write().unwrap().copy_from_slice(&stamped(1, 2));
        drop(page);
        disk.inject(Fault::error(Op::Sync.of(path(TAGS[0])), EIO).once());
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap_err();
        pool.close_file(file).wait().unwrap_err();
        pool.give_up_torn_pages(TAGS[0]).unwrap();
        disk.put(path(TAGS[0]), stamped_file(BLOCKS, 9));
        for disk in [disk.clone(), disk.after_power_cut(1)] {
            let pool = pool_on(&disk, IoMethod::Sync, area()).unwrap();
            let file = open(&pool, TAGS[0]).unwrap();
            assert!(*pool.fetch(PageId::new(file, 1)).wait().unwrap().read() == *stamped(1, 9));
        }
    });
}
