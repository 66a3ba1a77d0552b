//! How a submitter wakes a worker that sleeps in its ring.
//!
//! The worker must never sleep anywhere else, or completions would wait for it. So it keeps a read of an event counter
//! posted in the ring, and whoever has something for it writes to the counter.
//!
//! **No wake-up is lost, and few are paid for.** The worker says that it is going to sleep, and looks once more for work;
//! a submitter puts its work down, and looks whether the worker sleeps. In the one order of `SeqCst` one of them sees the
//! other. A submitter that finds the worker asleep takes the flag down, so that the write is done by one of many.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use rustix::event::{EventfdFlags, eventfd};

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// The bell at the worker's door.
#[derive(Debug)]
pub(super) struct Doorbell {
    /// Blocking, because a read of a non-blocking counter would fail at once instead of waiting in the ring.
    counter: OwnedFd,
    /// Where the kernel puts the count. Nobody reads it.
    count: AtomicU64,
    asleep: AtomicBool,
}

impl Doorbell {
    pub(super) fn new() -> io::Result<Self> {
        let counter = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self { counter, count: AtomicU64::new(0), asleep: AtomicBool::new(false) })
    }

    /// Wakes the worker if it sleeps. Called after the work has been put down.
    pub(super) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst) {
            self.ring_anyway();
        }
    }

    /// Makes the posted read complete.
    pub(super) fn ring_anyway(&self) {
        // Fails only when it would overflow, and then the read completes anyhow; a signal means once more.
        let _ = rustix::io::retry_on_intr(|| rustix::io::write(&self.counter, &1_u64.to_ne_bytes()));
    }

    /// The worker is going to sleep. It looks for work after this, and sleeps only if there is none.
    pub(super) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The worker is awake.
    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    pub(super) fn fd(&self) -> RawFd {
        self.counter.as_raw_fd()
    }

    /// Memory for the posted read, as long as the doorbell lives.
    pub(super) fn count_ptr(&self) -> *mut u8 {
        self.count.as_ptr().cast()
    }
}
