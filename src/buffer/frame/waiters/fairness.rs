//! What becomes of a latch that is released while waiters sleep in line for it. Pure; the caller says what time it is.
//!
//! Handing it to the first in line is fair and slow: no thread uses the latch until the system has woken the first, a thousand
//! times longer than most holders keep it, and all threads that run meanwhile get in line themselves: a lock convoy (Blasgen et al.
//! 1979). Only waking the first is fast and unfair: a running thread may have taken the latch again each time the first comes.
//!
//! So the first is called, and until it comes any thread or task may take the latch. A waiter that comes too late keeps its
//! place, newcomers get in line behind it, and now and then, once in [`PERIOD`] in a shard of the lines, it gets a turn: then the
//! latch is handed to it. This is the eventual fairness of WebKit's `WTF::Lock` (Pizlo 2016) and of `parking_lot`. A waiter is
//! passed over for at most one period for each waiter before it.

use crate::{
    buffer::frame::{state::State, waiters::want::Want},
    sync::time::{Duration, Instant},
};

/// The shortest time between two turns in a shard of the lines.
const PERIOD: Duration = Duration::from_micros(500);

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// It is held; the holder will look at the line when it releases.
    Later,
    /// Any thread or task may take it, and the first in line is woken to come for it.
    Call,
    /// The first in line has it, and is woken.
    HandOver,
}

/// Decides what becomes of the latch that the first in line wants, which may have a turn, and returns that with the state after it.
pub(super) fn pass_on(state: State, want: Want, has_turn: bool, others_wait: bool) -> (Pass, State) {
    match (want.latched(state), has_turn) {
        // The waiter revokes the bias when it comes.
        (None, _) if state.is_biased() => (Pass::Call, state.set_latch_waiters(false)),
        (None, _) => (Pass::Later, state.set_latch_waiters(true)),
        (Some(held), true) => (Pass::HandOver, held.set_latch_waiters(others_wait)),
        (Some(_), false) => (Pass::Call, state.set_latch_waiters(false)),
    }
}

/// Decides whether a called waiter gets the latch or is too late, and returns that with the state after it. Either way no
/// newcomer passes those that still wait.
pub(super) fn come(state: State, want: Want, others_wait: bool) -> (bool, State) {
    match want.latched(state) {
        Some(held) => (true, held.set_latch_waiters(others_wait)),
        None => (false, state.set_latch_waiters(true)),
    }
}

#[derive(Copy, Clone, Debug, Default)]
pub(super) struct TurnClock {
    not_before: Option<Instant>,
}

impl TurnClock {
    /// Grants a turn to a waiter that came too late just now, if one is due. Returns whether it did.
    pub(super) fn give(&mut self, now: Instant) -> bool {
        let is_due = self.not_before.is_none_or(|not_before| now >= not_before);
        if is_due {
            self.not_before = Some(now + PERIOD);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::time;

    /// Makes a page in use, by how its latch is held.
    fn held(how: &[Want]) -> State {
        let valid = State::FREE.claim().unwrap().begin_read(false).end_read(true);
        how.iter().fold(valid, |state, want| want.latched(state.pin().unwrap()).unwrap())
    }

    #[test]
    fn a_latch_is_handed_over_in_turn_else_free_until_the_called_waiter_comes() {
        use Pass::{Call, HandOver, Later};
        use Want::{Exclusive, Shared};
        for (how, want, has_turn, expected) in [
            (&[][..], Shared, false, Call),
            (&[], Exclusive, false, Call),
            (&[], Shared, true, HandOver),
            (&[], Exclusive, true, HandOver),
            (&[Shared], Shared, false, Call),
            (&[Shared], Shared, true, HandOver),
            (&[Shared], Exclusive, false, Later),
            (&[Shared], Exclusive, true, Later),
            (&[Exclusive], Shared, true, Later),
            (&[Exclusive], Exclusive, false, Later),
        ] {
            for others_wait in [false, true] {
                let before = held(how).set_latch_waiters(true);
                let (pass, after) = pass_on(before, want, has_turn, others_wait);
                assert_eq!(pass, expected, "{want:?}, turn {has_turn}, of {before:?}");
                after.assert_sound();
                let latched = want.latched(held(how));
                let state = if pass == HandOver { latched.unwrap() } else { held(how) };
                let closed = pass == Later || pass == HandOver && others_wait;
                assert_eq!(after, state.set_latch_waiters(closed));
            }
        }
    }

    #[test]
    fn a_waiter_that_comes_too_late_closes_the_line_behind_it() {
        use Want::{Exclusive, Shared};
        for (how, want, gets_it) in [
            (&[][..], Shared, true),
            (&[], Exclusive, true),
            (&[Shared], Shared, true),
            (&[Shared], Exclusive, false),
            (&[Exclusive], Shared, false),
            (&[Exclusive], Exclusive, false),
        ] {
            for others_wait in [false, true] {
                let (got_it, after) = come(held(how), want, others_wait);
                assert_eq!(got_it, gets_it, "{want:?} of {:?}", held(how));
                let state = want.latched(held(how)).unwrap_or(held(how));
                assert_eq!(after, state.set_latch_waiters(others_wait || !gets_it));
            }
        }
    }

    #[test]
    fn turns_are_given_at_once_and_then_once_in_a_period() {
        let mut turns = TurnClock::default();
        let start = time::now();
        let given: Vec<bool> =
            [0, 1, 499, 500, 999, 1000, 1001].map(|us| turns.give(start + Duration::from_micros(us))).into();
        assert_eq!(given, [true, false, false, true, false, true, false]);
    }
}
