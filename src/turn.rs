//! Taking turns at something that is done by one at a time and may take long because it is in no hurry.
//!
//! Whoever has the turn may pause; as soon as somebody else waits for his, or all are to hurry, the pause is over and so is the
//! leisure.
//!
//! Lock order: the one lock is held for moments only and taken alone.

use crate::sync::{
    Condvar, Mutex,
    time::{self, Instant},
};

#[derive(Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    taken: bool,
    waiting: usize,
    hurried: bool,
}

/// The turn, until it is dropped.
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for a turn.
    pub(crate) fn take(&self) -> Turn<'_> {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.moved.notify_all();
        while state.taken {
            state = self.moved.wait(state);
        }
        state.waiting -= 1;
        state.taken = true;
        Turn(self)
    }

    /// From here on nobody pauses.
    pub(crate) fn hurry(&self) {
        self.state.lock().hurried = true;
        self.moved.notify_all();
    }
}

impl State {
    fn has_leisure(&self) -> bool {
        self.waiting == 0 && !self.hurried
    }
}

impl Turn<'_> {
    /// Pauses until `deadline`. False as soon as somebody waits for his turn, or all are to hurry.
    pub(crate) fn pause_until(&self, deadline: Instant) -> bool {
        let mut state = self.0.state.lock();
        while state.has_leisure() && time::now() < deadline {
            state = self.0.moved.wait_until(state, deadline);
        }
        state.has_leisure()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state.lock().taken = false;
        self.0.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn one_has_the_turn_and_hurries_for_who_waits() {
        let turns = Turns::default();
        let first = turns.take();
        assert!(first.pause_until(time::now() + Duration::from_millis(1)), "nobody waits");
        std::thread::scope(|scope| {
            let (entered, has_entered) = mpsc::channel();
            let turns = &turns;
            scope.spawn(move || {
                let _second = turns.take();
                entered.send(()).unwrap();
            });
            assert!(!first.pause_until(time::now() + Duration::from_secs(60)));
            assert!(has_entered.try_recv().is_err(), "two at once");
            drop(first);
            has_entered.recv().unwrap();
        });
    }
    #[test]
    fn nobody_pauses_any_more_once_all_are_to_hurry() {
        let turns = Turns::default();
        let turn = turns.take();
        std::thread::scope(|scope| {
            let pausing = scope.spawn(|| turn.pause_until(time::now() + Duration::from_secs(60)));
            turns.hurry();
            assert!(!pausing.join().unwrap());
        });
        drop(turn);
        assert!(!turns.take().pause_until(time::now() + Duration::from_secs(60)));
    }
}
