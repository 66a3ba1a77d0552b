//! Loom's primitives, each use of which is a place where the schedule can turn, and each relaxed load one that may see what is
//! out of date.

pub(crate) use loom::sync::{MutexGuard, atomic};

pub(crate) use super::logical_time as time;

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(loom::sync::Condvar::new())
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Time does not pass by itself under loom: a timed wait lets the others run once.
    pub(crate) fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _deadline: time::Instant,
    ) -> MutexGuard<'a, T> {
        loom::thread::yield_now();
        guard
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// The same in every run, so that a schedule can be replayed.
pub(crate) fn random_seed() -> u64 {
    0x5eed
}

pub(crate) mod thread {
    pub(crate) use loom::thread::{JoinHandle, Thread, ThreadId, current, park, yield_now};

    pub(crate) fn park_timeout(_at_most: std::time::Duration) {
        yield_now();
    }

    pub(crate) fn spawn(
        name: String,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        loom::thread::Builder::new().name(name).spawn(body)
    }
}
