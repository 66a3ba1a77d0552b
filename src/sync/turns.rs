//! Turns at something that one thread does at a time, or a fixed number of threads, in the order in which they were asked for.
//!
//! The thread that has the turn may pause, if it may take long. As soon as another thread waits for its turn, or the pool ends, the
//! pause is over, and no other begins. Lock order: the one lock is held for moments only and taken alone.

use std::num::NonZeroU32;

use crate::sync::{
    Condvar, Mutex,
    pool_end::PoolEnd,
    time::{self, Instant},
};

#[derive(Debug)]
pub(crate) struct Turns {
    /// The number of turns that are had at once.
    most: u64,
    state: Mutex<TurnsState>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct TurnsState {
    /// The number of turns that were asked for so far, which is the number of the next one.
    asked: u64,
    /// The number of turns that are over, whichever they were: those with numbers from `most` above this on must wait.
    over: u64,
}

/// The turn, until it is dropped.
pub(crate) struct Turn<'a>(&'a Turns);

impl Default for Turns {
    fn default() -> Self {
        Self::of_so_many(NonZeroU32::MIN)
    }
}

impl Turns {
    /// Makes turns of which `most` are had at once.
    pub(crate) fn of_so_many(most: NonZeroU32) -> Self {
        Self { most: most.get().into(), state: Mutex::default(), moved: Condvar::default() }
    }

    /// Waits for a turn, behind all that were asked for before.
    pub(crate) fn take(&self) -> Turn<'_> {
        let mut state = self.state.lock();
        let number = state.asked;
        state.asked += 1;
        self.moved.notify_all();
        while number >= state.over + self.most {
            state = self.moved.wait(state);
        }
        Turn(self)
    }

    /// Returns the number of turns that were asked for, behind those that are had now.
    fn waiting(&self, state: &TurnsState) -> u64 {
        (state.asked - state.over).saturating_sub(self.most)
    }

    /// Has the thread that pauses check again whether it may. Called when the pool's end has begun.
    pub(crate) fn wake_the_pausing(&self) {
        drop(self.state.lock());
        self.moved.notify_all();
    }
}

impl Turn<'_> {
    /// Pauses until `deadline`. Returns false as soon as another thread waits for its turn, or the pool ends.
    pub(crate) fn pause_until(&self, deadline: Instant, end: &PoolEnd) -> bool {
        let mut state = self.0.state.lock();
        let may_pause = |state: &TurnsState| self.0.waiting(state) == 0 && !end.has_begun();
        while may_pause(&state) && time::now() < deadline {
            state = self.0.moved.wait_until(state, deadline);
        }
        may_pause(&state)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state.lock().over += 1;
        self.0.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;
    use crate::sync::pool_end::EndStage;

    #[test]
    fn one_has_the_turn_and_hurries_for_the_next() {
        let turns = Turns::default();
        let first = turns.take();
        let end = PoolEnd::default();
        assert!(first.pause_until(time::now() + Duration::from_millis(1), &end), "no other waits");
        std::thread::scope(|scope| {
            let (entered, has_entered) = mpsc::channel();
            let turns = &turns;
            scope.spawn(move || {
                let _second = turns.take();
                entered.send(()).unwrap();
            });
            assert!(!first.pause_until(time::now() + Duration::from_secs(60), &end));
            assert!(has_entered.try_recv().is_err(), "two at once");
            drop(first);
            has_entered.recv().unwrap();
        });
    }

    #[test]
    fn c6_a_thread_that_asks_again_and_again_comes_after_those_that_wait() {
        let turns = Turns::default();
        let had = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let mut turn = turns.take();
            for number in 0..3 {
                let (turns, had) = (&turns, &had);
                scope.spawn(move || {
                    let _turn = turns.take();
                    had.lock().push(number);
                });
                while turns.waiting(&turns.state.lock()) <= number {
                    std::thread::yield_now();
                }
            }
            drop(turn);
            turn = turns.take();
            had.lock().push(3);
            drop(turn);
        });
        assert_eq!(*had.lock(), [0, 1, 2, 3]);
    }

    #[test]
    fn so_many_have_a_turn_at_once_and_no_more() {
        let turns = Turns::of_so_many(NonZeroU32::new(2).unwrap());
        let (first, second) = (turns.take(), turns.take());
        std::thread::scope(|scope| {
            let (entered, has_entered) = mpsc::channel();
            let turns = &turns;
            scope.spawn(move || {
                let _third = turns.take();
                entered.send(()).unwrap();
            });
            while turns.waiting(&turns.state.lock()) == 0 {
                std::thread::yield_now();
            }
            assert!(has_entered.try_recv().is_err(), "three at once");
            drop(second);
            has_entered.recv().unwrap();
        });
        drop(first);
    }

    #[test]
    fn no_thread_pauses_any_more_once_the_pool_ends() {
        let (turns, end) = (Turns::default(), PoolEnd::default());
        let turn = turns.take();
        let deadline = time::now() + Duration::from_secs(60);
        std::thread::scope(|scope| {
            let pausing = scope.spawn(|| turn.pause_until(deadline, &end));
            end.reach(EndStage::Ending);
            turns.wake_the_pausing();
            assert!(!pausing.join().unwrap());
        });
        drop(turn);
        assert!(!turns.take().pause_until(deadline, &end));
        assert!(time::now() < deadline);
    }
}
