//! Queues by shard, and where free frames are.

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::{
    buffer::frame::header::FrameArrays,
    id::{FileId, PageId},
};

fn two_shards() -> Replacement {
    Replacement::new(2 * SHARD, 2 * SHARD).expect("memory for two shards")
}

#[test]
fn a_locked_shard_is_passed_by_for_another_with_free_frames_and_else_waited_for() {
    let replacement = two_shards();
    let other = replacement.shards[0].lock();
    let taken: Vec<_> = (0..SHARD).filter_map(|_| replacement.take_free(|_| true)).collect();
    assert!(taken.iter().all(|no| no.index() >= SHARD) && taken.len() == SHARD, "{taken:?}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| replacement.take_free(|_| true));
        drop(other);
        assert_eq!(waiting.join().unwrap(), Some(FrameNo(0)));
    });
}

#[test]
fn free_frames_are_counted_wherever_they_are_and_taken_wherever_they_are() {
    let replacement = two_shards();
    assert_eq!((replacement.free(), replacement.resize(SHARD), replacement.free()), (2 * SHARD, (), SHARD));
    while replacement.take_free(|_| true).is_some() {}
    replacement.resize(2 * SHARD);
    assert_eq!((replacement.free(), replacement.take_free(|_| true)), (0, None));
    // Last to first, as a thread gives back what it has taken in their order.
    let given_back = [SHARD - 1, SHARD, 2 * SHARD - 1].map(|no| FrameNo(no as u32));
    given_back.into_iter().rev().for_each(|no| replacement.release(no, || ()));
    assert_eq!(replacement.free(), 3);
    for first in [0, RUN] {
        replacement.taken.store(first, Ordering::Relaxed);
        let taken: Vec<_> = (0..4).filter_map(|_| replacement.take_free(|_| true)).collect();
        let in_turn = if first == 0 { [0, 1, 2] } else { [1, 2, 0] };
        assert_eq!(taken, in_turn.map(|at| given_back[at]));
        given_back.into_iter().rev().for_each(|no| replacement.release(no, || ()));
    }
}

/// The second shard, which has the only victim, is locked when its turn comes, until the first is looked at.
#[test]
fn c6_a_shard_that_was_passed_by_is_looked_at_again() {
    let replacement = two_shards();
    while replacement.take_free(|_| true).is_some() {}
    replacement.taken.store(RUN, Ordering::Relaxed);
    let frames = FrameArrays::new(2, 2).unwrap();
    let (busy, free) = (frames.get(FrameNo(0)), frames.get(FrameNo(1)));
    busy.state.update(|state| state.claim().unwrap());
    let other = RefCell::new(Some(replacement.shards[1].lock()));
    let frame = |no: FrameNo| {
        drop(other.take());
        if no.index() < 2 * SHARD - 1 { busy } else { free }
    };
    let found = replacement.sweep(1, Reach::All, true, frame, |no, _, _| Some(no));
    assert_eq!(found, Some(FrameNo(2 * SHARD as u32 - 1)));
}

#[test]
fn shards_have_their_turn_as_often_as_they_have_frames() {
    for (most, frames) in
        [(10_000, 10_000), (10_000, 1_200), (10_000, 3_400), (100_000, 1), (5, 5), (4_096, 4_095)]
    {
        let layout = Layout::of(most);
        let shards = layout.shards_for(frames);
        let mut turns = vec![0; shards];
        let runs = 100 * layout.shard_size.div_ceil(RUN) * shards;
        (0..runs).for_each(|run| turns[layout.turn(run, frames)] += 1);
        for (shard, turns) in turns.into_iter().enumerate() {
            let fair = runs as f64 * layout.frames_in(shard, frames) as f64 / frames as f64;
            let off = f64::from(turns) / fair;
            // A run is the least that a shard can have.
            let slack = 0.1 + RUN as f64 / layout.frames_in(shard, frames) as f64;
            assert!((off - 1.0).abs() < slack, "{frames} of {most}, shard {shard}: {off} of its turns");
        }
    }
}

