//! Every rule of the state word, as a table: the word itself, latches and write-out here, the others by theme.

mod bias;
mod pages;
mod pins;
mod victims;

use super::*;

/// The meaning of a word's single bits.
const FLAGS: [u64; 19] = [
    READY,
    BIASED,
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
    SHADOWED,
    LENT,
    KEEPS_LSN,
    COUNTING,
];

/// The first of the states of a frame's life, which follow by name.
fn free() -> State {
    State::FREE
}
fn claimed() -> State {
    free().claim().unwrap()
}
fn reading() -> State {
    claimed().begin_read(false)
}
fn loaded() -> State {
    reading().end_read(false)
}
fn ahead() -> State {
    reading().expect_use().end_read(true).unpin()
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
    assert!(FLAGS.iter().all(|flag| flag.is_power_of_two()));
    let parts = FLAGS.into_iter().chain([PINS, USAGE, SHARES]);
    let word = parts.fold(0, |word, part| {
        assert_eq!(word & part, 0, "{part:x} has two meanings");
        word | part
    });
    assert_eq!(word, !(0b11111 << 41), "the rest is free");
    assert_eq!((HALF_THE_PINS, HALF_THE_SHARES), (PINS / 2 + PIN, (SHARES / SHARE).div_ceil(2) * SHARE));
}

#[test]
fn each_question_is_about_its_own_bits() {
    type Question = fn(State) -> bool;
    let questions: [(Question, u64); 13] = [
        (State::is_valid, VALID),
        (State::is_dirty, DIRTY),
        (State::is_writing, WRITING),
        (State::is_lent, LENT),
        (State::is_shadowed, SHADOWED),
        (State::is_in_io, READING | WRITING),
        (State::is_read_only, READ_ONLY),
        (State::is_orphan, ORPHAN),
        (State::has_latch_waiters, LATCH_WAITERS),
        (State::has_io_waiters, IO_WAITERS),
        (State::is_unattended, UNATTENDED),
        (State::may_hold_changes, DIRTY | WRITING | EXCLUSIVE),
        (State::is_biased, BIASED),
    ];
    for (number, (question, bits)) in questions.into_iter().enumerate() {
        for bit in (0..u64::BITS).map(|bit| 1 << bit) {
            assert_eq!(question(State(bit)), bits & bit != 0, "question {number}, bit {bit:x}");
        }
    }
}

#[test]
fn a_dirty_page_is_idle_only_without_pins_and_latches() {
    assert!(dirty().is_idle_dirty() && !valid().is_idle_dirty());
    for hands in [PIN, SHARE, EXCLUSIVE, WRITING, CLAIMED] {
        assert!(!dirty().with(hands).is_idle_dirty(), "{:?}", dirty().with(hands));
    }
}

#[test]
fn each_phase_is_told_from_the_others() {
    let phases = [free(), claimed(), reading(), loaded(), valid()].map(State::phase);
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
        (VALID | WRITING | LENT | SHADOWED, "4"),
        (VALID | UNATTENDED, "6"),
        (READING | BIASED, "7"),
        (CLAIMED | BIASED, "7"),
        (VALID | BIASED | DIRTY, "7"),
        (VALID | BIASED | WRITING, "7"),
        (VALID | BIASED | EXCLUSIVE, "7"),
        (VALID | BIASED | SHADOWED, "7"),
    ];
    for (word, invariant) in broken {
        assert!(State(word).unsound().unwrap().starts_with(invariant), "{:?}", State(word));
    }
    for word in [VALID | WRITING | LENT, CLAIMED | DIRTY, VALID | BIASED | SHARE, READING | UNATTENDED] {
        State(word).assert_sound();
    }
}

#[test]
#[should_panic(expected = "1: two phases at once")]
fn what_must_never_be_is_not_gone_on_with() {
    State(VALID | READING).assert_sound();
}

/// Returns every state that the invariants allow, with one at the most of what is counted.
fn sound_states() -> impl Iterator<Item = State> {
    let bits: Vec<u64> = FLAGS.into_iter().chain([PIN, USED, SHARE]).collect();
    let word =
        move |choice: u32| (0..).zip(&bits).filter(|(n, _)| choice >> n & 1 == 1).map(|(_, bit)| bit).sum();
    (0..1 << (FLAGS.len() + 3)).map(word).map(State).filter(|state| state.unsound().is_none())
}

/// For those steps whose own result says where they are allowed.
#[test]
fn no_step_that_is_allowed_leads_out_of_the_invariants() {
    type TableStep = fn(State) -> Option<State>;
    let of_any_thread: [TableStep; 16] = [
        State::pin,
        State::pin_unused,
        State::pin_valid,
        State::pin_and_latch,
        State::revoke_bias,
        State::claim,
        State::claim_unused,
        State::seize,
        State::leave_unattended,
        State::age,
        State::forget_uses,
        State::expect_no_longer,
        State::make_ready,
        State::claim_ready,
        |s| s.is_seized().then(|| s.put_back()),
        |s| s.is_seized().then(|| s.discard_changes()),
    ];
    let of_a_pin_holder: [TableStep; 3] = [State::pin_again, State::begin_verify, State::begin_write];
    let of_a_user_of_the_page: [TableStep; 4] =
        [State::latch_shared, State::latch_exclusive, State::hand_over_shared, State::hand_over_exclusive];
    let mut taken = 0;
    for state in sound_states() {
        let mut try_all = |steps: &[TableStep], allowed: bool| {
            for next in steps.iter().filter(|_| allowed).filter_map(|step| step(state)) {
                assert_eq!(next.unsound(), None, "{state:?} became {next:?}");
                taken += 1;
            }
        };
        try_all(&of_any_thread, true);
        let is_held = state.pins() > 0 || state.is_biased();
        try_all(&of_a_pin_holder, state.pins() > 0);
        try_all(&of_a_user_of_the_page, is_held && state.is_valid());
    }
    println!("{taken} steps");
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
fn one_pin_holds_as_many_share_latches_as_the_word_can_count() {
    let most = (SHARES_MAX / SHARE) as usize;
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
fn a_change_during_a_write_is_not_forgotten() {
    let changed = writing().pin().unwrap().latch_exclusive().unwrap().unlatch_exclusive(true).unpin();
    assert!(changed.is_dirty() && changed.is_writing());
    assert_eq!(changed.begin_write(), None, "two writes of one page must not overlap");
    assert!(changed.end_write(true).is_dirty(), "the write did not cover the change");
    assert!(!writing().end_write(true).is_dirty());
    assert!(writing().end_write(false).is_dirty(), "a failed write forgets nothing");
}

/// The end of a write clears what the write had set, and nothing else; one that fails leaves the page dirty, whatever it was.
#[test]
fn the_end_of_a_write_clears_what_the_write_had_set() {
    let rest = VALID | PIN | USED | AHEAD | LATCH_WAITERS | IO_WAITERS | ORPHAN;
    for dirty in [0, DIRTY] {
        for lent in [0, LENT] {
            let writing = State(rest | WRITING | dirty | lent);
            assert_eq!(writing.end_write(true), State(rest | dirty));
            assert_eq!(writing.end_write(false), State(rest | DIRTY));
        }
    }
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
fn a_holder_of_the_exclusive_latch_that_changed_nothing_leaves_no_dirt() {
    let exclusive = pinned().latch_exclusive().unwrap();
    assert_eq!(exclusive.unlatch_exclusive(false), pinned());
    assert!(exclusive.unlatch_exclusive(true).is_dirty());
    assert_eq!(Some(exclusive.downgrade(false)), pinned().latch_shared());
}
