//! Every rule of the state word, as a table.

use super::*;

/// The states a frame goes through in its life, by name.
fn free() -> State {
    State::FREE
}
fn claimed() -> State {
    free().claim().unwrap()
}
fn reading() -> State {
    claimed().begin_read(false)
}
fn valid() -> State {
    reading().end_read(true).unpin()
}
fn pinned() -> State {
    valid().pin().unwrap()
}
fn dirty() -> State {
    pinned().latch_exclusive().unwrap().unlatch_exclusive(true).unpin()
}
fn writing() -> State {
    dirty().begin_write().unwrap()
}

#[test]
fn every_bit_of_the_word_has_one_meaning() {
    let flags = [
        READY,
        MIRRORED,
        UNATTENDED,
        EXCLUSIVE,
        VALID,
        LOADED,
        READING,
        WRITING,
        DIRTY,
        CLAIMED,
        LATCH_WAITERS,
        IO_WAITERS,
        READ_ONLY,
        ORPHAN,
        AHEAD,
        LENT,
    ];
    assert!(flags.iter().all(|flag| flag.is_power_of_two()));
    let parts = flags.into_iter().chain([PINS, USAGE, SHARES, PLACE]);
    let word = parts.fold(0, |word, part| {
        assert_eq!(word & part, 0, "{part:x} has two meanings");
        word | part
    });
    assert_eq!(word, u64::MAX);
    assert_eq!((HALF_THE_PINS, HALF_THE_SHARES), (PINS / 2 + PIN, (SHARES / SHARE).div_ceil(2) * SHARE));
}

#[test]
fn each_question_is_about_its_own_bits() {
    type Question = fn(State) -> bool;
    let questions: [(Question, u64); 12] = [
        (State::is_valid, VALID),
        (State::is_dirty, DIRTY),
        (State::is_writing, WRITING),
        (State::is_lent, LENT),
        (State::is_in_io, READING | WRITING),
        (State::is_read_only, READ_ONLY),
        (State::is_orphan, ORPHAN),
        (State::has_latch_waiters, LATCH_WAITERS),
        (State::has_io_waiters, IO_WAITERS),
        (State::is_unattended, UNATTENDED),
        (State::may_hold_changes, DIRTY | WRITING | EXCLUSIVE),
        (State::is_mirrored, MIRRORED),
    ];
    for (number, (question, bits)) in questions.into_iter().enumerate() {
        for bit in (0..u64::BITS).map(|bit| 1 << bit) {
            assert_eq!(question(State(bit)), bits & bit != 0, "question {number}, bit {bit:x}");
        }
    }
}

#[test]
fn a_dirty_page_is_idle_only_in_nobodys_hands() {
    assert!(dirty().is_idle_dirty() && !valid().is_idle_dirty());
    for hands in [PIN, SHARE, EXCLUSIVE, WRITING, CLAIMED] {
        assert!(!dirty().with(hands).is_idle_dirty(), "{:?}", dirty().with(hands));
    }
}

#[test]
fn each_phase_is_told_from_the_others() {
    let phases = [free(), claimed(), reading(), reading().end_read(false), valid()].map(State::phase);
    assert_eq!(phases, [Phase::Free, Phase::Claimed, Phase::Reading, Phase::Loaded, Phase::Valid]);
}

#[test]
fn what_must_never_be_is_named() {
    let broken = [
        (VALID | READING, "1"),
        (CLAIMED | PIN, "2"),
        (CLAIMED | SHARE, "2"),
        (SHARE, "3"),
        (WRITING, "3"),
        (DIRTY, "3"),
        (VALID | EXCLUSIVE | SHARE, "3"),
        (VALID | READ_ONLY | DIRTY, "3"),
        (VALID | LENT, "4"),
        (VALID | WRITING | LENT | PLACE, "4"),
        (VALID | UNATTENDED, "6"),
        (READING | MIRRORED, "7"),
    ];
    for (word, invariant) in broken {
        assert!(State(word).unsound().unwrap().starts_with(invariant), "{:?}", State(word));
    }
    for word in [VALID | WRITING | LENT, CLAIMED | DIRTY, CLAIMED | MIRRORED, READING | UNATTENDED] {
        State(word).assert_sound();
    }
}

