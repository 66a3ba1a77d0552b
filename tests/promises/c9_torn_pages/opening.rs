//! Pools and files that are opened: how each file is protected, what a crash has left of it, and what may be done before that is
//! repaired.

use ringpool::{
    BufferPool, CheckpointOptions, Error, IoMethod, OpenOptions, PageId, Shutdown,
    options::{DoubleWriteArea, Fallback, TornPages},
    report::TornPageGuard,
    testing::{Fault, Op, SimDisk},
};

use super::{
    Allowed, BLOCKS, FRAMES, TAGS, area, area_at, new_disk, open, path, pool_on, torn_pages, version_of,
};
use crate::support::{EIO, PAGE, guarded, stamped, stamped_file, with_each_method};

#[test]
fn c9_each_file_is_protected_as_it_can_be_and_says_how() {
    with_each_method(|method| {
        let disk = new_disk();
        let both = TornPages::AtomicOrDoubleWrite(DoubleWriteArea::new("area").bytes(0));
        let pool = pool_on(&disk, method.clone(), both).unwrap();
        let atomic = open(&pool, TAGS[0]).unwrap();
        let buffered = OpenOptions::new().tag(TAGS[1]).direct(Fallback::Off);
        let copied = pool.open_file(path(TAGS[1]), buffered).unwrap();
        let info = |file| {
            let info = pool.file_info(file).unwrap();
            (info.torn_pages, info.not_atomic_because)
        };
        assert_eq!(info(atomic), (TornPageGuard::Atomic, None));
        let (guard, reason) = info(copied);
        assert_eq!((guard, reason.unwrap().contains("buffered")), (TornPageGuard::Copies, true));
        let before = disk.count(Op::Write.of("area"));
        let change = |file| {
            for block in 0..4 {
                let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
                page.write().unwrap().copy_from_slice(&stamped(block, 2));
            }
            pool.flush_file(file).wait().unwrap();
        };
        change(atomic);
        assert_eq!(disk.count(Op::Write.of("area")), before);
        change(copied);
        assert!(disk.count(Op::Write.of("area")) > before);
        // Where it must be atomic and cannot be, the file is refused, unless it is only read.
        let pool = pool_on(&disk, method, TornPages::Atomic).unwrap();
        let error = pool.open_file(path(TAGS[1]), buffered).unwrap_err().to_string();
        assert!(error.contains("cannot be written atomically") && error.contains("buffered"), "{error}");
        pool.open_file(path(TAGS[1]), buffered.read_only(true)).unwrap();
    });
}

/// Makes a disk whose power was cut while pages of both files were being written to their places: each has torn pages.
fn torn_disk() -> SimDisk {
    let disk = new_disk();
    // Large enough for all: a half with copies of a file that cannot be synced is not begun anew.
    let roomy = TornPages::DoubleWrite(DoubleWriteArea::new("area").bytes(1 << 20));
    let pool = pool_on(&disk, IoMethod::Sync, roomy).unwrap();
    for tag in TAGS {
        let file = open(&pool, tag).unwrap();
        for block in 0..BLOCKS {
            let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
            page.write().unwrap().copy_from_slice(&stamped(block, 2));
        }
    }
    // The syncs fail, so nothing is durable but what went to the area.
    TAGS.iter().for_each(|&tag| disk.inject(Fault::error(Op::Sync.of(path(tag)), EIO)));
    pool.checkpoint(CheckpointOptions::new()).wait().unwrap_err();
    let found = disk.after_power_cut(1);
    let torn = |tag| {
        let bytes = found.image(path(tag)).unwrap();
        (0..).zip(bytes.chunks(PAGE)).filter(|&(block, page)| version_of(page, block).is_none()).count()
    };
    assert!(TAGS.iter().all(|&tag| torn(tag) > 0), "a test of nothing");
    found
}

