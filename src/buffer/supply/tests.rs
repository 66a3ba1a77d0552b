//! Frames taken, and set aside.

use std::task::Waker;

use super::*;
#[cfg(not(any(loom, shuttle)))]
use crate::sync::simulation;
use crate::{
    Error,
    buffer::{
        frame::{latch::Latch, pin::Pin},
        residency::{Mapped, Residency},
        resizing::Retirement,
        small_pools::{self, page, pool_of, pool_with_copies, pool_with_room_for_ready},
    },
    id::PageId,
    sync::waking::Wakers,
};

/// Makes a pool with room for `ready` ready frames, and the pages 0 to 2 in its frames.
fn filled(ready: usize) -> Residency {
    let pool = pool_with_room_for_ready(3, ready);
    (0..3).for_each(|block| drop(read(&pool, block)));
    pool
}

/// Reads a page into the next frame.
fn read(pool: &Residency, block: u32) -> Pin {
    small_pools::read(pool, page(block))
}

fn resident(pool: &Residency) -> Vec<u32> {
    (0..10).filter(|&block| pool.is_mapped(page(block))).collect()
}

/// As when the background writer meets a frame whose page was written and has been evicted meanwhile.
#[test]
fn a_frame_that_has_become_free_is_not_set_aside() {
    let pool = filled(3);
    drop(pool.claim(FrameNo(1)));
    assert!(!pool.set_aside(FrameNo(1)), "it is to be had already");
    let claimed: Vec<_> = std::iter::from_fn(|| pool.take_clean()).collect();
    assert_eq!((claimed.len(), pool.free_frames()), (3, 0), "it is counted once");
}

#[test]
fn what_is_ready_is_taken_first_and_keeps_its_page_until_then() {
    let pool = filled(2);
    assert_eq!(
        pool.set_victims_aside(Reach::All, 5, &mut Vec::new(), 5, |_| true),
        2,
        "there is no room for more"
    );
    assert_eq!(resident(&pool), [0, 1, 2]);
    read(&pool, 3);
    assert_eq!(resident(&pool), [1, 2, 3]);
    assert!(pool.lookup(page(1)).is_ok());
    read(&pool, 4);
    assert_eq!(resident(&pool), [1, 3, 4], "a use of a page that is ready saves it");
}

#[test]
fn a_free_frame_is_taken_before_any_page_goes_whatever_is_ready_and_whosever_turn_it_is() {
    const FRAMES: u32 = 3000;
    let pool = pool_with_room_for_ready(FRAMES, 100);
    (0..FRAMES).for_each(|block| drop(read(&pool, block)));
    assert!(
        pool.frames.iter().all(|(_, frame)| frame.state.load().is_valid()),
        "a page went before all frames had one"
    );
    assert_eq!(pool.set_victims_aside(Reach::All, 100, &mut Vec::new(), 100, |_| true), 100);
    // As when a file is cut: the last first. All lie in one shard of the two.
    (2000..2100).rev().for_each(|no| drop(pool.claim(FrameNo(no)).unwrap()));
    assert_eq!((pool.free_frames(), pool.faults()), (100, Vec::new()));
    let taken: Vec<u32> = (0..100).map(|n| read(&pool, FRAMES + n).frame_no().0).collect();
    assert!(taken.iter().copied().eq(2000..2100), "not those that are free, or not side by side: {taken:?}");
    assert_eq!(pool.free_frames(), 0);
    assert!(!(2000..2100).contains(&read(&pool, 2 * FRAMES).frame_no().0), "it has its time");
}

/// Otherwise it would have a page, and be in the queue of those that have none.
#[test]
fn a_free_frame_is_not_to_be_had_by_its_number() {
    let pool = filled(2);
    let no = FrameNo(1);
    drop(pool.claim(no).unwrap());
    assert!(pool.claim(no).is_none());
    assert_eq!((pool.free_frames(), read(&pool, 5).frame_no()), (1, no));
}

