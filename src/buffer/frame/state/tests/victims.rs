//! Which frame's turn it is to give up a page, and which is spared.

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
fn the_usage_count_rises_to_its_limit_and_halves_to_nothing() {
    let mut state = valid();
    for _ in 0..20 {
        state = state.pin().unwrap().unpin();
    }
    assert_eq!(state.usage(), MAX_USAGE);
    let halved = std::iter::successors(Some(state), |state| state.age());
    assert_eq!(halved.map(State::usage).collect::<Vec<_>>(), [3, 1, 0]);
    assert_eq!((pinned().pin().unwrap().age(), valid().age()), (None, None), "what is busy does not age");
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
fn a_burst_of_uses_is_forgotten_at_once_also_while_the_page_is_pinned() {
    let used = pinned().pin().unwrap();
    assert_eq!((used.usage(), used.forget_uses().map(State::usage)), (2, Some(0)));
    assert_eq!(used.unpin().unpin().forget_uses(), Some(valid()));
    assert_eq!((valid().forget_uses(), valid().expect_no_longer()), (None, None));
}

#[test]
fn what_is_ready_is_left_to_the_first_taker_unless_it_is_used() {
    let ready = valid().make_ready().unwrap();
    assert_eq!(ready.verdict(), Verdict::Busy, "the sweep does not give it away twice");
    assert_eq!((ready.make_ready(), ready.claim_ready()), (None, Some(claimed())));
    assert_eq!(valid().claim_ready(), None, "another took it, and it has a new page");
    let used = ready.pin().unwrap().unpin();
    assert_eq!((used.claim_ready(), used.no_longer_ready()), (None, pinned().unpin()));
    assert_eq!(
        ready.claim(),
        Some(claimed()),
        "a thread that needs this very frame takes it, and the mark goes"
    );
    for other in [pinned(), dirty(), writing(), used] {
        assert_eq!(other.make_ready(), None, "{other:?}");
    }
}