#[test]
fn a_page_is_copied_once_and_uses_of_the_copy_count_up_to_the_limit() {
    let shared = pinned().latch_shared().unwrap();
    let mirrored = shared.mark_mirrored().unwrap();
    assert_eq!(mirrored.mark_mirrored(), None);
    let used = (mirrored.usage()..MAX_USAGE).fold(mirrored, |state, _| state.use_mirrored().unwrap());
    assert_eq!((used.usage(), used.use_mirrored(), shared.use_mirrored()), (MAX_USAGE, None, None));
    assert_eq!(State(CLAIMED | MIRRORED).use_mirrored(), None, "the page is on its way out");
    let exclusive = mirrored.unlatch_shared().latch_exclusive().unwrap();
    assert_eq!(Some(exclusive.unmark_mirrored()), pinned().latch_exclusive());
}

#[test]
fn a_life_from_free_to_evicted_is_sound_at_every_step() {
    let mut state = free();
    let steps: [fn(State) -> State; 12] = [
        |s| s.claim().unwrap(),
        |s| s.begin_read(false),
        |s| s.end_read(false),
        |s| s.begin_verify().unwrap(),
        |s| s.end_read(true),
        |s| s.latch_exclusive().unwrap(),
        |s| s.downgrade(true),
        |s| s.begin_write().unwrap(),
        |s| s.unlatch_shared(),
        |s| s.end_write(true),
        |s| s.unpin(),
        |s| s.claim().unwrap(),
    ];
    for step in steps {
        state = step(state);
        state.assert_sound();
    }
    assert_eq!(state, claimed());
}

#[test]
fn a_view_is_had_in_one_step_where_nothing_needs_a_closer_look() {
    let viewed = pinned().pin_and_latch().unwrap();
    viewed.assert_sound();
    assert_eq!((viewed.pins(), viewed.shares(), viewed.usage()), (2, 1, 2));
    assert_eq!(viewed.pin_and_latch().unwrap().unlatch_and_unpin(), Some(State(viewed.0 + USED)));
    let worn = (0..9).fold(valid(), |state, _| state.pin_and_latch().unwrap());
    assert_eq!(worn.usage(), MAX_USAGE);
    let (changed, waited_for) = (pinned().latch_exclusive().unwrap(), viewed.set_latch_waiters(true));
    let ahead = claimed().begin_read(false).expect_use().end_read(true);
    for state in [free(), claimed(), reading(), reading().end_read(false), changed, waited_for, ahead] {
        assert_eq!(state.pin_and_latch(), None, "{state:?}");
    }
    assert_eq!(State(valid().0 + PINS / 2 + 1).pin_and_latch(), None);
    assert_eq!((waited_for.unlatch_and_unpin(), viewed.orphan().unlatch_and_unpin()), (None, None));
}

#[test]
fn only_an_idle_clean_frame_can_be_claimed() {
    assert!(free().claim().is_some());
    assert!(valid().claim().is_some());
    for busy in [claimed(), reading(), pinned(), dirty(), writing()] {
        assert_eq!(busy.claim(), None, "{busy:?}");
    }
}

#[test]
fn a_seized_page_is_out_of_reach_and_comes_back_as_it_was() {
    let seized = dirty().seize().unwrap();
    seized.assert_sound();
    assert!(
        seized.is_seized() && seized.may_hold_changes() && !dirty().is_seized() && !claimed().is_seized()
    );
    assert_eq!((seized.pin(), seized.pin_unused(), seized.pin_and_latch()), (None, None, None));
    assert_eq!((seized.seize(), seized.claim(), seized.age()), (None, None, None));
    assert_eq!((seized.verdict(), seized.is_idle_dirty()), (Verdict::Busy, false));
    assert_eq!(seized.put_back(), dirty());
    assert_eq!(seized.discard_changes(), claimed());
    let latched = dirty().pin().unwrap().latch_shared().unwrap();
    for other in [free(), claimed(), reading(), valid(), pinned(), dirty().pin().unwrap(), latched, writing()]
    {
        assert_eq!(other.seize(), None, "{other:?}");
    }
}