/// Anything may happen to a biased victim between the sweep that shows it and the claim.
#[test]
fn a_biased_victim_is_left_that_was_used_or_freed_meanwhile_or_is_to_go() {
    let take = |meanwhile: fn(&Residency, FrameNo)| {
        let pool = filled(2);
        let no = FrameNo(2);
        (0..4).for_each(|_| pool.look_at(page(2)).unwrap().unlatch_and_unpin());
        pool.frame(no).state.try_update(State::forget_uses).unwrap();
        assert!(pool.frame(no).state.load().refuses_for_bias(State::claim));
        meanwhile(&pool, no);
        pool.take_by_number(no, State::claim_unused, true)
    };
    assert!(take(|_, _| {}));
    assert!(!take(|pool, _| pool.look_at(page(2)).unwrap().unlatch_and_unpin()), "it was used");
    assert!(!take(|pool, no| drop(pool.claim(no))), "it is among the free ones");
    assert!(!take(|pool, _| std::mem::forget(Retirement::begin(pool, 2))), "it is to go");
}

#[test]
fn a_frame_whose_read_has_failed_is_the_next_to_be_taken() {
    let pool = filled(2);
    let claimed = pool.take_clean().unwrap();
    let no = claimed.frame_no();
    let Mapped { reading, own } = pool.map(claimed, page(5), false).unwrap();
    drop(own);
    pool.end_read(reading, &Err(Error::ShutDown), true);
    assert_eq!(read(&pool, 6).frame_no(), no);
    assert_eq!(pool.faults(), Vec::<String>::new());
}

/// A thread that waited for the read looks at the frame a little longer than it takes the next to come for it.
#[test]
fn a_frame_that_waiters_of_a_failed_read_still_have_is_taken_later() {
    let pool = filled(2);
    let claimed = pool.take_clean().unwrap();
    let no = claimed.frame_no();
    let Mapped { reading, own } = pool.map(claimed, page(5), false).unwrap();
    pool.end_read(reading, &Err(Error::ShutDown), true);
    assert_ne!(read(&pool, 6).frame_no(), no);
    drop(own);
    let taken: Vec<_> = (7..10).map(|block| read(&pool, block).frame_no()).collect();
    assert!(taken.contains(&no), "{taken:?}");
    assert_eq!(pool.faults(), Vec::<String>::new());
}

/// Otherwise the waiter that is woken would search all frames for it, and the writer set it aside only with the last of its
/// batch.
#[test]
fn a_frame_that_is_let_go_of_is_set_aside_for_the_first_that_waits() {
    let pool = filled(3);
    let pin = |block| pool.pin_unused(FrameNo(block), page(block)).unwrap();
    let waiters = &pool.frame_waiters;
    let let_go = |last: Pin, waits: bool| {
        if waits {
            waiters.enlist(&mut None, Waker::noop());
        }
        drop(last);
        assert!(!waiters.any(), "it was not woken");
        pool.take_set_aside().map(|no| no.0)
    };
    assert_eq!((let_go(pin(0), true), let_go(pin(1), false)), (Some(0), None), "it is for those that wait");
    let used = pool.lookup(page(2)).expect("it is here");
    assert_eq!(let_go(used, true), None, "it was used: a sweep says whose turn it is");
    let written = pin(1);
    assert!(written.try_latch(Latch::Exclusive));
    written.unlatch_exclusive(true);
    pool.clean_list.set_mark(1);
    waiters.enlist(&mut None, Waker::noop());
    let reliefs = waiters.reliefs();
    drop(written);
    assert!(waiters.any(), "woken for a frame that is the writer's to clean");
    assert_ne!(waiters.reliefs(), reliefs, "the writer would not look for it");
    let written = pin(1);
    assert!(written.try_latch(Latch::Shared) && written.lend());
    written.unlatch_shared();
    written.end_write(true);
    assert_eq!((pool.take_set_aside(), waiters.any()), (Some(FrameNo(1)), false), "its batch may go on");
}

