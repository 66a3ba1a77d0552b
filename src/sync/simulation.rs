//! Time and chance of a run that must be repeatable, with no thread beside the one that runs it.
//!
//! The calling thread has a clock of its own. It stands still, except that a look at it moves it on a little, so that every loop
//! ends that waits for a moment; and a wait with a deadline moves it there and takes no time.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

#[cfg(any(test, feature = "testing"))]
use crate::sync::on_drop::OnDrop;

/// Without the disks for tests there is none.
const IS_BUILT: bool = cfg!(any(test, feature = "testing"));

/// The time that a look at the clock takes.
const LOOK: Duration = Duration::from_micros(1);

thread_local! {
    static CLOCK: Cell<Option<Instant>> = const { Cell::new(None) };
    static NUMBERS: Cell<u64> = const { Cell::new(0) };
}

/// Runs `body` with the time and the numbers of a simulation, in which every thread that it starts is refused.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn run<R>(body: impl FnOnce() -> R) -> R {
    let (clock, numbers) = (CLOCK.replace(Some(Instant::now())), NUMBERS.replace(0));
    let _restore = OnDrop::of(move || {
        CLOCK.set(clock);
        NUMBERS.set(numbers);
    });
    body()
}

/// Returns whether the calling thread runs a simulation.
pub(super) fn is_on() -> bool {
    IS_BUILT && CLOCK.get().is_some()
}

/// Returns the time, if it is simulated.
pub(super) fn now() -> Option<Instant> {
    let now = is_on().then(|| CLOCK.get())?? + LOOK;
    CLOCK.set(Some(now));
    Some(now)
}

/// Moves the time to `deadline`, if it is simulated: returns false if it is not.
pub(super) fn passes(deadline: Instant) -> bool {
    if is_on() {
        CLOCK.set(CLOCK.get().map(|now| now.max(deadline)));
    }
    is_on()
}

/// Returns a number that looks random and is the same in every run, if chance is simulated.
pub(super) fn number() -> Option<u64> {
    is_on().then(|| {
        let count = NUMBERS.get() + 1;
        NUMBERS.set(count);
        count.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    })
}
