//! Time and chance of a run that must be repeatable, with no thread beside the one that runs it.
//!
//! The calling thread has a clock of its own. It stands still, except that a look at it moves it on a little, so that every loop
//! ends that waits for a moment; and a wait with a deadline moves it there and takes no time.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// The time that a look at the clock takes.
const LOOK: Duration = Duration::from_micros(1);

thread_local! {
    static CLOCK: Cell<Option<Instant>> = const { Cell::new(None) };
    static NUMBERS: Cell<u64> = const { Cell::new(0) };
}

/// Restores the clock that the thread had.
struct Restore(Option<Instant>, u64);

impl Drop for Restore {
    fn drop(&mut self) {
        CLOCK.set(self.0);
        NUMBERS.set(self.1);
    }
}

/// Runs `body` with the time and the numbers of a simulation, in which every thread that it starts is refused.
pub(crate) fn run<R>(body: impl FnOnce() -> R) -> R {
    let _restore = Restore(CLOCK.replace(Some(Instant::now())), NUMBERS.replace(0));
    body()
}

/// Returns whether the calling thread runs a simulation.
pub(super) fn is_on() -> bool {
    CLOCK.get().is_some()
}

/// Returns the time, if it is simulated.
pub(super) fn now() -> Option<Instant> {
    let now = CLOCK.get()? + LOOK;
    CLOCK.set(Some(now));
    Some(now)
}

/// Moves the time to `deadline`, if it is simulated: returns false if it is not.
pub(super) fn passes(deadline: Instant) -> bool {
    let now = CLOCK.get();
    CLOCK.set(now.map(|now| now.max(deadline)));
    now.is_some()
}

/// Returns a number that looks random and is the same in every run, if chance is simulated.
pub(super) fn number() -> Option<u64> {
    is_on().then(|| {
        let count = NUMBERS.get() + 1;
        NUMBERS.set(count);
        count.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    })
}
