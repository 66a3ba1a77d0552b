//! Whose turn it is to give up a page, and who is spared.

use super::*;

#[test]
fn the_sweep_leaves_busy_frames_alone() {
    for busy in [claimed(), reading(), pinned(), writing(), State(valid().0 | EXCLUSIVE)] {
        assert_eq!(busy.verdict(), Verdict::Busy, "{busy:?}");
    }
    assert_eq!(free().verdict(), Verdict::Evictable);
    assert_eq!(valid().verdict(), Verdict::Evictable, "being read is no use");
    let used = pinned().unpin();
    assert_eq!(used.verdict(), Verdict::Used);
    let old_and_dirty = (0..MAX_USAGE).fold(dirty(), |state, _| state.age().unwrap_or(state));
    assert_eq!(old_and_dirty.verdict(), Verdict::Dirty);
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
    assert_eq!(state.verdict(), Verdict::Evictable);
    assert_eq!(state.age(), None);
}

#[test]
fn a_page_read_ahead_is_spared_once_until_it_is_used_itself() {
    let ahead = ahead();
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
