//! Pins, and the uses that they are.

use super::*;

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
fn pins_stop_at_what_the_word_can_count() {
    let full = State(valid().0 + PINS_MAX);
    assert_eq!(full.pin(), None);
    assert_eq!(full.pin_again(), None);
    assert!(full.pins_are_exhausted() && !full.unpin().pins_are_exhausted());
    assert!(full.unpin().pin().is_some());
    let again = pinned().pin_again().unwrap();
    assert_eq!((again.pins(), again.unpin()), (2, pinned()), "no use of the page");
}

#[test]
fn a_pin_and_a_share_latch_are_had_in_one_step_where_nothing_needs_a_closer_look() {
    let viewed = pinned().pin_and_latch().unwrap();
    viewed.assert_sound();
    assert_eq!((viewed.pins(), viewed.shares(), viewed.usage()), (2, 1, 2));
    assert_eq!(viewed.pin_and_latch().unwrap().unlatch_and_unpin(), Some(State(viewed.0 + USED)));
    let worn = (0..9).fold(valid(), |state, _| state.pin_and_latch().unwrap());
    assert_eq!((worn.usage(), worn.pins(), worn.shares()), (MAX_USAGE, 9, 9));
    let (changed, waited_for) = (pinned().latch_exclusive().unwrap(), viewed.set_latch_waiters(true));
    for state in [free(), claimed(), reading(), loaded(), changed, waited_for, ahead()] {
        assert_eq!(state.pin_and_latch(), None, "{state:?}");
    }
    assert_eq!(State(valid().0 + PINS / 2 + 1).pin_and_latch(), None);
    assert_eq!((waited_for.unlatch_and_unpin(), viewed.orphan().unlatch_and_unpin()), (None, None));
}

#[test]
fn a_pin_for_another_page_leaves_uses_as_they_were_and_those_of_others_too() {
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

#[test]
#[should_panic(expected = "released what was not held")]
fn an_unpin_too_many_is_caught() {
    let _ = valid().unpin();
}

#[test]
#[should_panic(expected = "released what was not held")]
fn a_guard_that_has_a_pin_but_no_latch_is_caught() {
    let _ = pinned().unlatch_and_unpin();
}

#[test]
#[should_panic(expected = "released what was not held")]
fn a_guard_that_has_a_latch_but_no_pin_is_caught() {
    let _ = State(VALID | SHARE).unlatch_and_unpin();
}
