//! C9, for power cuts: with the doublewrite area a page is its old or its new version, whatever moment the power goes at, and
//! never a mix.

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    ops::{Range, RangeInclusive},
    thread,
    time::Duration,
};

use ringpool::{
    BufferPool, CheckpointOptions, DoubleWriteArea, Error, Fallback, FileId, IoMethod, OpenOptions, PageId,
    Result, Shutdown, TornPageGuard, TornPages,
    testing::{Fault, Op, SimDisk},
};

use crate::support::{EIO, PAGE, eventually, guarded, stamped, stamped_file, with_each_method};

/// Few, so that the area is small and goes round often.
const FRAMES: u32 = 32;
const BLOCKS: u32 = 12;
const TAGS: [u64; 2] = [11, 12];

fn path(tag: u64) -> String {
    format!("data-{tag}")
}

/// As small as it can be.
fn area() -> TornPages {
    TornPages::DoubleWrite(DoubleWriteArea::new("area").bytes(0))
}

fn pool_on(disk: &SimDisk, method: IoMethod, protection: TornPages) -> Result<BufferPool> {
    let builder = BufferPool::builder().frames(FRAMES).page_size(PAGE as u32).io_method(method);
    builder.torn_pages(protection).disk(disk.clone()).build()
}

fn open(pool: &BufferPool, tag: u64) -> Result<FileId> {
    pool.open_file(path(tag), OpenOptions::new().tag(tag))
}

/// A disk with both files, all blocks in version 1.
fn new_disk() -> SimDisk {
    let disk = SimDisk::new();
    // Without protection, pages are torn all the same: writes are atomic only where they are asked to be.
    disk.set_atomic_writes(PAGE as u32);
    TAGS.iter().for_each(|&tag| disk.put(path(tag), stamped_file(BLOCKS, 1)));
    disk
}

/// The versions that each block of each file may have after a crash.
#[derive(Clone)]
struct Allowed([Vec<RangeInclusive<u8>>; 2]);

impl Allowed {
    fn new() -> Self {
        Self([(); 2].map(|()| vec![1..=1; BLOCKS as usize]))
    }

    /// A version was written into the frame.
    fn may_be(&mut self, file: usize, block: u32, version: u8) {
        let versions = &mut self.0[file][block as usize];
        *versions = *versions.start()..=version;
    }

    /// A checkpoint has covered what was written.
    fn is_durable(&mut self) {
        for versions in self.0.iter_mut().flatten() {
            *versions = *versions.end()..=*versions.end();
        }
    }
}

/// Chance that can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % sides
    }
}

/// Changes pages of both files in rounds: some are flushed, now and then there is a checkpoint.
fn change_pages(
    disk: &SimDisk,
    method: IoMethod,
    protection: TornPages,
    allowed: &mut Allowed,
) -> Result<()> {
    let pool = pool_on(disk, method, protection)?;
    let files = [open(&pool, TAGS[0])?, open(&pool, TAGS[1])?];
    let mut dice = Dice(7);
    for version in 2..10 {
        for _ in 0..6 {
            let (file, block) = (dice.roll(2) as usize, dice.roll(BLOCKS));
            let page = pool.fetch(PageId::new(files[file], block)).wait()?;
            page.write()?.copy_from_slice(&stamped(block, version));
            allowed.may_be(file, block, version);
        }
        pool.flush_file(files[dice.roll(2) as usize]).wait()?;
        if version % 4 == 0 {
            pool.checkpoint(CheckpointOptions::new()).wait()?;
            allowed.is_durable();
        }
    }
    pool.shutdown(Shutdown::Flush).map_err(|refused| refused.error)?;
    allowed.is_durable();
    Ok(())
}

/// The version of a block, if all of it has the same.
fn version_of(bytes: &[u8], block: u32) -> Option<u8> {
    let version = bytes[0];
    (bytes == stamped(block, version)).then_some(version)
}