#[test]
fn c9_no_copy_is_made_before_every_file_with_copies_was_opened() {
    with_each_method(|method| {
        let disk = torn_disk();
        let pool = pool_on(&disk, method, area()).unwrap();
        assert_eq!(pool.torn_page_tags(), TAGS);
        let file = open(&pool, TAGS[0]).unwrap();
        assert_eq!((pool.torn_page_tags(), pool.stats().counts.pages_restored > 0), (vec![TAGS[1]], true));
        let page = pool.fetch(PageId::new(file, 3)).wait().unwrap();
        page.write().unwrap().copy_from_slice(&stamped(3, 3));
        drop(page);
        let refused = |error| match error {
            Error::TornPages { tags } => assert_eq!(*tags, [TAGS[1]]),
            other => panic!("{other}"),
        };
        refused(pool.checkpoint(CheckpointOptions::new()).wait().unwrap_err());
        assert_eq!(pool.stats().frames.dirty, 1, "and nothing is forgotten (C3)");
        open(&pool, TAGS[1]).unwrap();
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    });
}

#[test]
fn c9_a_file_that_is_gone_can_be_given_up() {
    with_each_method(|method| {
        let disk = torn_disk();
        let pool = pool_on(&disk, method, area()).unwrap();
        open(&pool, TAGS[0]).unwrap();
        pool.give_up_torn_pages(TAGS[1]).unwrap();
        assert_eq!(pool.torn_page_tags(), []);
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        // For good.
        drop(pool);
        assert_eq!(pool_on(&disk, IoMethod::Sync, area()).unwrap().torn_page_tags(), []);
    });
}

#[test]
fn c9_a_file_with_torn_pages_is_not_opened_for_reading_only() {
    guarded(|| {
        let disk = torn_disk();
        let pool = pool_on(&disk, IoMethod::Sync, area()).unwrap();
        let read_only = OpenOptions::new().tag(TAGS[0]).read_only(true);
        let error = pool.open_file(path(TAGS[0]), read_only).unwrap_err();
        assert!(
            matches!(&error, Error::Config(text) if text.advice().contains("without read_only")),
            "{error}"
        );
        let file = open(&pool, TAGS[0]).unwrap();
        pool.close_file(file).wait().unwrap();
        pool.open_file(path(TAGS[0]), read_only).unwrap();
    });
}

#[test]
fn c9_a_restore_that_fails_is_done_by_the_next_opening() {
    guarded(|| {
        let disk = torn_disk();
        let pool = pool_on(&disk, IoMethod::Sync, area()).unwrap();
        for op in [Op::Read, Op::Write, Op::Sync] {
            disk.inject(Fault::error(op.of(path(TAGS[0])), EIO).once());
            assert_eq!(open(&pool, TAGS[0]).unwrap_err().raw_os_error(), Some(EIO), "{op:?}");
            assert_eq!(pool.torn_page_tags(), TAGS);
        }
        drop(pool);
        let mut allowed = Allowed::new();
        (0..BLOCKS).for_each(|block| (0..2).for_each(|file| allowed.may_be(file, block, 2)));
        assert_eq!(torn_pages(&disk, area(), &allowed), 0);
    });
}

#[test]
fn c9_tags_tell_files_apart_and_none_is_given_twice() {
    guarded(|| {
        let pool = pool_on(&new_disk(), IoMethod::Sync, area()).unwrap();
        let first = open(&pool, TAGS[0]).unwrap();
        let same = OpenOptions::new().tag(TAGS[0]);
        match pool.open_file(path(TAGS[1]), same).unwrap_err() {
            Error::TagTaken { tag, file, .. } => assert_eq!((tag, file), (TAGS[0], first)),
            other => panic!("{other}"),
        }
        // One that is only read has no copies.
        pool.open_file(path(TAGS[1]), same.read_only(true)).unwrap();
        let error = pool.open_file("area", OpenOptions::new().tag(9)).unwrap_err();
        assert!(error.to_string().contains("doublewrite area"), "{error}");
    });
}

