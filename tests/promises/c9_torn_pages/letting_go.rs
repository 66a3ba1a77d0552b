//! Copies of what is cut, closed or removed: they are voided when they are not needed any more, not before, and for good.

use std::{collections::BTreeSet, num::NonZeroU32, thread, time::Duration};

use ringpool::{
    BufferPool, Error, FileId, IoMethod, PageId,
    testing::{Fault, Op, SimDisk},
};

use super::{
    Allowed, BLOCKS, FRAMES, TAGS, area, change, new_disk, open, path, pool_on, torn_pages, version_at,
    write_half_way,
};
use crate::support::{EIO, PAGE, eventually, guarded, stamped, stamped_file, with_each_method};

/// The block of the first file that is written only half.
const HALF: u32 = 8;

/// Makes a disk whose files are both open, and the first of them.
fn in_use(method: IoMethod) -> (SimDisk, BufferPool, FileId) {
    let disk = new_disk();
    let pool = pool_on(&disk, method, area()).unwrap();
    let [file, _] = TAGS.map(|tag| open(&pool, tag).unwrap());
    (disk, pool, file)
}

/// Asserts that every page is whole after a power cut now; those of the first file may have version 2.
#[track_caller]
fn assert_whole(disk: &SimDisk) {
    let mut allowed = Allowed::new();
    (0..BLOCKS).for_each(|block| {
        allowed.may_be(0, block, 2);
        allowed.may_be(1, block, u8::MAX);
    });
    for seed in 0..20 {
        assert_eq!(torn_pages(&disk.after_power_cut(seed), area(), &allowed), 0, "seed {seed}");
    }
}

/// Cuts the first file, and extends it again: a crash brings nothing back.
#[track_caller]
fn assert_cut_for_good(disk: &SimDisk, pool: &BufferPool, file: FileId) {
    pool.truncate(file, 4).wait().unwrap();
    pool.extend(file, NonZeroU32::new(BLOCKS - 4).unwrap()).wait().unwrap();
    pool.sync_file(file).wait().unwrap();
    let found = pool_on(&disk.after_power_cut(3), IoMethod::Sync, area()).unwrap();
    let file = open(&found, TAGS[0]).unwrap();
    let page = found.fetch(PageId::new(file, HALF)).wait().unwrap();
    assert!(page.read().iter().all(|&byte| byte == 0), "what was cut came back");
}

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
        // Closed, and changed by another program.
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

#[test]
fn c9_a_cut_that_cannot_be_made_leaves_no_page_half_written() {
    with_each_method(|method| {
        let (disk, pool, file) = in_use(method);
        write_half_way(&disk, &pool, file, HALF);
        disk.inject(Fault::error(Op::Resize.of(path(TAGS[0])), EIO).once());
        pool.truncate(file, 4).wait().unwrap_err();
        assert_whole(&disk);
        // One that can be made, and that a crash undoes. What was repeated is not repeated once more.
        let reads = disk.count(Op::Read.of("area"));
        pool.truncate(file, 4).wait().unwrap();
        assert_eq!(disk.count(Op::Read.of("area")), reads);
        let undone = (0..20).map(|seed| disk.after_power_cut(seed)).find(|found| {
            let len = found.image(path(TAGS[0])).unwrap().len();
            len == BLOCKS as usize * PAGE
        });
        assert_whole(&undone.expect("a cut that was undone"));
    });
}

#[test]
fn c9_a_page_that_stays_half_written_keeps_its_copy_and_its_place() {
    with_each_method(|method| {
        let (disk, pool, file) = in_use(method);
        write_half_way(&disk, &pool, file, HALF);
        disk.inject(Fault::error(Op::Write.of(path(TAGS[0])), EIO));
        let refused = pool.truncate(file, 4).wait().unwrap_err();
        assert!(matches!(refused, Error::File { .. }) && refused.raw_os_error() == Some(EIO), "{refused}");
        assert_eq!((pool.blocks(file).unwrap(), pool.stats().frames.dirty), (BLOCKS, 1));
        assert_whole(&disk);
        disk.heal();
        pool.truncate(file, 4).wait().unwrap();
    });
}