/// Opens the files as after a crash and counts the pages that are torn. Those that are not must have an allowed version.
fn torn_pages(disk: &SimDisk, protection: TornPages, allowed: &Allowed) -> usize {
    let pool = pool_on(disk, IoMethod::Sync, protection).unwrap();
    let files = TAGS.map(|tag| open(&pool, tag).unwrap());
    assert_eq!(pool.torn_page_tags(), [], "both were opened");
    let mut torn = 0;
    for (file, versions) in files.iter().zip(&allowed.0) {
        for (block, versions) in (0..).zip(versions) {
            let page = pool.fetch(PageId::new(*file, block)).wait().unwrap();
            match version_of(&page.read(), block) {
                Some(version) => {
                    assert!(versions.contains(&version), "block {block}: {version}, not {versions:?}");
                }
                None => torn += 1,
            }
        }
    }
    torn
}

type Workload = fn(&SimDisk, IoMethod, TornPages, &mut Allowed) -> Result<()>;

/// Cuts the power during the operations of the workload in turn. Gives how many pages were torn in all.
fn tear_everywhere(workload: Workload, method: &IoMethod, protection: &TornPages) -> usize {
    let mut torn = 0;
    // The others differ in nothing but who writes.
    let step = if *method == IoMethod::Sync { 1 } else { 7 };
    for operation in (1..).step_by(step) {
        let disk = new_disk();
        disk.cut_power_during(operation);
        let mut allowed = Allowed::new();
        let ended = workload(&disk, method.clone(), protection.clone(), &mut allowed);
        let found = disk.after_power_cut(operation);
        torn += torn_pages(&found, protection.clone(), &allowed);
        // Once more, as after a crash that came at once.
        torn += torn_pages(&found.after_power_cut(0), protection.clone(), &allowed);
        if !disk.is_without_power() {
            ended.unwrap();
            return torn;
        }
    }
    unreachable!("the workload ends")
}

#[test]
fn c9_a_power_cut_at_any_operation_tears_no_page() {
    with_each_method(|method| assert_eq!(tear_everywhere(change_pages, &method, &area()), 0));
}

/// Changes one page several times, makes that durable, and then fills the area with two batches of others.
fn change_one_and_many(
    disk: &SimDisk,
    method: IoMethod,
    protection: TornPages,
    allowed: &mut Allowed,
) -> Result<()> {
    let pool = pool_on(disk, method, protection)?;
    let file = open(&pool, TAGS[0])?;
    open(&pool, TAGS[1])?;
    let mut change = |blocks: Range<u32>, version| {
        for block in blocks {
            let page = pool.fetch(PageId::new(file, block)).wait()?;
            page.write()?.copy_from_slice(&stamped(block, version));
            allowed.may_be(0, block, version);
        }
        if version % 8 == 0 {
            pool.checkpoint(CheckpointOptions::new()).wait()?;
            allowed.is_durable();
            return Ok(());
        }
        pool.flush_file(file).wait().map(drop)
    };
    for round in [0, 8, 16] {
        (5..=8).try_for_each(|version| change(0..1, round + version))?;
        (9..=10).try_for_each(|version| change(1..9, round + version))?;
    }
    Ok(())
}

#[test]
fn c9_an_older_copy_never_outlives_a_newer_one() {
    with_each_method(|method| assert_eq!(tear_everywhere(change_one_and_many, &method, &area()), 0));
}

#[test]
fn c9_without_protection_the_same_power_cuts_tear_pages() {
    guarded(|| assert!(tear_everywhere(change_pages, &IoMethod::Sync, &TornPages::Unprotected) > 20));
}

#[test]
fn c9_atomic_writes_are_not_torn_and_need_no_copies() {
    with_each_method(|method| assert_eq!(tear_everywhere(change_pages, &method, &TornPages::Atomic), 0));
}

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

