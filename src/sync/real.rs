//! The primitives of a normal build: `std` and `parking_lot`.

pub(crate) use std::sync::atomic;
use std::{
    hint,
    sync::{LazyLock, PoisonError},
};

pub(crate) use parking_lot::{Mutex, MutexGuard};

use super::simulation;

/// A condition variable whose waits take and return the guard, as both implementations can.
///
/// It waits by `std`, which asks the kernel with one word of memory. `parking_lot` keeps one table of all threads of the process
/// that wait: a forked process has a copy of it, with threads that do not exist there, and new threads whose memory is at the same
/// place are lost in it. So a pool that a forked process built hung in one run of a hundred. (A thread that finds a lock taken
/// still waits in that table, for a moment.)
#[derive(Debug, Default)]
pub(crate) struct SystemCondvar {
    /// How many threads wait: without any a notifier needs no system call. Locked by a waiter from before it releases the caller's lock
    /// until it waits, and for a moment by a notifier: so no waiter is missed.
    waiters: std::sync::Mutex<u32>,
    condvar: std::sync::Condvar,
}

pub(crate) use self::SystemCondvar as Condvar;

impl SystemCondvar {
    pub(crate) const fn new() -> Self {
        Self { waiters: std::sync::Mutex::new(0), condvar: std::sync::Condvar::new() }
    }

    /// Waits for a notification, with the caller's lock released; it may also return without one.
    pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let mut waiters = self.waiters();
        *waiters += 1;
        MutexGuard::unlocked(&mut guard, || {
            *self.condvar.wait(waiters).unwrap_or_else(PoisonError::into_inner) -= 1;
        });
        guard
    }

    /// Waits until `deadline` at the latest; the caller checks its condition and its clock again.
    pub(crate) fn wait_until<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        deadline: time::Instant,
    ) -> MutexGuard<'a, T> {
        if !simulation::passes(deadline) {
            let mut waiters = self.waiters();
            *waiters += 1;
            let at_most = deadline.saturating_duration_since(time::now());
            MutexGuard::unlocked(&mut guard, || {
                let waited = self.condvar.wait_timeout(waiters, at_most);
                *waited.unwrap_or_else(PoisonError::into_inner).0 -= 1;
            });
        }
        guard
    }

    pub(crate) fn notify_one(&self) {
        if *self.waiters() > 0 {
            self.condvar.notify_one();
        }
    }

    pub(crate) fn notify_all(&self) {
        if *self.waiters() > 0 {
            self.condvar.notify_all();
        }
    }

    /// Locks out waiters that are between the caller's lock and their wait. No code panics with this lock held.
    fn waiters(&self) -> std::sync::MutexGuard<'_, u32> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a number that an adversary cannot know.
pub(crate) fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    simulation::number().unwrap_or_else(|| RandomState::new().hash_one(0_u64))
}

/// Checks eight times, each time after twice as long, for about a microsecond together. On a single core only once: the thread that
/// is waited for does not run meanwhile.
pub(crate) fn spin_until(is_so: impl Fn() -> bool) {
    static LOOKS: LazyLock<u32> = LazyLock::new(|| {
        std::thread::available_parallelism().map_or(1, |cores| if cores.get() > 1 { 8 } else { 1 })
    });
    for look in 0..*LOOKS {
        if is_so() {
            return;
        }
        (0..1_u32 << look).for_each(|_| hint::spin_loop());
    }
}

pub(crate) mod thread {
    use super::{simulation, time};

    #[allow(unused_imports)] // Only the ring yields.
    pub(crate) use std::thread::yield_now;
    pub(crate) use std::thread::{JoinHandle, Thread, ThreadId, current, park};

    #[cfg(any(test, feature = "testing"))]
    thread_local! {
        /// How many threads the calling thread may start, and how many it is refused then.
        static REFUSED: std::cell::Cell<[u64; 2]> = const { std::cell::Cell::new([0; 2]) };
    }

    /// Runs `body`, in which `times` threads that it starts are refused, after the first `after`.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn refused<R>(after: u64, times: u64, body: impl FnOnce() -> R) -> R {
        let before = REFUSED.replace([after, times]);
        let result = body();
        REFUSED.set(before);
        result
    }

    #[cfg(any(test, feature = "testing"))]
    fn next_is_refused() -> bool {
        let [after, times] = REFUSED.get();
        let is_refused = after == 0 && times > 0;
        REFUSED.set([after.saturating_sub(1), times - u64::from(is_refused)]);
        is_refused
    }

    /// Sleeps until the thread is woken, or for at most `at_most`.
    pub(crate) fn park_timeout(at_most: time::Duration) {
        if simulation::is_on() {
            simulation::passes(time::deadline_after(at_most));
        } else {
            std::thread::park_timeout(at_most);
        }
    }

    /// Starts a named thread; an error is the system's refusal (too many threads).
    pub(crate) fn spawn(
        name: String,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        if simulation::is_on() {
            return Err(std::io::ErrorKind::WouldBlock.into());
        }
        #[cfg(any(test, feature = "testing"))]
        if next_is_refused() {
            return Err(std::io::ErrorKind::WouldBlock.into());
        }
        std::thread::Builder::new().name(name).spawn(body)
    }
}

pub(crate) mod time {
    pub(crate) use std::time::{Duration, Instant};

    pub(crate) fn now() -> Instant {
        super::simulation::now().unwrap_or_else(Instant::now)
    }

    /// Returns the moment at which a wait ends that begins now, however long it is.
    pub(crate) fn deadline_after(wait: Duration) -> Instant {
        crate::sync::moment_after(now(), wait)
    }
}