#[test]
fn c9_a_half_begun_anew_repeats_what_lies_behind_a_cut_that_is_under_way() {
    with_each_method(|method| {
        let disk = new_disk();
        let builder = BufferPool::builder().frames(FRAMES).page_size(PAGE as u32).io_method(method);
        let patient = builder.torn_pages(area()).frame_wait(Duration::from_secs(60));
        let pool = patient.storage(disk.clone()).build().unwrap();
        let [file, fine] = TAGS.map(|tag| open(&pool, tag).unwrap());
        write_half_way(&disk, &pool, file, HALF);
        let pinned = pool.fetch(PageId::new(file, HALF + 1)).wait().unwrap();
        let cutting = {
            let pool = pool.clone();
            thread::spawn(move || pool.truncate(file, 4).wait())
        };
        eventually("it waits for the pin", || pool.blocks(file).unwrap() == 4);
        let mut version = 2;
        while version_at(&disk, HALF).is_none() {
            assert!(version < 40, "the area has gone round");
            (0..BLOCKS).for_each(|block| change(&pool, fine, block, version));
            pool.flush_file(fine).wait().unwrap();
            version += 1;
        }
        assert_whole(&disk);
        drop(pinned);
        cutting.join().unwrap().unwrap();
        assert_eq!(disk.image(path(TAGS[0])).unwrap().len(), 4 * PAGE);
    });
}

#[test]
fn c9_a_removal_that_cannot_be_made_leaves_no_page_half_written() {
    with_each_method(|method| {
        // What failed half the way can be repeated, or cannot.
        for is_broken in [false, true] {
            let (disk, pool, file) = in_use(method.clone());
            (0..HALF).for_each(|block| change(&pool, file, block, 2));
            pool.flush_file(file).wait().unwrap();
            write_half_way(&disk, &pool, file, HALF);
            if is_broken {
                disk.inject(Fault::error(Op::Write.of(path(TAGS[0])), EIO));
            }
            disk.inject(Fault::error(Op::Remove.of(path(TAGS[0])), EIO).once());
            pool.drop_file(file).wait().unwrap_err();
            assert_whole(&disk);
            disk.heal();
            // It was closed all the same, and what it shows is whole.
            let file = open(&pool, TAGS[0]).unwrap();
            assert!(version_at(&disk, HALF).is_some());
            pool.drop_file(file).wait().unwrap();
        }
    });
}

#[test]
fn c9_a_removed_file_leaves_no_copies_although_it_could_not_be_written() {
    with_each_method(|method| {
        for op in [Op::Write, Op::Sync] {
            let disk = new_disk();
            let pool = pool_on(&disk, method.clone(), area()).unwrap();
            let file = open(&pool, TAGS[0]).unwrap();
            write_half_way(&disk, &pool, file, HALF);
            disk.inject(Fault::error(op.of(path(TAGS[0])), EIO));
            pool.drop_file(file).wait().unwrap();
            assert_eq!(disk.image(path(TAGS[0])), None);
            assert_eq!(
                pool_on(&disk.after_power_cut(0), IoMethod::Sync, area()).unwrap().torn_page_tags(),
                []
            );
            disk.heal();
            // Neither to the next file with its tag.
            disk.put(path(TAGS[0]), stamped_file(BLOCKS, 5));
            let file = open(&pool, TAGS[0]).unwrap();
            let page = pool.fetch(PageId::new(file, HALF)).wait().unwrap();
            assert!(*page.read() == *stamped(HALF, 5));
        }
    });
}