#[test]
fn c9_an_area_of_another_size_is_read_before_it_is_made_anew() {
    guarded(|| {
        // Cut during each operation by which a pool finds copies, restores pages and makes the area smaller.
        let mut allowed = Allowed::new();
        (0..BLOCKS).for_each(|block| (0..2).for_each(|file| allowed.may_be(file, block, 2)));
        let torn = torn_disk();
        for operation in 1.. {
            let disk = torn.after_power_cut(0);
            disk.cut_power_during(operation);
            let opened = pool_on(&disk, IoMethod::Sync, area())
                .and_then(|pool| TAGS.iter().try_for_each(|&tag| open(&pool, tag).map(drop)));
            let found = disk.after_power_cut(operation);
            assert_eq!(torn_pages(&found, area(), &allowed), 0);
            if !disk.is_without_power() {
                return opened.unwrap();
            }
        }
    });
}

#[test]
fn c9_an_area_for_other_pages_is_refused() {
    guarded(|| {
        let disk = new_disk();
        drop(pool_on(&disk, IoMethod::Sync, area()).unwrap());
        let builder = BufferPool::builder().frames(FRAMES).page_size(4096).storage(disk);
        let error = builder.torn_pages(area()).build().unwrap_err();
        assert!(error.to_string().contains("made for pages of 8192 bytes"), "{error}");
    });
}

#[test]
fn c9_a_file_that_is_no_area_is_not_written_over() {
    guarded(|| {
        let disk = new_disk();
        // The pool's own data, in both orders; something else; a page that is not all zeros, and a long file of zeros.
        disk.put("notes", *b"something else");
        disk.put("zeros", vec![0; 2 * PAGE]);
        for taken in [path(TAGS[0]).as_str(), "notes", "zeros"] {
            let before = disk.image(taken).unwrap();
            let error = pool_on(&disk, IoMethod::Sync, area_at(taken)).unwrap_err();
            assert!(
                matches!(&error, Error::Config(text) if text.advice().contains("is no doublewrite area")),
                "{error}"
            );
            assert!(disk.image(taken).unwrap() == before, "{taken} was written over");
        }
        disk.put("empty", []);
        let pool = pool_on(&disk, IoMethod::Sync, area_at("empty")).unwrap();
        let refused = pool.open_file("empty", OpenOptions::new()).unwrap_err();
        assert!(refused.to_string().contains("doublewrite area"), "{refused}");
        let area = disk.image("empty").unwrap();
        assert!(
            area[..8] == *b"ringdblw" && area[PAGE..PAGE + 8] == *b"ringdblw",
            "both halves have a header"
        );
    });
}

#[test]
fn c9_a_power_cut_while_an_area_is_made_leaves_one_that_can_be_taken() {
    guarded(|| {
        for operation in 1.. {
            let disk = new_disk();
            disk.cut_power_during(operation);
            drop(pool_on(&disk, IoMethod::Sync, area()));
            for seed in 0..8 {
                pool_on(&disk.after_power_cut(seed), IoMethod::Sync, area()).unwrap();
            }
            if !disk.is_without_power() {
                return;
            }
        }
    });
}

#[test]
fn c9_what_an_area_says_of_its_numbers_is_not_believed() {
    guarded(|| {
        let disk = new_disk();
        drop(pool_on(&disk, IoMethod::Sync, area()).unwrap());
        let made = disk.image("area").unwrap();
        // The numbers of a header: of the first record that goes there, and of the first that counts.
        let with = |number: u64, oldest: u64| {
            let mut bytes = made.clone();
            for header in [0, PAGE] {
                let header = &mut bytes[header..header + 44];
                header[16..24].copy_from_slice(&number.to_le_bytes());
                header[24..32].copy_from_slice(&oldest.to_le_bytes());
                let sum = crc32c::crc32c(&header[..40]).to_le_bytes();
                header[40..].copy_from_slice(&sum);
            }
            bytes
        };
        for (number, oldest) in [(7, 0), (7, 7), (u64::MAX / 2, 0), (u64::MAX / 2, u64::MAX / 2)] {
            disk.put("area", with(number, oldest));
            pool_on(&disk, IoMethod::Sync, area()).unwrap();
        }
        for (number, oldest) in [(7, 8), (u64::MAX, 0), (u64::MAX, u64::MAX)] {
            disk.put("area", with(number, oldest));
            let error = pool_on(&disk, IoMethod::Sync, area()).unwrap_err();
            assert!(error.to_string().contains("is no doublewrite area"), "{error}");
        }
    });
}