/// Otherwise each fetch that waits would go through the pages in turn of all shards at every tick, as long as pages are spared.
#[test]
#[cfg(not(any(loom, shuttle)))]
fn c6_one_sweep_in_vain_is_enough_for_all_that_wait_until_a_frame_is_let_go_of() {
    let pool = pool_with_room_for_ready(8, 0);
    (0..8).for_each(|block| drop(read(&pool, block)));
    (1..8).for_each(|block| drop(pool.lookup(page(block))));
    let written = pool.pin_unused(FrameNo(0), page(0)).unwrap();
    assert!(written.try_latch(Latch::Exclusive));
    written.unlatch_exclusive(true);
    assert!(written.try_latch(Latch::Shared) && written.lend());
    written.unlatch_shared();
    let sweeps = |spares| {
        let before = pool.counters.get(Counter::FutileSweeps);
        let take = || pool.take_frame(Search::Again { spares }, &mut DirtyVictims::new());
        // Hardly any time passes, so that the look at all frames holds.
        let taken = simulation::run(|| (0..9).find_map(|_| take()));
        (pool.counters.get(Counter::FutileSweeps) - before, taken.is_some())
    };
    assert_eq!(sweeps(true), (1, false));
    pool.frame_waiters.wake_one();
    assert_eq!(sweeps(true), (1, false), "a frame was let go of");
    assert_eq!(sweeps(false), (0, true), "one that need not be spared is another matter");
    written.end_write(true);
}

/// Otherwise each frame that comes back by itself would have the fetches that wait count on a writer that hangs for another
/// while.
#[test]
fn c6_a_writer_that_is_stuck_is_not_counted_on_for_a_frame_that_another_thread_lets_go_of() {
    let pool = filled(3);
    let clean_list = &pool.clean_list;
    clean_list.set_mark(1);
    clean_list.note_stuck(clean_list.made());
    pool.frame_waiters.enlist(&mut None, Waker::noop());
    drop(pool.pin_unused(FrameNo(0), page(0)).unwrap());
    assert_eq!((clean_list.len(), clean_list.is_kept()), (1, false));
    assert_eq!(pool.set_victims_aside(Reach::All, 1, &mut Vec::new(), 1, |_| true), 1);
    assert!(clean_list.is_kept(), "the writer has found one");
}

/// As a fetch does that has just come: otherwise one call for many pages after the other would go before the line.
#[test]
fn c6_a_batch_takes_no_frame_before_those_that_wait_in_line() {
    let pool = filled(3);
    pool.clean_list.set_mark(1);
    let take = |search| {
        let mut claimed = ClaimedFrames::new();
        pool.take_frames(2, search, &mut DirtyVictims::new(), &mut claimed);
        claimed.len()
    };
    pool.frame_waiters.enlist(&mut None, Waker::noop());
    assert_eq!(pool.set_victims_aside(Reach::All, 2, &mut Vec::new(), 2, |_| true), 2);
    assert_eq!([Search::Ahead, Search::Demand].map(take), [0, 0]);
    pool.frame_waiters.wake_one();
    assert_eq!([Search::Ahead, Search::Demand].map(take), [1, 1], "none waits");
}

#[test]
fn a_place_that_is_out_of_date_takes_no_frame_from_its_next_page() {
    let pool = filled(2);
    assert_eq!(pool.set_victims_aside(Reach::All, 1, &mut Vec::new(), 1, |_| true), 1);
    // Another thread evicts the page; the frame gets another, is made ready once more, and so has two places in the list.
    drop(pool.claim(FrameNo(0)).unwrap());
    assert_eq!(read(&pool, 0).frame_no(), FrameNo(0));
    while !pool.set_aside(FrameNo(0)) {
        pool.frame(FrameNo(0)).state.try_update(State::forget_uses).unwrap();
    }
    assert_eq!(read(&pool, 3).frame_no(), FrameNo(0));
    assert_ne!(read(&pool, 4).frame_no(), FrameNo(0));
    assert_eq!(resident(&pool), [2, 3, 4]);
}

