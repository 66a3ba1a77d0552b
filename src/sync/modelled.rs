//! A model checker's primitives: shuttle's or loom's, which have the same shape. At each use of one the scheduler can switch to
//! another thread; with loom, each relaxed load may also see an old value.

#[cfg(loom)]
use loom as checker;
#[cfg(shuttle)]
use shuttle as checker;

pub(crate) use checker::sync::{MutexGuard, atomic};

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(checker::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(checker::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

/// A condition variable whose waits take and return the guard, as both implementations can.
#[derive(Debug, Default)]
pub(crate) struct ModelledCondvar(checker::sync::Condvar);

pub(crate) use self::ModelledCondvar as Condvar;

impl ModelledCondvar {
    pub(crate) fn new() -> Self {
        Self(checker::sync::Condvar::new())
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits once: time does not pass by itself under a model checker, so a timed wait lets the other threads run once.
    pub(crate) fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _deadline: time::Instant,
    ) -> MutexGuard<'a, T> {
        checker::thread::yield_now();
        guard
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Returns the same number in every run, so that a schedule can be replayed.
pub(crate) fn random_seed() -> u64 {
    0x5eed
}

/// Does nothing: no other thread runs while a modelled thread looks again and again.
pub(crate) fn spin_until(_is_so: impl Fn() -> bool) {}

pub(crate) mod thread {
    pub(crate) use super::checker::thread::{JoinHandle, Thread, ThreadId, current, park, yield_now};

    pub(crate) fn park_timeout(_at_most: std::time::Duration) {
        yield_now();
    }

    pub(crate) fn spawn(
        name: String,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        super::checker::thread::Builder::new().name(name).spawn(body)
    }
}

/// No clock runs, so each look at it moves it on.
pub(crate) mod time {
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
}
