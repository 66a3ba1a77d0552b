//! Syncs that fail, of a file and of the area: what they covered may be on no disk, so the copies that exist stay, and those that
//! may not exist are not trusted.

use ringpool::{
    BufferPool, CheckpointOptions, Error, FileId, IoMethod, IoOp, Result, Shutdown,
    testing::{Fault, Op, SimDisk},
};

use super::{Allowed, BLOCKS, TAGS, area, change, new_disk, open, path, pool_on, torn_pages, version_at};
use crate::support::{EIO, guarded, stamped_file, with_each_method};

/// Asserts that every page is whole after a power cut now, and no older than version 1.
#[track_caller]
fn assert_whole(disk: &SimDisk) {
    let mut allowed = Allowed::new();
    (0..BLOCKS).for_each(|block| (0..2).for_each(|file| allowed.may_be(file, block, u8::MAX)));
    for seed in 0..4 {
        assert_eq!(torn_pages(&disk.after_power_cut(seed), area(), &allowed), 0, "seed {seed}");
    }
}

/// Has the next sync of a file fail.
fn poison(disk: &SimDisk, pool: &BufferPool, file: FileId, tag: u64) {
    disk.inject(Fault::error(Op::Sync.of(path(tag)), EIO).once());
    assert_eq!(pool.sync_file(file).wait().unwrap_err().raw_os_error(), Some(EIO));
}

/// Changes all pages of a file and writes them.
fn write_all(pool: &BufferPool, file: FileId, version: u8) -> Result<()> {
    (0..BLOCKS).for_each(|block| change(pool, file, block, version));
    pool.flush_file(file).wait().map(drop)
}

