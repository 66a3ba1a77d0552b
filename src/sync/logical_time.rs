//! Time under a model checker: no clock runs, so each look at it moves it on.

pub(crate) use std::time::{Duration, Instant};

use std::{cell::Cell, sync::LazyLock};

/// Returns the time of a logical clock. Every look at it moves it on by a millisecond, so that deadlines come. Each test has its
/// own clock: all threads of a schedule run on the test's thread, and the looks of other tests must not use up its time.
pub(crate) fn now() -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    std::thread_local!(static LOOKS: Cell<u64> = const { Cell::new(0) });
    let looks = LOOKS.get();
    LOOKS.set(looks + 1);
    *START + Duration::from_millis(looks)
}

/// Returns the moment at which a wait ends that begins now, however long it is.
pub(crate) fn deadline_after(wait: Duration) -> Instant {
    crate::sync::moment_after(now(), wait)
}
