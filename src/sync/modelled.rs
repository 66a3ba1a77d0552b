//! A model checker's primitives: shuttle's or loom's, which have the same shape. At each use of one the scheduler can switch to
//! another thread; with loom, each relaxed load may also see an old value.

#[cfg(loom)]
use loom as checker;
#[cfg(shuttle)]
use shuttle as checker;

pub(crate) use checker::sync::{MutexGuard, atomic};

pub(crate) use super::logical_time as time;

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
