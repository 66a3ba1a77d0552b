//! The power is cut at each operation of a workload in turn.

use std::ops::Range;

use ringpool::{
    BufferPool, CheckpointOptions, IoMethod, PageId, Result, Shutdown, options::TornPages, testing::SimDisk,
};

use super::{Allowed, BLOCKS, TAGS, area, new_disk, open, pool_on, torn_pages};
use crate::support::{guarded, stamped, with_each_method};

/// Random numbers that a seed repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % sides
    }
}

/// Changes a page of the first or the second file.
fn change(pool: &BufferPool, page: PageId, version: u8, allowed: &mut Allowed, file: usize) -> Result<()> {
    pool.fetch(page).wait()?.write()?.copy_from_slice(&stamped(page.block.0, version));
    allowed.may_be(file, page.block.0, version);
    Ok(())
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
            change(&pool, PageId::new(files[file], block), version, allowed, file)?;
        }
        pool.flush_file(files[dice.roll(2) as usize]).wait()?;
        if version % 4 == 0 {
            pool.checkpoint(CheckpointOptions::new()).wait()?;
            allowed.is_durable();
        }
    }
    pool.shutdown(Shutdown::Flush).map_err(|refused| refused.into_parts().1)?;
    allowed.is_durable();
    Ok(())
}

type Workload = fn(&SimDisk, IoMethod, TornPages, &mut Allowed) -> Result<()>;

/// Cuts the power during the operations of the workload in turn. Returns how many pages were torn in all.
fn tear_everywhere(workload: Workload, method: &IoMethod, protection: &TornPages) -> usize {
    let mut torn = 0;
    // The other methods differ only in the thread that writes.
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

/// Changes one page several times, makes that durable, and then fills the area with two batches of other pages.
fn change_one_and_many(
    disk: &SimDisk,
    method: IoMethod,
    protection: TornPages,
    allowed: &mut Allowed,
) -> Result<()> {
    let pool = pool_on(disk, method, protection)?;
    let file = open(&pool, TAGS[0])?;
    open(&pool, TAGS[1])?;
    let mut write = |blocks: Range<u32>, version| {
        for block in blocks {
            change(&pool, PageId::new(file, block), version, allowed, 0)?;
        }
        if version % 8 == 0 {
            pool.checkpoint(CheckpointOptions::new()).wait()?;
            allowed.is_durable();
            return Ok(());
        }
        pool.flush_file(file).wait().map(drop)
    };
    for round in [0, 8, 16] {
        (5..=8).try_for_each(|version| write(0..1, round + version))?;
        (9..=10).try_for_each(|version| write(1..9, round + version))?;
    }
    Ok(())
}

#[test]
fn c9_an_older_copy_never_outlives_a_newer_one() {
    with_each_method(|method| assert_eq!(tear_everywhere(change_one_and_many, &method, &area()), 0));
}

/// Fills the halves of the area in turn, without a sync or checkpoint. Each half of the area has pages that the other has not.
fn change_all_and_sync_nothing(
    disk: &SimDisk,
    method: IoMethod,
    protection: TornPages,
    allowed: &mut Allowed,
) -> Result<()> {
    let pool = pool_on(disk, method, protection)?;
    let file = open(&pool, TAGS[0])?;
    open(&pool, TAGS[1])?;
    // Four batches of these fill a half.
    let halves = [0..BLOCKS / 2, BLOCKS / 2..BLOCKS];
    for version in 2..18 {
        for block in halves[usize::from((version - 2) / 4 % 2)].clone() {
            change(&pool, PageId::new(file, block), version, allowed, 0)?;
        }
        pool.flush_file(file).wait()?;
    }
    Ok(())
}

/// Copies are voided only after the pages have been synced; nothing else here syncs them.
#[test]
fn c9_copies_go_when_their_pages_are_durable_without_them() {
    with_each_method(|method| {
        assert_eq!(tear_everywhere(change_all_and_sync_nothing, &method, &area()), 0);
    });
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
fn c9_after_a_shutdown_there_is_nothing_to_restore() {
    with_each_method(|method| {
        let disk = new_disk();
        change_pages(&disk, method, area(), &mut Allowed::new()).unwrap();
        let pool = pool_on(&disk, IoMethod::Sync, area()).unwrap();
        assert_eq!(pool.torn_page_tags(), []);
    });
}
