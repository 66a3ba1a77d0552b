//! How a submitter wakes a worker that sleeps in its ring.
//!
//! The worker must never sleep anywhere else, or completions would wait for it. So it keeps a read of an event counter posted in
//! the ring, and a thread that has work for it, and [finds it asleep](crate::io::method::sleeper), writes to the counter.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use rustix::event::{EventfdFlags, eventfd};

use crate::{io::method::sleeper::Sleeper, sync::atomic::AtomicU64};

/// The event counter of a worker.
#[derive(Debug)]
pub(super) struct Doorbell {
    /// Blocking, because a read of a non-blocking counter would fail at once instead of waiting in the ring.
    counter: OwnedFd,
    /// Where the kernel puts the count, which is never read.
    count: AtomicU64,
    sleeper: Sleeper,
}

impl Doorbell {
    pub(super) fn new() -> io::Result<Self> {
        let counter = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self { counter, count: AtomicU64::new(0), sleeper: Sleeper::default() })
    }

    /// Wakes the worker if it sleeps. Called after the work has been stored.
    pub(super) fn ring(&self) {
        if self.sleeper.must_be_woken() {
            self.ring_anyway();
        }
    }

    /// Makes the posted read complete.
    pub(super) fn ring_anyway(&self) {
        // Fails only when it would overflow, and then the read completes anyhow; after a signal it is made again.
        let _ = rustix::io::retry_on_intr(|| rustix::io::write(&self.counter, &1_u64.to_ne_bytes()));
    }

    /// Returns whether the worker, which is going to sleep, may.
    pub(super) fn may_sleep(&self, has_news: impl FnOnce() -> bool) -> bool {
        self.sleeper.may_sleep(has_news)
    }

    /// Notes that the worker is awake.
    pub(super) fn wake_up(&self) {
        self.sleeper.wake_up();
    }

    pub(super) fn fd(&self) -> RawFd {
        self.counter.as_raw_fd()
    }

    /// Returns the memory for the posted read, which lives as long as the doorbell.
    pub(super) fn count_ptr(&self) -> *mut u8 {
        self.count.as_ptr().cast()
    }
}
