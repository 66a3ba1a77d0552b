//! Write-outs alone: what they wait for, what they leave out, and by which thread they go.

use super::*;
use crate::{
    BufferPool, CheckpointOptions, IoMethod, OpenOptions,
    buffer::{frame::state::State, quarantine::Seizure},
    testing::SimDisk,
};

/// Otherwise a checkpoint would pass over a page that was dirty when it began, and is so again when the cut has failed.
#[test]
fn a_page_that_a_thread_holds_back_is_waited_for() {
    let disk = SimDisk::new();
    disk.put("data", [1; 2 * 4096]);
    let builder = BufferPool::builder().frames(4).page_size(4096).io_method(IoMethod::Sync);
    let pool = builder.storage(disk.clone()).build().unwrap();
    let file = pool.open_file("data", OpenOptions::new()).unwrap();
    (0..2).for_each(|block| {
        pool.fetch(PageId::new(file, block)).wait().unwrap().write().unwrap().fill(2);
    });
    let frames = &pool.shared().pool;
    let no = frames.find(PageId::new(file, 1), State::is_idle_dirty).unwrap();
    for way in [0, 1] {
        let mut seizure = Seizure::new(frames);
        assert!(seizure.seize(no, PageId::new(file, 1)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| match way {
                0 => pool.flush(PageId::new(file, 1)).wait(),
                _ => pool.checkpoint(CheckpointOptions::new()).wait().map(drop),
            });
            while !frames.frame(no).state.load().has_io_waiters() {
                assert!(!waiting.is_finished(), "it passed over the page");
                std::thread::yield_now();
            }
            drop(seizure);
            waiting.join().unwrap().unwrap();
        });
        assert_eq!(disk.image("data").unwrap()[4096..], [2 + way; 4096]);
        pool.fetch(PageId::new(file, 1)).wait().unwrap().write().unwrap().fill(3);
    }
}

#[test]
fn a_lone_write_is_made_by_the_thread_that_waits_for_it_and_several_are_made_side_by_side() {
    let disk = SimDisk::new();
    disk.put("data", [1; 8 * 4096]);
    let builder = BufferPool::builder().frames(8).page_size(4096).io_method(IoMethod::worker());
    let pool = builder.storage(disk.clone()).build().unwrap();
    let file = pool.open_file("data", OpenOptions::new()).unwrap();
    let change = |blocks: &[u32]| {
        blocks.iter().for_each(|&block| pool.write(PageId::new(file, block)).wait().unwrap().fill(2));
        pool.stats().counts.inline_requests
    };
    let before = change(&[3]);
    pool.flush(PageId::new(file, 3)).wait().unwrap();
    assert_eq!(pool.stats().counts.inline_requests, before + 1);
    let before = change(&[4, 5, 6]);
    assert_eq!(pool.flush_file(file).wait().unwrap().pages_written, 3);
    assert_eq!(pool.stats().counts.inline_requests, before + 1, "neighbours are one request");
    let before = change(&[0, 2, 7]);
    assert_eq!(pool.flush_file(file).wait().unwrap().pages_written, 3);
    assert_eq!(pool.stats().counts.inline_requests, before, "three requests");
    let before = change(&[1]);
    pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
    assert_eq!(pool.stats().counts.inline_requests, before, "a checkpoint is no caller's own work");
    assert_eq!(disk.image("data").unwrap(), [2; 8 * 4096]);
}

#[test]
fn a_page_with_all_the_pins_that_can_be_counted_is_no_silent_gap_in_a_checkpoint() {
    let disk = SimDisk::new();
    disk.put("data", [1; 4096]);
    let builder = BufferPool::builder().frames(4).page_size(4096).io_method(IoMethod::Sync);
    let pool = builder.storage(disk).build().unwrap();
    let page =
        pool.fetch(PageId::new(pool.open_file("data", OpenOptions::new()).unwrap(), 0)).wait().unwrap();
    page.write().unwrap().fill(2);
    let mut pins: Vec<_> = std::iter::from_fn(|| page.try_clone().ok()).collect();
    let refused = pool.checkpoint(CheckpointOptions::new()).wait();
    assert!(matches!(refused, Err(Error::TooManyPins { page: named, .. }) if named == page.id()));
    pins.pop();
    assert_eq!(pool.checkpoint(CheckpointOptions::new()).wait().unwrap().pages_written, 1);
}

#[test]
#[cfg(feature = "crc32c")]
fn c6_a_page_without_room_for_its_copy_is_not_even_pinned() {
    let disk = SimDisk::new();
    disk.put("data", [1; 4 * 512]);
    let builder = BufferPool::builder().frames(4).page_size(512).io_method(IoMethod::Sync);
    let pool = builder.codec(crate::Crc32c).storage(disk).build().unwrap();
    let file = pool.open_file("data", OpenOptions::new()).unwrap();
    (0..4).for_each(|block| pool.overwrite(PageId::new(file, block)).wait().unwrap().fill(2));
    let (shared, mut place) = (pool.shared(), None);
    let mut candidates: Vec<_> = shared.pool.frames.iter().map(|(no, frame)| (frame.page(), no)).collect();
    let _room = shared.pool.copy_room.try_take(4, file).unwrap();
    let line = &shared.pool.frame_waiters;
    line.enlist(&mut place, std::task::Waker::noop());
    let tally = BatchStatus::new();
    write_out(shared, &mut candidates, Urgency::Demand, &mut Patience::Try, &tally);
    assert!(tally.is_untouched() && !line.leave(&place.unwrap()), "its pins woke the line");
}

/// If the page were left out, the other write could put it back after the sync of a checkpoint that has passed over it.
#[test]
fn a_page_whose_write_another_begins_in_between_is_looked_at_again() {
    let disk = SimDisk::new();
    disk.put("data", [1; 4096]);
    let builder = BufferPool::builder().frames(4).page_size(4096).io_method(IoMethod::Sync);
    let pool = builder.storage(disk).build().unwrap();
    let page = PageId::new(pool.open_file("data", OpenOptions::new()).unwrap(), 0);
    pool.fetch(page).wait().unwrap().write().unwrap().fill(2);
    let shared = pool.shared();
    let no = shared.pool.frames.iter().find(|(_, frame)| frame.page() == page).unwrap().0;
    let candidates = [(page, no)];
    let (mut patience, tally) = (Patience::Wait(Duration::MAX), BatchStatus::new());
    let mut writer = RunBuilder {
        shared,
        urgency: Urgency::Demand,
        patience: &mut patience,
        tally: &tally,
        batch: Vec::new(),
        highest_lsn: Lsn::UNLOGGED,
        transfers: false,
    };
    let pin = writer.latch_dirty(candidates[0]).unwrap();
    let others = pin.again().unwrap();
    assert!(others.lend());
    assert_eq!(writer.build_run(pin, &candidates), candidates);
    others.end_write(false);
    write_out(shared, &mut candidates.clone(), Urgency::Demand, &mut patience, &tally);
    assert_eq!(tally.wait().unwrap(), 1);
}