#[test]
fn dirty_victims_are_met_once_each_and_left() {
    let pool = filled(2);
    for no in [0, 1].map(FrameNo) {
        let dirty = |s: State| s.pin_unused()?.latch_exclusive().map(|s| s.unlatch_exclusive(true).unpin());
        pool.frame(no).state.try_update(dirty).unwrap();
    }
    let mut dirty = Vec::new();
    assert_eq!(pool.set_victims_aside(Reach::All, 5, &mut dirty, 5, |_| true), 1, "more than there are");
    assert_eq!(dirty, [0, 1].map(FrameNo));
    let mut met = DirtyVictims::new();
    assert!(
        pool.take_frame(Search::Demand, &mut met).is_some_and(|claimed| claimed.frame_no() == FrameNo(2))
    );
    let _pinned = read(&pool, 3);
    assert!(pool.take_frame(Search::Demand, &mut met).is_none());
    assert_eq!(met[..], [0, 1].map(FrameNo));
}

#[test]
fn a_page_that_comes_back_outlives_the_next_ones() {
    let pool = filled(1);
    read(&pool, 3);
    read(&pool, 0);
    (4..9).for_each(|block| drop(read(&pool, block)));
    assert!(resident(&pool).contains(&0), "{:?}", resident(&pool));
}

/// Otherwise a fetch of another file would meet these first, time after time, and have them written in vain.
#[test]
fn c6_dirty_pages_of_a_file_that_refuses_writes_hide_no_other_victim() {
    const REFUSED: u32 = 3 * DIRTY_VICTIMS_MAX as u32;
    let pool = pool_of(REFUSED + 2);
    let dirty = |page: PageId| {
        let pin = small_pools::read(&pool, page);
        assert!(pin.try_latch(Latch::Exclusive));
        pin.unlatch_exclusive(true);
    };
    (0..REFUSED).for_each(|block| dirty(page(block)));
    let other = PageId::new(FileId(1), 0);
    dirty(other);
    let clean = small_pools::fill(&pool, PageId::new(FileId(1), 1));
    pool.dirty_counts.note_write(FileId(0), Some(&Error::ShutDown));
    let mut met = DirtyVictims::new();
    let taken = pool.take_frame(Search::Demand, &mut met).unwrap();
    assert_eq!(taken.frame_no(), clean);
    let mut met = DirtyVictims::new();
    assert!(pool.take_frame(Search::Demand, &mut met).is_none());
    let met: Vec<_> = met.iter().map(|&no| pool.frame(no).page()).collect();
    assert_eq!(met.len(), 2, "one is tried now and then: {met:?}");
    assert!(met[0] == other && met[1].file == FileId(0), "behind the others: {met:?}");
    drop(taken);
}

/// The way in which the frame is taken once its page is clean.
type TakeCleaned = for<'a> fn(&'a Residency, &DirtyVictims) -> Option<ClaimedFrame<'a>>;

/// Otherwise a fetch would try to write it again and again, and find no other behind it.
#[test]
fn c6_a_dirty_page_without_room_for_its_copy_is_no_victim_until_there_is_some() {
    let pool = pool_with_copies(3, 4);
    let other = PageId::new(FileId(1), 0);
    for page in [page(0), page(1), other] {
        let pin = small_pools::read(&pool, page);
        assert!(pin.try_latch(Latch::Exclusive));
        pin.unlatch_exclusive(true);
    }
    let met = || {
        let mut dirty = DirtyVictims::new();
        assert!(pool.take_frame(Search::Demand, &mut dirty).is_none());
        let mut pages: Vec<_> = dirty.iter().map(|&no| pool.frame(no).page()).collect();
        pages.sort_unstable();
        pages
    };
    assert_eq!(met(), [page(0), page(1), other]);
    let room = pool.copy_room.try_take(4, page(0).file).unwrap();
    assert_eq!(met(), [other], "the first file has all that it gets");
    let rest = pool.copy_room.try_take(4, other.file).unwrap();
    let before = pool.counters.get(Counter::FutileSweeps);
    assert_eq!((met(), pool.counters.get(Counter::FutileSweeps)), (vec![], before + 1));
    let mut place = None;
    pool.frame_waiters.enlist(&mut place, Waker::noop());
    pool.give_back_run(rest, &mut Wakers::new());
    assert!(pool.frame_waiters.leave(&place.unwrap()), "the first in line is told that there is room");
    assert_eq!(met(), [other]);
    pool.give_back_run(room, &mut Wakers::new());
    assert_eq!(met().len(), 3);
}