/// A disk whose power was cut while pages of both files were being written to their places: each has torn pages.
fn torn_disk() -> SimDisk {
    let disk = new_disk();
    // Large enough for all: copies of a file that cannot be synced are given up when their half is wanted.
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
fn c9_nothing_is_written_before_every_file_with_copies_was_opened() {
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
        refused(pool.truncate(file, 2).wait().unwrap_err());
        assert_eq!(pool.stats().frames.dirty, 1, "and nothing is forgotten (C3)");
        open(&pool, TAGS[1]).unwrap();
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        pool.truncate(file, 2).wait().unwrap();
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
fn c9_copies_are_kept_for_as_long_as_a_page_is_on_its_way() {
    guarded(|| {
        let disk = new_disk();
        let pool = pool_on(&disk, IoMethod::worker(), area()).unwrap();
        let [slow, fast] = TAGS.map(|tag| open(&pool, tag).unwrap());
        let change = |pool: &BufferPool, file, blocks, version| {
            for block in 0..blocks {
                let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
                page.write().unwrap().copy_from_slice(&stamped(block, version));
            }
        };
        change(&pool, slow, 2, 2);
        let gate = disk.hold(Op::Write.of(path(TAGS[0])));
        let slowly = {
            let pool = pool.clone();
            thread::spawn(move || pool.flush_file(slow).wait())
        };
        gate.wait_for(1);
        // Others may go on until they want the half in which its copies lie.
        let round_and_round = {
            let pool = pool.clone();
            thread::spawn(move || {
                for version in 2..12 {
                    change(&pool, fast, BLOCKS, version);
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
        let change = |file, block, version| {
            let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
            page.write().unwrap().copy_from_slice(&stamped(block, version));
        };
        change(failing, 3, 2);
        let write = Op::Write.of(path(TAGS[0]));
        disk.inject(Fault::short(write.clone(), 512).once());
        disk.inject(Fault::error(write, EIO).nth(2).once());
        assert_eq!(pool.flush_file(failing).wait().unwrap_err().raw_os_error(), Some(EIO));
        let place = |disk: &SimDisk| disk.image(path(TAGS[0])).unwrap()[3 * PAGE..4 * PAGE].to_vec();
        assert_eq!(version_of(&place(&disk), 3), None, "a test of nothing");
        let mut allowed = Allowed::new();
        allowed.may_be(0, 3, 2);
        // Each of these takes room in the area, until it has gone round more than once.
        for version in 2..40 {
            assert_eq!(torn_pages(&disk.after_power_cut(u64::from(version)), area(), &allowed), 0);
            (0..BLOCKS).for_each(|block| {
                allowed.may_be(1, block, version);
                change(fine, block, version);
            });
            pool.flush_file(fine).wait().unwrap();
        }
        assert_eq!((version_of(&place(&disk), 3), pool.stats().frames.dirty), (Some(2), 1));
        // As far as the pool knows it is still to be written.
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
fn c9_a_file_with_torn_pages_is_not_opened_for_reading_only() {
    guarded(|| {
        let disk = torn_disk();
        let pool = pool_on(&disk, IoMethod::Sync, area()).unwrap();
        let read_only = OpenOptions::new().tag(TAGS[0]).read_only(true);
        let error = pool.open_file(path(TAGS[0]), read_only).unwrap_err();
        assert!(matches!(&error, Error::Config(text) if text.contains("without read_only")), "{error}");
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

#[test]
fn c9_after_a_shutdown_there_is_nothing_to_restore() {
    with_each_method(|method| {
        let disk = new_disk();
        change_pages(&disk, method, area(), &mut Allowed::new()).unwrap();
        let pool = pool_on(&disk, IoMethod::Sync, area()).unwrap();
        assert_eq!(pool.torn_page_tags(), []);
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
        // A sync that failed is never taken for done, here as elsewhere.
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
        let builder = BufferPool::builder().frames(FRAMES).page_size(4096).disk(disk);
        let error = builder.torn_pages(area()).build().unwrap_err();
        assert!(error.to_string().contains("made for pages of 8192 bytes"), "{error}");
    });
}
