//! From page to page: claims, reads, and what becomes of them.

use super::*;

#[test]
fn only_an_idle_clean_frame_can_be_claimed() {
    assert!(free().claim().is_some());
    assert!(valid().claim().is_some());
    for busy in [claimed(), reading(), pinned(), dirty(), writing()] {
        assert_eq!(busy.claim(), None, "{busy:?}");
    }
    for hands in [PIN, SHARE, EXCLUSIVE, READING, WRITING, CLAIMED, DIRTY, BIASED] {
        assert_eq!(State(VALID | hands).claim(), None, "{:?}", State(VALID | hands));
    }
}

/// The next page begins with none of the former's uses and marks. Waiters and the end of the pool do not belong to the page.
#[test]
fn a_claim_leaves_nothing_of_the_page() {
    for of_the_page in [0, USED, USAGE, AHEAD, READY, READ_ONLY, KEEPS_LSN] {
        assert_eq!(
            State(VALID | of_the_page).claim(),
            Some(State(CLAIMED)),
            "{:?}",
            State(VALID | of_the_page)
        );
    }
    assert_eq!(State(LOADED).claim(), Some(State(CLAIMED)), "its reader has failed to verify it");
    for of_the_frame in [LATCH_WAITERS, IO_WAITERS, ORPHAN] {
        let page = State(VALID | of_the_frame);
        assert_eq!(page.claim(), Some(State(CLAIMED | of_the_frame)), "{page:?}");
    }
    assert_eq!(claimed().give_back(), free());
}

#[test]
fn a_buffer_ring_takes_a_frame_back_only_if_no_other_caller_has_a_use_for_its_page() {
    assert_eq!(valid().claim_unused(), Some(claimed()));
    let used = pinned().unpin();
    assert!(
        used.claim().is_some() && ahead().claim().is_some(),
        "a thread that needs this very frame takes it"
    );
    for other in [used, ahead(), reading(), pinned(), dirty(), writing(), claimed()] {
        assert_eq!(other.claim_unused(), None, "{other:?}");
    }
}

#[test]
fn a_read_ends_with_its_page_or_with_nothing_of_it() {
    let of_a_waiter = PIN | IO_WAITERS | ORPHAN;
    for of_the_read in [0, UNATTENDED] {
        for of_the_page in [0, USED, USAGE, AHEAD, READ_ONLY, KEEPS_LSN] {
            let reading = State(READING | of_a_waiter | of_the_read | of_the_page);
            assert_eq!(reading.end_read(true), State(VALID | of_a_waiter | of_the_page));
            assert_eq!(reading.end_read(false), State(LOADED | of_a_waiter | of_the_page));
            assert_eq!(reading.fail_read(), State(of_a_waiter), "{reading:?}");
        }
    }
}

#[test]
fn a_page_is_verified_by_one_for_all() {
    let verifying = loaded().begin_verify().unwrap();
    assert_eq!(verifying, reading());
    for other in [verifying, pinned(), reading().fail_read()] {
        assert_eq!(other.begin_verify(), None, "{other:?}");
    }
}

#[test]
fn a_read_is_left_to_itself_once_and_only_while_it_goes_on() {
    let left = reading().leave_unattended().unwrap();
    assert!(left.is_unattended() && !reading().is_unattended());
    assert_eq!((left.end_read(true), left.fail_read()), (reading().end_read(true), reading().fail_read()));
    for other in [left, loaded(), valid(), pinned(), claimed(), free()] {
        assert_eq!(other.leave_unattended(), None, "{other:?}");
    }
}

#[test]
fn a_read_begins_with_a_pin_of_its_own_and_the_mark_of_its_file() {
    assert_eq!(claimed().begin_read(false), State(READING | PIN));
    assert_eq!(claimed().begin_read(true), State(READING | PIN | READ_ONLY));
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
    for of_the_page in [USED, USAGE, AHEAD, KEEPS_LSN] {
        assert_eq!(seized.with(of_the_page).discard_changes(), claimed());
    }
    let latched = dirty().pin().unwrap().latch_shared().unwrap();
    for other in [free(), claimed(), reading(), valid(), pinned(), dirty().pin().unwrap(), latched, writing()]
    {
        assert_eq!(other.seize(), None, "{other:?}");
    }
}