#[test]
fn a_page_that_was_dirty_at_its_turn_and_comes_back_outlives_the_next_ones() {
    let ways: [(&str, TakeCleaned); 3] = [
        ("by the fetch or batch that had it written", |pool, victims| pool.take_cleaned(victims)),
        ("set aside by the background writer", |pool, victims| {
            assert!(pool.set_aside(victims[0]));
            pool.take_clean()
        }),
        ("set aside as it was let go of", |pool, victims| {
            let last = pool.pin_unused(victims[0], page(0)).unwrap();
            pool.frame_waiters.enlist(&mut None, Waker::noop());
            drop(last);
            pool.take_clean()
        }),
    ];
    for (way, take) in ways {
        let pool = filled(1);
        let first = pool.pin_unused(FrameNo(0), page(0)).unwrap();
        assert!(first.try_latch(Latch::Exclusive));
        first.unlatch_exclusive(true);
        drop(first);
        let mut victims = Vec::new();
        assert_eq!(pool.set_victims_aside(Reach::InTurn, 1, &mut victims, 1, |_| true), 0);
        let writing = pool.pin_unused(victims[0], page(0)).unwrap();
        assert!(writing.try_latch(Latch::Shared) && writing.lend());
        writing.unlatch_shared();
        writing.end_write(true);
        let claimed = take(&pool, &DirtyVictims::from_vec(victims)).unwrap();
        assert_eq!(claimed.frame_no(), FrameNo(0), "{way}");
        pool.end_read(pool.map(claimed, page(3), false).unwrap().reading, &Ok(()), true);
        read(&pool, 0);
        (4..9).for_each(|block| drop(read(&pool, block)));
        assert!(resident(&pool).contains(&0), "{way}: {:?}", resident(&pool));
    }
}

#[test]
fn c6_a_victim_is_found_in_whichever_shard_it_is() {
    const FRAMES: u32 = 2048;
    let pool = pool_of(FRAMES);
    let mut pins: Vec<Pin> = (0..FRAMES).map(|block| read(&pool, block)).collect();
    assert!(pool.take_clean().is_none(), "all are pinned");
    pins.sort_by_key(Pin::frame_no);
    for at in [0, FRAMES as usize - 1] {
        let no = pins[at].frame_no();
        let block = pins.remove(at).frame().page().block.0;
        assert!(pool.take_clean().is_some_and(|claimed| claimed.frame_no() == no));
        pins.insert(at, read(&pool, block));
    }
}

#[test]
fn victims_of_several_shards_come_in_runs_that_lie_side_by_side() {
    const FRAMES: u32 = 4096;
    let pool = pool_of(FRAMES);
    // Twice around: what lay side by side when it was taken does so the next time.
    for _ in 0..2 {
        let taken: Vec<u32> = (0..FRAMES)
            .map(|_| pool.take_clean().unwrap().keep())
            .map(|no| {
                pool.frame(no).state.update(State::give_back);
                no.0
            })
            .collect();
        let breaks = taken.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
        assert!(breaks < FRAMES as usize / 16, "{breaks} of {FRAMES} do not lie behind the one before");
    }
}
