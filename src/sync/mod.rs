//! The one place that names a primitive of concurrency or of time.
//!
//! All other code of the crate takes its atomics, locks, threads and clock from here. So the same code runs on `std` and
//! `parking_lot` in a normal build; on shuttle's primitives (`--cfg shuttle`), where thousands of schedules of the whole pool are
//! tried; and on loom's (`--cfg loom`), where every schedule of a small part is tried, with every reordering that the memory model
//! allows.
//!
//! Locks do not poison: a panic in a critical section of this crate is a bug that its tests must find, not a state to continue
//! with.

pub(crate) use std::sync::{Arc, Weak};

pub(crate) use imp::{Condvar, Mutex, MutexGuard, atomic, random_seed, spin_until, thread, time};

#[macro_use]
pub(crate) mod seeded;

/// Primitives that are never scheduling points: for counters, which nothing synchronises on.
pub(crate) mod uncontrolled {
    #[allow(unused_imports)] // Only tests and models have such locks.
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
}

/// Adds a wait to a moment. A wait that is too long for the clock is cut to a hundred years.
pub(crate) fn moment_after(moment: time::Instant, wait: time::Duration) -> time::Instant {
    const CENTURY: time::Duration = time::Duration::from_secs(100 * 365 * 86_400);
    moment.checked_add(wait).unwrap_or_else(|| moment + CENTURY)
}

#[cfg(not(any(loom, shuttle)))]
#[path = "real.rs"]
mod imp;
#[cfg(any(loom, shuttle))]
#[path = "modelled.rs"]
mod imp;

#[cfg(all(test, loom))]
pub(crate) mod every_schedule;

#[cfg(not(any(loom, shuttle)))]
pub(crate) mod simulation;

pub(crate) mod asymmetric;
pub(crate) mod batch_status;
pub(crate) mod callback;
pub(crate) mod linked_queue;
pub(crate) mod on_drop;
pub(crate) mod pause;
pub(crate) mod poll_budget;
pub(crate) mod pool_end;
pub(crate) mod promise;
pub(crate) mod thread_pool;
pub(crate) mod turns;
pub(crate) mod wait;
pub(crate) mod waking;
pub(crate) mod witness;