#[test]
fn a_frame_without_a_page_cannot_be_pinned() {
    assert_eq!(free().pin(), None);
    assert_eq!(claimed().pin(), None);
    let failed = reading().pin().unwrap().fail_read();
    assert_eq!(failed.phase(), Phase::Free);
    assert_eq!(failed.pin(), None, "a failed read must not be joined");
    for ready in [reading(), valid(), pinned(), dirty(), writing()] {
        assert!(ready.pin().is_some(), "{ready:?}");
    }
}

#[test]
fn one_pin_holds_as_many_share_latches_as_the_word_can_count() {
    let most = (SHARES / SHARE) as usize;
    let mut state = pinned();
    for _ in 0..most {
        state = state.latch_shared().unwrap();
    }
    state.assert_sound();
    assert_eq!(state.latch_shared(), None, "one more would look like the exclusive latch");
    assert!(!state.has(EXCLUSIVE));
    let one_less = state.unlatch_shared();
    assert_eq!(one_less.latch_shared(), Some(state));
}

#[test]
fn pins_stop_at_what_the_word_can_count() {
    let full = State(valid().0 | PINS);
    assert_eq!(full.pin(), None);
    assert_eq!(full.pin_again(), None);
    assert!(full.pins_are_exhausted() && !full.unpin().pins_are_exhausted());
    assert!(full.unpin().pin().is_some());
    let again = pinned().pin_again().unwrap();
    assert_eq!((again.pins(), again.unpin()), (2, pinned()), "no use of the page");
}

#[test]
fn the_usage_count_rises_to_its_limit_and_ages_to_nothing() {
    let mut state = valid();
    for _ in 0..20 {
        state = state.pin().unwrap().unpin();
    }
    assert_eq!(state.usage(), MAX_USAGE);
    for left in (0..MAX_USAGE).rev() {
        state = state.age().unwrap();
        assert_eq!(state.usage(), left);
    }
    assert_eq!(state.verdict(), Verdict::Claim);
    assert_eq!(state.age(), None);
}

#[test]
fn a_page_read_ahead_is_spared_once_until_it_is_used_itself() {
    let ahead = reading().expect_use().end_read(true).unpin();
    assert_eq!(ahead.verdict(), Verdict::Expected);
    assert_eq!(ahead.expect_no_longer(), Some(valid()));
    assert_eq!(ahead.pin_unused().unwrap().unpin(), ahead, "housekeeping is no use");
    let used = ahead.pin().unwrap().unpin();
    assert_eq!(used, valid(), "read ahead and used is as read");
    assert_eq!(used.pin().unwrap().usage(), 1);
}

#[test]
fn a_page_that_comes_back_counts_as_used_also_where_it_is_read_ahead() {
    let back = reading().comes_back().unwrap();
    assert_eq!((back.usage(), back.comes_back()), (1, None), "once");
    let ahead = back.expect_use().end_read(true).unpin();
    assert_eq!(ahead.verdict(), Verdict::Used);
    assert_eq!(ahead.pin().unwrap().usage(), 1, "the use for which it was read is none more");
    assert_eq!(ahead.forget_uses().unwrap().verdict(), Verdict::Expected);
}

#[test]
fn a_burst_of_uses_is_forgotten_at_once_and_other_uses_one_by_one() {
    let used = pinned().pin().unwrap().unpin().unpin();
    assert_eq!((used.usage(), used.age().map(State::usage)), (2, Some(1)));
    assert_eq!(used.forget_uses(), Some(valid()));
    assert_eq!((valid().forget_uses(), valid().expect_no_longer()), (None, None));
}

#[test]
fn what_is_ready_is_left_to_whoever_comes_first_unless_it_is_used() {
    let ready = valid().make_ready().unwrap();
    assert_eq!(ready.verdict(), Verdict::Busy, "the sweep does not give it away twice");
    assert_eq!((ready.make_ready(), ready.claim_ready()), (None, Some(claimed())));
    assert_eq!(valid().claim_ready(), None, "another took it, and it has a new page");
    let used = ready.pin().unwrap().unpin();
    assert_eq!((used.claim_ready(), used.no_longer_ready()), (None, pinned().unpin()));
    assert_eq!(ready.claim(), Some(claimed()), "who needs this very frame takes it, and the mark goes");
    for other in [pinned(), dirty(), writing(), used] {
        assert_eq!(other.make_ready(), None, "{other:?}");
    }
}

