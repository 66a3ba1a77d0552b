//! Time under a model checker: no clock runs, so looking at it is what moves it on.

pub(crate) use std::time::{Duration, Instant};

use std::{cell::Cell, sync::LazyLock};

/// A logical clock: every look at it moves it on by a millisecond, so that deadlines come. One for each test: all threads
/// of a schedule run on the test's thread, and what others look at must not use up its time.
pub(crate) fn now() -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    std::thread_local!(static LOOKS: Cell<u64> = const { Cell::new(0) });
    let looks = LOOKS.get();
    LOOKS.set(looks + 1);
    *START + Duration::from_millis(looks)
}

/// The moment at which a wait ends that begins now; however long it is.
pub(crate) fn deadline_after(wait: Duration) -> Instant {
    crate::sync::moment_after(now(), wait)
}