/// Writes a file until the area has no room. Returns the files that need their copies.
fn fill_up(pool: &BufferPool, file: FileId) -> Vec<u64> {
    match (2..60).find_map(|version| write_all(pool, file, version).err()) {
        Some(Error::TornPages { tags }) => tags.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn c9_copies_of_a_poisoned_file_stay_until_it_is_opened_anew() {
    with_each_method(|method| {
        // What was written before the sync that failed, and what was written after it.
        for is_written_after in [false, true] {
            let disk = new_disk();
            let pool = pool_on(&disk, method.clone(), area()).unwrap();
            let [file, other] = TAGS.map(|tag| open(&pool, tag).unwrap());
            write_all(&pool, file, 2).unwrap();
            poison(&disk, &pool, file, TAGS[0]);
            if is_written_after {
                write_all(&pool, file, 3).unwrap();
            }
            // Other files go on as long as there is room; then each write of them is an error, and nothing is lost.
            for _ in 0..2 {
                assert_eq!(fill_up(&pool, other), [TAGS[0]]);
                assert_whole(&disk);
            }
            assert_eq!(pool.stats().frames.dirty, BLOCKS);
            assert!(matches!(pool.close_file(file).wait(), Err(Error::SyncPoisoned { .. })));
            assert_eq!((fill_up(&pool, other), pool.torn_page_tags()), (vec![TAGS[0]], vec![TAGS[0]]));
            assert_whole(&disk);
            open(&pool, TAGS[0]).unwrap();
            assert_eq!(pool.torn_page_tags(), []);
            (2..40).try_for_each(|version| write_all(&pool, other, version)).unwrap();
            assert_whole(&disk);
            pool.shutdown(Shutdown::Flush).unwrap();
        }
    });
}

#[test]
fn c9_files_that_are_poisoned_one_after_the_other_are_all_opened_anew() {
    guarded(|| {
        // Without a power cut, and with one at each operation.
        for operation in 0.. {
            let disk = new_disk();
            let pool = pool_on(&disk, IoMethod::Sync, area()).unwrap();
            let mut files = TAGS.map(|tag| open(&pool, tag).unwrap());
            // Copies of both in both halves, and no room for more.
            files.iter().for_each(|&file| write_all(&pool, file, 2).unwrap());
            files.iter().zip(TAGS).for_each(|(&file, tag)| poison(&disk, &pool, file, tag));
            while files.iter().try_for_each(|&file| write_all(&pool, file, 3)).is_ok() {}
            assert_eq!(fill_up(&pool, files[1]), TAGS);
            if operation > 0 {
                disk.cut_power_during(operation);
            }
            for (file, tag) in files.iter_mut().zip(TAGS) {
                let _ = pool.close_file(*file).wait();
                if let Ok(opened) = open(&pool, tag) {
                    *file = opened;
                    // Whatever is changed without a copy, such as its length: it stays so.
                    let cut = pool.truncate(*file, BLOCKS).wait();
                    assert!(cut.is_ok() || disk.is_without_power(), "{cut:?}");
                }
                assert_whole(&disk);
            }
            if operation == 0 {
                files.iter().for_each(|&file| write_all(&pool, file, 3).unwrap());
                pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
                assert_whole(&disk);
            } else if !disk.is_without_power() {
                return;
            }
        }
    });
}

#[test]
fn c9_an_orderly_end_keeps_the_copies_of_a_file_that_was_closed_poisoned() {
    with_each_method(|method| {
        let disk = new_disk();
        let pool = pool_on(&disk, method, area()).unwrap();
        let [file, other] = TAGS.map(|tag| open(&pool, tag).unwrap());
        write_all(&pool, file, 2).unwrap();
        poison(&disk, &pool, file, TAGS[0]);
        pool.close_file(file).wait().unwrap_err();
        write_all(&pool, other, 2).unwrap();
        pool.shutdown(Shutdown::Flush).unwrap();
        assert_eq!(
            pool_on(&disk.after_kill(0), IoMethod::Sync, area()).unwrap().torn_page_tags()[0],
            TAGS[0]
        );
        assert_whole(&disk);
    });
}

#[test]
fn c9_a_page_that_cannot_be_written_keeps_its_copy_until_it_can() {
    with_each_method(|method| {
        let disk = new_disk();
        let pool = pool_on(&disk, method, area()).unwrap();
        let [file, other] = TAGS.map(|tag| open(&pool, tag).unwrap());
        super::write_half_way(&disk, &pool, file, 3);
        disk.inject(Fault::error(Op::Write.of(path(TAGS[0])), EIO));
        assert_eq!(fill_up(&pool, other), [TAGS[0]]);
        assert_whole(&disk);
        disk.heal();
        (2..40).try_for_each(|version| write_all(&pool, other, version)).unwrap();
        assert_eq!(version_at(&disk, 3), Some(2));
        assert_whole(&disk);
    });
}

/// What the sync covered may be readable, and on no disk: a page that is overwritten with it has no durable copy.
#[test]
fn c9_nothing_is_put_back_from_an_area_whose_sync_failed() {
    with_each_method(|method| {
        for reopening in 0..8 {
            let disk = new_disk();
            let pool = pool_on(&disk, method.clone(), area()).unwrap();
            let [file, other] = TAGS.map(|tag| open(&pool, tag).unwrap());
            disk.inject(Fault::error(Op::Sync.of("area"), EIO).once());
            assert_eq!(write_all(&pool, file, 2).unwrap_err().raw_os_error(), Some(EIO));
            poison(&disk, &pool, file, TAGS[0]);
            let writes = disk.count(Op::Write.of("area"));
            if reopening > 0 {
                disk.cut_power_during(reopening);
            }
            pool.close_file(file).wait().unwrap_err();
            let refused = open(&pool, TAGS[0]).unwrap_err();
            assert_eq!(disk.image(path(TAGS[0])).unwrap(), stamped_file(BLOCKS, 1), "it was changed");
            if reopening == 0 {
                assert!(refused.to_string().contains("sync of area failed"), "{refused}");
                let refused = write_all(&pool, other, 2).unwrap_err();
                assert!(refused.to_string().contains("sync of area failed"), "{refused}");
                assert_eq!(disk.count(Op::Write.of("area")), writes, "it is written no more");
            }
            assert_whole(&disk);
        }
    });
}

#[test]
fn c9_a_removal_says_that_the_area_still_has_copies() {
    with_each_method(|method| {
        let disk = new_disk();
        let pool = pool_on(&disk, method, area()).unwrap();
        let file = open(&pool, TAGS[0]).unwrap();
        write_all(&pool, file, 2).unwrap();
        disk.inject(Fault::error(Op::Sync.of("area"), EIO).once());
        let removed = pool.drop_file(file).wait();
        let named =
            matches!(&removed, Err(Error::File { op: IoOp::Sync, path, .. }) if path.ends_with("area"));
        assert!(named, "{removed:?}");
        assert!(
            disk.image(path(TAGS[0])).is_none() && matches!(pool.blocks(file), Err(Error::NotOpen { .. }))
        );
        assert!(pool.give_up_torn_pages(TAGS[0]).is_err(), "as long as there is this pool");
        drop(pool);
        let pool = pool_on(&disk.after_power_cut(0), IoMethod::Sync, area()).unwrap();
        pool.give_up_torn_pages(TAGS[0]).unwrap();
        assert_eq!(pool.torn_page_tags(), []);
    });
}

/// The area could not be written, and the next sync of it may succeed.
#[test]
fn c9_nothing_is_put_back_from_a_copy_that_is_on_no_disk() {
    guarded(|| {
        for operation in 1.. {
            let disk = new_disk();
            let pool = pool_on(&disk, IoMethod::Sync, area()).unwrap();
            let file = open(&pool, TAGS[0]).unwrap();
            // All but the last of the copies arrive.
            let written = Op::Write.of("area");
            disk.inject(Fault::short(written.clone(), BLOCKS as usize * crate::support::PAGE).once());
            disk.inject(Fault::error(written, EIO).nth(2).once());
            assert_eq!(write_all(&pool, file, 2).unwrap_err().raw_os_error(), Some(EIO));
            poison(&disk, &pool, file, TAGS[0]);
            pool.close_file(file).wait().unwrap_err();
            disk.cut_power_during(operation);
            let opened = open(&pool, TAGS[0]);
            assert_whole(&disk);
            if !disk.is_without_power() {
                opened.unwrap();
                return assert!(version_at(&disk, 3).is_some() && operation > 4, "a test of nothing");
            }
        }
    });
}