#[test]
fn a_spared_page_keeps_half_of_its_uses_in_main_and_none_in_small() {
    let free = AtomicState::new(State::FREE);
    let read = |state: State| Some(state.claim()?.begin_read(false).end_read(true).unpin());
    free.try_update(read).unwrap();
    let with_uses = |uses: u64| {
        let state = AtomicState::new(free.load());
        (0..uses).for_each(|_| {
            state.update(|state| state.pin().map_or(state, State::unpin));
        });
        state
    };
    for (uses, queue, left) in
        [(3, Standing::Main, 1), (1, Standing::Main, 0), (3, Standing::Small, 0), (1, Standing::Small, 0)]
    {
        let state = with_uses(uses);
        assert_eq!(look(&state, queue, Reach::All), Verdict::Used);
        assert_eq!(state.load().usage(), left, "{uses} uses, {queue:?}");
    }
    for queue in [Standing::Main, Standing::Small] {
        assert_eq!(look(&with_uses(0), queue, Reach::All), Verdict::Evictable);
    }
}

/// Otherwise a second prefetch would have the pages of the first given up before they are used.
#[test]
fn a_page_read_ahead_is_spared_for_good_by_reads_ahead_and_once_by_others() {
    let ahead = |state: State| Some(state.claim()?.begin_read(false).expect_use().end_read(true).unpin());
    let state = AtomicState::new(State::FREE);
    state.try_update(ahead).unwrap();
    let looks = |reach| look(&state, Standing::Small, reach);
    assert_eq!([looks(Reach::InTurn), looks(Reach::InTurn)], [Verdict::Expected; 2]);
    assert_eq!([looks(Reach::All), looks(Reach::InTurn)], [Verdict::Expected, Verdict::Evictable]);
}

fn page(block: u32) -> PageId {
    PageId::new(FileId(0), block)
}

/// Makes four frames of one shard, with the pages 0 to 3, which were not used since they were read.
fn four_pages() -> (Replacement, FrameArrays) {
    pages_in(4)
}

/// Makes `frames` frames of one shard, with pages that were not used since they were read.
fn pages_in(frames: usize) -> (Replacement, FrameArrays) {
    let replacement = Replacement::new(frames, frames).expect("memory for the frames");
    let frames = FrameArrays::new(frames, frames).expect("memory for the frames");
    while let Some(no) = replacement.take_free(|_| true) {
        let frame = frames.get(no);
        frame.state.update(|state| state.claim().expect("it is free"));
        frame.assign(page(no.0));
        frame.state.update(|state| state.begin_read(false).end_read(true).unpin());
    }
    (replacement, frames)
}

/// A dirty victim that is passed over stays resident, and does not count as returned. So does one that was set aside, until
/// it is taken.
#[test]
fn a_victim_leaves_a_ghost_when_it_is_taken_wherever_that_happens() {
    let (replacement, frames) = four_pages();
    let frame = |no| frames.get(no);
    let ghosts = || [0, 1, 2, 3].map(|block| replacement.ghosts.take(page(block)));
    let taken = replacement.sweep(1, Reach::All, false, frame, |no, _, _| match no.0 {
        0 => None,
        1 => frame(no).state.try_update(State::make_ready).ok().and(None),
        _ => frame(no).state.try_update(State::claim).ok().map(|_| no),
    });
    assert_eq!((taken, ghosts()), (Some(FrameNo(2)), [false, false, true, false]));
    for (no, is_remembered) in [(FrameNo(1), true), (FrameNo(3), false)] {
        frame(no).state.try_update(State::claim).unwrap();
        replacement.renew(no, is_remembered, frame);
    }
    assert_eq!(ghosts(), [false, true, false, false]);
    // Whether or not its turn in main has come, and it was set aside then.
    frame(FrameNo(0)).state.try_update(State::claim).unwrap();
    for standing in [Standing::Main, Standing::FromMain] {
        replacement.shards[0].lock().put_last(0, standing);
        replacement.renew(FrameNo(0), true, frame);
        assert_eq!(ghosts(), [false; 4], "{standing:?}");
    }
    let _locked = replacement.shards[0].lock();
    replacement.renew(FrameNo(0), true, frame);
    assert_eq!(ghosts(), [true, false, false, false]);
}