#[test]
fn a_change_during_a_write_is_not_forgotten() {
    let changed = writing().pin().unwrap().latch_exclusive().unwrap().unlatch_exclusive(true).unpin();
    assert!(changed.is_dirty() && changed.is_writing());
    assert_eq!(changed.begin_write(), None, "two writes of one page must not overlap");
    assert!(changed.end_write(true).is_dirty(), "the write did not cover the change");
    assert!(!writing().end_write(true).is_dirty());
    assert!(writing().end_write(false).is_dirty(), "a failed write forgets nothing");
}

#[test]
fn latches_exclude_as_they_should_and_queue_behind_waiters() {
    let shared = pinned().latch_shared().unwrap();
    let exclusive = pinned().latch_exclusive().unwrap();
    assert!(shared.pin().unwrap().latch_shared().is_some());
    assert_eq!(shared.pin().unwrap().latch_exclusive(), None);
    assert_eq!(exclusive.pin().unwrap().latch_shared(), None);
    assert_eq!(exclusive.pin().unwrap().latch_exclusive(), None);
    let waited_for = pinned().set_latch_waiters(true);
    assert_eq!(waited_for.latch_shared(), None, "a newcomer must not overtake");
    assert_eq!(waited_for.latch_exclusive(), None, "a newcomer must not overtake");
    assert!(waited_for.hand_over_exclusive().is_some());
}

#[test]
fn who_had_the_exclusive_latch_and_changed_nothing_leaves_no_dirt() {
    let exclusive = pinned().latch_exclusive().unwrap();
    assert_eq!(exclusive.unlatch_exclusive(false), pinned());
    assert!(exclusive.unlatch_exclusive(true).is_dirty());
    assert_eq!(Some(exclusive.downgrade(false)), pinned().latch_shared());
}

#[test]
fn the_sweep_leaves_busy_frames_alone() {
    for busy in [claimed(), reading(), pinned(), writing(), State(valid().0 | EXCLUSIVE)] {
        assert_eq!(busy.verdict(), Verdict::Busy, "{busy:?}");
    }
    assert_eq!(free().verdict(), Verdict::Claim);
    assert_eq!(valid().verdict(), Verdict::Claim, "being read is no use");
    let used = pinned().unpin();
    assert_eq!(used.verdict(), Verdict::Used);
    let old_and_dirty = (0..MAX_USAGE).fold(dirty(), |state, _| state.age().unwrap_or(state));
    assert_eq!(old_and_dirty.verdict(), Verdict::Clean);
}

#[test]
#[should_panic(expected = "released what was not held")]
fn an_unpin_too_many_is_caught() {
    let _ = valid().unpin();
}

#[test]
fn a_pin_for_another_page_leaves_uses_as_they_were_and_those_of_others_too() {
    let ahead = || claimed().begin_read(false).expect_use().end_read(true).unpin();
    let used_most = (0..MAX_USAGE).fold(valid(), |state, _| state.pin().unwrap().unpin());
    for before in [reading(), valid(), pinned(), dirty(), ahead(), used_most] {
        for pinned in [before.pin(), before.pin_unused()].map(Option::unwrap) {
            assert_eq!(pinned.take_back_use(before, pinned).unpin(), before, "{before:?}");
        }
    }
    let mine = valid().pin().unwrap();
    let with_another = mine.pin().unwrap();
    assert_eq!(with_another.take_back_use(valid(), mine).usage(), valid().usage() + 1);
    for before in [reading(), reading().expect_use()] {
        let mine = before.pin().unwrap();
        mine.fail_read().take_back_use(before, mine).assert_sound();
        assert_eq!(
            mine.fail_read().take_back_use(before, mine),
            mine.fail_read(),
            "its read failed meanwhile"
        );
    }
}
