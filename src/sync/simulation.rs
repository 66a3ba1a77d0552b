//! Time and chance of a run that is to be the same again, and no thread beside the one that runs it.
//!
//! The calling thread has a clock of its own: it stands still but for looks at it, which move it on by a little so that every loop
//! ends that waits for a moment, and for waits with a deadline, which move it there and take no time.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// What a look at the clock takes.
const LOOK: Duration = Duration::from_micros(1);

thread_local! {
    static CLOCK: Cell<Option<Instant>> = const { Cell::new(None) };
    static NUMBERS: Cell<u64> = const { Cell::new(0) };
}

/// Gives the thread the clock back that it had.
struct Restore(Option<Instant>, u64);

impl Drop for Restore {
    fn drop(&mut self) {
        CLOCK.set(self.0);
        NUMBERS.set(self.1);
    }
}

/// Runs `body` with the time and the numbers of a simulation, and every thread refused that it starts.
pub(crate) fn run<R>(body: impl FnOnce() -> R) -> R {
    let _restore = Restore(CLOCK.replace(Some(Instant::now())), NUMBERS.replace(0));
    body()
}

/// Whether the calling thread runs a simulation.
pub(super) fn is_on() -> bool {
    CLOCK.get().is_some()
}

/// The time, where it is simulated.
pub(super) fn now() -> Option<Instant> {
    let now = CLOCK.get()? + LOOK;
    CLOCK.set(Some(now));
    Some(now)
}

/// Lets the time come where it is simulated: false where it is not.
pub(super) fn passes(deadline: Instant) -> bool {
    let now = CLOCK.get();
    CLOCK.set(now.map(|now| now.max(deadline)));
    now.is_some()
}

/// A number that looks like chance and is the same in every run, where chance is simulated.
pub(super) fn number() -> Option<u64> {
    is_on().then(|| {
        let count = NUMBERS.get() + 1;
        NUMBERS.set(count);
        count.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    })
}