#[test]
fn uses_right_after_a_page_came_in_are_forgotten_and_later_ones_count() {
    let (replacement, frames) = four_pages();
    let frame = |no| frames.get(no);
    let use_page = |no| frame(no).state.update(|state| state.pin().unwrap().unpin());
    let take = || {
        let take = |no, _, _| frame(no).state.try_update(State::claim).ok().map(|_| no);
        replacement.sweep(1, Reach::All, false, frame, take)
    };
    let read = |no, block| {
        frame(no).assign(page(block));
        frame(no).state.update(|state| state.begin_read(false).end_read(true).unpin());
    };
    assert_eq!(take(), Some(FrameNo(0)));
    read(FrameNo(0), 10);
    use_page(FrameNo(0));
    assert_eq!((take(), frame(FrameNo(0)).state.load().usage()), (Some(FrameNo(1)), 0));
    read(FrameNo(1), 11);
    use_page(FrameNo(0));
    replacement.renew(FrameNo(2), true, frame);
    assert_eq!(frame(FrameNo(0)).state.load().usage(), 1);
}

#[test]
fn of_pages_that_are_taken_together_each_is_new_for_a_while() {
    let (replacement, frames) = pages_in(300);
    let frame = |no| frames.get(no);
    let most = replacement.most_together();
    let take = || {
        let mut taken = Vec::new();
        let done = replacement.sweep(most, Reach::All, false, frame, |no, _, _| {
            taken.extend(frame(no).state.try_update(State::claim).ok().map(|_| no));
            (taken.len() == most).then_some(())
        });
        assert!(done.is_some() && most == 5, "{most}");
        taken
    };
    let first = take();
    for (&no, block) in first.iter().zip(1000..) {
        frame(no).assign(page(block));
        frame(no).state.update(|state| state.begin_read(false).end_read(true).unpin());
        frame(no).state.update(|state| state.pin().expect("it is there").unpin());
    }
    take();
    let usage = |&no: &FrameNo| frame(no).state.load().usage();
    assert!(first.iter().all(|no| usage(no) == 0), "uses of a page that was new count");
}

/// Otherwise a pool whose last shard has a single frame would read its pages one by one.
#[test]
fn a_small_last_shard_is_no_reason_to_take_fewer_together() {
    let most_together = |frames| Replacement::new(frames, 4 * SHARD).expect("memory").most_together();
    let of_full_ones = most_together(2 * SHARD);
    for frames in [SHARD, SHARD + 1, 2 * SHARD + 3, 4 * SHARD - 1] {
        assert_eq!(most_together(frames), of_full_ones, "of {frames}");
    }
    assert_eq!(most_together(1), 1);
}

/// Otherwise its former page, which has just left a ghost, would be taken for one that returns.
#[test]
fn a_frame_whose_page_has_not_come_yet_has_no_page_that_returns() {
    let (replacement, frames) = four_pages();
    let frame = |no| frames.get(no);
    let take = |no, _, _| frame(no).state.try_update(State::claim).ok().map(|_| no);
    assert_eq!(replacement.sweep(1, Reach::All, false, frame, take), Some(FrameNo(0)));
    replacement.renew(FrameNo(1), true, frame);
    assert!(replacement.ghosts.take(page(0)), "its ghost is gone");
}

proptest! {
    #[test]
    fn those_that_have_some_come_once_each_from_the_first_on(
        free in prop::collection::vec(0_usize..3, 1..8), first: prop::sample::Index,
    ) {
        let frames = free.len() * SHARD;
        let counts = Replacement::new(frames, frames).expect("memory");
        for (shard, &frames) in free.iter().enumerate() {
            // There were others before.
            counts.note_free(shard, 2);
            counts.note_free(shard, frames);
        }
        let first = first.index(free.len());
        let in_turn = (first..free.len()).chain(0..first).filter(|&shard| free[shard] > 0);
        prop_assert!(counts.shards_with_free_from(first).eq(in_turn));
        prop_assert_eq!(counts.free(), free.iter().sum::<usize>());
    }
}