#[test]
fn c9_a_power_cut_during_a_removal_leaves_a_file_of_whole_pages_or_none() {
    guarded(|| {
        let mut found_again = 0;
        for operation in 1.. {
            let disk = new_disk();
            let pool = pool_on(&disk, IoMethod::Sync, area()).unwrap();
            let file = open(&pool, TAGS[0]).unwrap();
            (0..BLOCKS).for_each(|block| change(&pool, file, block, 2));
            pool.flush_file(file).wait().unwrap();
            disk.cut_power_during(operation);
            let removed = pool.drop_file(file).wait();
            if disk.image(path(TAGS[0])).is_some() {
                assert_whole(&disk);
                found_again += 1;
            } else {
                // Whatever the area has of it, the pool does not wait for it to be opened.
                assert_eq!(
                    pool_on(&disk.after_power_cut(0), IoMethod::Sync, area()).unwrap().torn_page_tags(),
                    []
                );
            }
            if !disk.is_without_power() {
                removed.unwrap();
                return assert!(found_again > 2, "a test of nothing");
            }
        }
    });
}

#[test]
fn c9_a_page_written_while_its_file_is_being_closed_is_whole() {
    with_each_method(|method| {
        for is_broken in [false, true] {
            let (disk, pool, file) = in_use(method.clone());
            let gate = disk.hold(Op::Sync.of(path(TAGS[0])));
            let closing = {
                let pool = pool.clone();
                thread::spawn(move || pool.close_file(file).wait())
            };
            gate.wait_for(1);
            // The sync that is under way does not cover this; the next one may fail.
            change(&pool, file, HALF, 2);
            pool.flush_file(file).wait().unwrap();
            if is_broken {
                disk.inject(Fault::error(Op::Sync.of(path(TAGS[0])), EIO).nth(2));
            }
            gate.open();
            match closing.join().unwrap() {
                Err(Error::SyncPoisoned { .. }) => assert!(is_broken),
                closed => assert!(closed.is_ok() && !is_broken, "{closed:?}"),
            }
            assert!(matches!(pool.blocks(file), Err(Error::NotOpen { .. })));
            assert_whole(&disk);
        }
    });
}

#[test]
fn c9_what_a_poisoned_file_left_is_put_back_once() {
    with_each_method(|method| {
        let disk = new_disk();
        let pool = pool_on(&disk, method, area()).unwrap();
        let file = open(&pool, TAGS[0]).unwrap();
        change(&pool, file, HALF, 2);
        pool.flush_file(file).wait().unwrap();
        disk.inject(Fault::error(Op::Sync.of(path(TAGS[0])), EIO).once());
        pool.close_file(file).wait().unwrap_err();
        pool.close_file(file).wait().unwrap_err();
        let file = open(&pool, TAGS[0]).unwrap();
        assert_cut_for_good(&disk, &pool, file);
    });
}

#[test]
fn c9_a_half_that_could_not_be_begun_anew_still_has_its_copies() {
    with_each_method(|method| {
        let disk = new_disk();
        let pool = pool_on(&disk, method, area()).unwrap();
        let [file, other] = TAGS.map(|tag| open(&pool, tag).unwrap());
        (0..BLOCKS).for_each(|block| change(&pool, file, block, 2));
        pool.flush_file(file).wait().unwrap();
        let area_bytes = disk.image("area").unwrap();
        let copy = stamped(HALF, 2);
        let at = area_bytes.chunks(PAGE).position(|unit| unit == copy).unwrap();
        // The headers come first, then the records of one half, those of the other, and a tail.
        let is_in_second = at > area_bytes.len() / PAGE / 2;
        let header = u64::from(is_in_second) * PAGE as u64;
        disk.inject(Fault::error(Op::Write.of("area"), EIO).touching(header..header + 1));
        let refused = (2..40).find_map(|version| {
            (0..BLOCKS).for_each(|block| change(&pool, other, block, version));
            pool.flush_file(other).wait().err()
        });
        assert_eq!(refused.unwrap().raw_os_error(), Some(EIO), "it was not begun anew");
        disk.heal();
        assert_cut_for_good(&disk, &pool, file);
    });
}
