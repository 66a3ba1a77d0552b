//! The one place that names a primitive of concurrency or of time.
//!
//! Everything else in the crate takes its atomics, locks, threads and clock from here, so that the same code runs on
//! `std` and `parking_lot` in earnest and on shuttle's primitives (`--cfg shuttle`), where every schedule can be tried.
//! Locks do not poison: a panic in a critical section of this crate is a bug that its tests must show, not a state to
//! carry on with.

pub(crate) use std::sync::Arc;

pub(crate) use imp::{Condvar, Mutex, MutexGuard, atomic, random_seed, thread, time};

/// Primitives that are never scheduling points: for counters, which nothing synchronises on.
pub(crate) mod uncontrolled {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
}

#[cfg(not(shuttle))]
mod imp {
    pub(crate) use std::sync::atomic;

    pub(crate) use parking_lot::{Mutex, MutexGuard};

    /// A condition variable whose waits take and return the guard, as both implementations can.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) const fn new() -> Self {
            Self(parking_lot::Condvar::new())
        }

        pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(&mut guard);
            guard
        }

        /// Waits at most until `deadline`; the caller looks at its condition and its clock again.
        pub(crate) fn wait_until<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            deadline: time::Instant,
        ) -> MutexGuard<'a, T> {
            self.0.wait_until(&mut guard, deadline);
            guard
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// A number that an adversary cannot know.
    pub(crate) fn random_seed() -> u64 {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(0_u64)
    }

    pub(crate) mod thread {
        #[allow(unused_imports)] // Only the ring yields.
        pub(crate) use std::thread::yield_now;
        pub(crate) use std::thread::{JoinHandle, Thread, ThreadId, current, park, park_timeout};

        /// Starts a named thread; an error is the system's refusal (too many threads).
        pub(crate) fn spawn(
            name: String,
            body: impl FnOnce() + Send + 'static,
        ) -> std::io::Result<JoinHandle<()>> {
            std::thread::Builder::new().name(name).spawn(body)
        }
    }

    pub(crate) mod time {
        pub(crate) use std::time::{Duration, Instant};

        pub(crate) fn now() -> Instant {
            Instant::now()
        }
    }
}

#[cfg(shuttle)]
mod imp {
    pub(crate) use shuttle::sync::{MutexGuard, atomic};

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(shuttle::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(shuttle::sync::Condvar::new())
        }

        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        /// Time does not pass by itself under shuttle: a timed wait lets the others run once.
        pub(crate) fn wait_until<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            _deadline: time::Instant,
        ) -> MutexGuard<'a, T> {
            shuttle::thread::yield_now();
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
        pub(crate) use shuttle::thread::{JoinHandle, Thread, ThreadId, current, park, yield_now};

        pub(crate) fn park_timeout(_at_most: std::time::Duration) {
            yield_now();
        }

        pub(crate) fn spawn(
            name: String,
            body: impl FnOnce() + Send + 'static,
        ) -> std::io::Result<JoinHandle<()>> {
            shuttle::thread::Builder::new().name(name).spawn(body)
        }
    }

    pub(crate) mod time {
        pub(crate) use std::time::{Duration, Instant};

        /// A logical clock: every look at it moves it on by a millisecond, so that deadlines come. One for each test: all tasks
        /// of a schedule run on the test's thread, and what others look at must not use up its time.
        pub(crate) fn now() -> Instant {
            use std::{cell::Cell, sync::LazyLock};
            static START: LazyLock<Instant> = LazyLock::new(Instant::now);
            std::thread_local!(static LOOKS: Cell<u64> = const { Cell::new(0) });
            let looks = LOOKS.get();
            LOOKS.set(looks + 1);
            *START + Duration::from_millis(looks)
        }
    }
}
