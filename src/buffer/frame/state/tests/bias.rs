//! The bias towards readers: when it comes, when it goes, and what it keeps away.

use super::*;

/// Makes a page with a full usage count, unpinned.
fn used() -> State {
    State(valid().0 | USAGE)
}

fn biased() -> State {
    used().pin_and_latch().unwrap().unlatch_and_unpin().unwrap()
}

#[test]
fn a_use_of_a_page_that_has_all_uses_sets_the_bias() {
    assert_eq!(biased(), used().with(BIASED));
    assert_eq!(used().pin_valid().unwrap().unpin(), biased());
    let almost = State(used().0 - USED);
    assert_eq!(
        almost.pin_and_latch().unwrap().unlatch_and_unpin().unwrap(),
        used(),
        "its last use has just come"
    );
    for other in [State::pin, State::pin_unused] {
        assert_eq!(other(used()).unwrap().unpin(), used());
    }
}

#[test]
fn no_bias_is_set_where_it_would_have_to_go_at_once() {
    for of_a_page in
        [DIRTY, WRITING, SHADOWED, AHEAD, LATCH_WAITERS, HALF_THE_PINS, HALF_THE_SHARES, EXCLUSIVE]
    {
        let page = used().with(of_a_page);
        for step in [State::pin_valid, State::pin_and_latch] {
            assert!(step(page).is_none_or(|after| !after.is_biased()), "{page:?}");
        }
    }
}

#[test]
fn a_reader_takes_a_slot_where_the_page_is_biased_has_all_uses_and_no_thread_waits() {
    assert!(biased().takes_slots() && biased().pin_unused().unwrap().takes_slots());
    for other in [used(), State(biased().0 - USED), biased().with(LATCH_WAITERS), claimed(), free()] {
        assert!(!other.takes_slots(), "{other:?}");
    }
}

#[test]
fn a_biased_page_is_neither_changed_nor_claimed() {
    let pinned = biased().pin_unused().unwrap();
    assert_eq!((pinned.latch_exclusive(), pinned.hand_over_exclusive()), (None, None));
    assert!(pinned.latch_shared().is_some());
    let aged = State(biased().0 & !USAGE);
    assert_eq!(aged.verdict(), Verdict::Evictable, "a sweep finds it");
    for claim in [State::claim, State::claim_unused] {
        assert!(claim(aged).is_none() && aged.refuses_for_bias(claim));
        assert!(!aged.pin_unused().unwrap().refuses_for_bias(claim), "it is pinned besides");
    }
    assert!(!biased().refuses_for_bias(State::claim_unused), "it is used besides");
    assert!(!valid().refuses_for_bias(State::claim));
}

#[test]
fn a_writer_is_refused_for_the_bias_where_nothing_else_is_in_its_way() {
    assert!(biased().refuses_writer_for_bias(), "its pin is in a slot");
    assert!(biased().pin_unused().unwrap().refuses_writer_for_bias());
    for other in [biased().counted(true), biased().with(LATCH_WAITERS), used(), used().with(EXCLUSIVE)] {
        assert!(!other.refuses_writer_for_bias(), "{other:?}");
    }
}

#[test]
fn a_bias_is_revoked_once_and_leaves_the_revoking_thread_a_pin_and_a_latch() {
    let revoked = biased().revoke_bias().unwrap();
    assert_eq!(revoked.all_counted(), used().pin_unused().unwrap().latch_shared().unwrap());
    assert_eq!(
        (revoked.revoke_bias(), revoked.biased_if_hot()),
        (None, revoked),
        "one thread counts at a time"
    );
    assert_eq!((revoked.latch_exclusive(), revoked.claim()), (None, None));
    assert_eq!(revoked.all_counted().unlatch_and_unpin(), Some(used()));
    let waited_for = biased().with(LATCH_WAITERS).revoke_bias().unwrap();
    assert_eq!(waited_for.unlatch_and_unpin(), None, "the thread that waits is told");
}

#[test]
fn the_word_counts_what_slots_hold_beyond_all_that_it_grants() {
    for latched in [false, true] {
        let counted = pinned().counted(latched);
        assert_eq!((counted.pins(), counted.shares()), (2, u64::from(latched)));
    }
    let full = State(VALID | PINS_MAX | SHARES_MAX);
    let over = (0..RESERVE).fold(full, |state, _| state.counted(true));
    assert_eq!((over.pins(), over.shares()), (PINS, SHARES / SHARE));
    assert_eq!((over.pin(), over.pin_again(), over.latch_shared()), (None, None, None));
    assert!(over.pins_are_exhausted() && over.unpin().pins_are_exhausted());
}