#[test]
fn c9_a_long_sparse_file_is_not_read_into_memory() {
    guarded(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("area");
        std::fs::File::create(&path).unwrap().set_len(64 << 30).unwrap();
        let protection = TornPages::DoubleWrite(DoubleWriteArea::new(&path));
        let builder = BufferPool::builder().frames(FRAMES).io_method(IoMethod::Sync).torn_pages(protection);
        let error = builder.build().unwrap_err();
        assert!(error.to_string().contains("is no doublewrite area"), "{error}");
    });
}

#[test]
fn c9_what_is_given_up_while_others_wait_is_given_up_for_good() {
    guarded(|| {
        let disk = torn_disk();
        let pool = pool_on(&disk, IoMethod::Sync, area()).unwrap();
        pool.give_up_torn_pages(TAGS[1]).unwrap();
        disk.put(path(TAGS[1]), stamped_file(BLOCKS, 9));
        let found = disk.after_power_cut(1);
        let pool = pool_on(&found, IoMethod::Sync, area()).unwrap();
        assert_eq!(pool.torn_page_tags(), [TAGS[0]]);
        open(&pool, TAGS[1]).unwrap();
        assert!(found.image(path(TAGS[1])).unwrap() == stamped_file(BLOCKS, 9), "pages of another file");
    });
}

#[test]
fn c9_a_file_may_be_cut_closed_and_changed_by_others_while_others_wait() {
    with_each_method(|method| {
        let disk = torn_disk();
        let pool = pool_on(&disk, method, area()).unwrap();
        let file = open(&pool, TAGS[0]).unwrap();
        pool.truncate(file, 4).wait().unwrap();
        pool.close_file(file).wait().unwrap();
        disk.put(path(TAGS[0]), stamped_file(BLOCKS, 9));
        let found = disk.after_power_cut(1);
        let pool = pool_on(&found, IoMethod::Sync, area()).unwrap();
        for tag in TAGS {
            open(&pool, tag).unwrap();
        }
        assert!(found.image(path(TAGS[0])).unwrap() == stamped_file(BLOCKS, 9), "older pages were put back");
    });
}

/// What such a sync covered is read as it should be, and may be on no disk.
#[test]
fn c9_a_restore_whose_sync_failed_is_repeated_in_full() {
    guarded(|| {
        for seed in 0..8 {
            let disk = torn_disk().after_power_cut(seed);
            let pool = pool_on(&disk, IoMethod::Sync, area()).unwrap();
            disk.inject(Fault::error(Op::Sync.of(path(TAGS[0])), EIO).once());
            open(&pool, TAGS[0]).unwrap_err();
            for tag in TAGS {
                open(&pool, tag).unwrap();
            }
            let mut allowed = Allowed::new();
            (0..BLOCKS).for_each(|block| (0..2).for_each(|file| allowed.may_be(file, block, 2)));
            assert_eq!(torn_pages(&disk.after_power_cut(seed), area(), &allowed), 0);
        }
    });
}

#[test]
fn c9_after_an_orderly_end_the_area_holds_no_page() {
    with_each_method(|method| {
        let disk = new_disk();
        let pool = pool_on(&disk, method, area()).unwrap();
        let file = open(&pool, TAGS[0]).unwrap();
        super::change(&pool, file, 3, 2);
        pool.shutdown(Shutdown::Flush).unwrap();
        for area in [disk.image("area").unwrap(), disk.durable_image("area").unwrap()] {
            assert_eq!(area.len(), 2 * PAGE, "two headers");
        }
        // And the next pool makes it as long as it was.
        drop(pool_on(&disk, IoMethod::Sync, area()).unwrap());
        assert!(disk.image("area").unwrap().len() > FRAMES as usize * PAGE);
    });
}
