//! The process that a pool belongs to.
//!
//! A process that is forked has a copy of the pool's memory and none of its threads: requests in flight never end there, and
//! locks that other threads had at that moment are never released. It shares ring and files with the pool's own process. So any
//! code that waits, takes a lock or touches a disk asks first whether it runs in the pool's process. On Linux that costs no
//! system call: it reads memory that forked processes find zeroed (Linux 4.14; before that no fork is noticed).
//!
//! On Linux page table and frames are such memory too. So a forked process finds no page, and a thread that finds one need not
//! ask; and a fork copies no memory that is registered, to which the device may write meanwhile. On macOS it reads its copy of a page.

use std::fmt;

use crate::error::{Error, Result};
#[cfg(target_os = "linux")]
use crate::{
    buffer::memory::huge_slice::HugeSlice,
    sync::{
        Arc,
        uncontrolled::{AtomicU64, Ordering},
    },
};

/// The process in which this was made.
#[derive(Clone)]
pub(crate) struct Process {
    /// A word that forked processes find zeroed.
    #[cfg(target_os = "linux")]
    word: Arc<HugeSlice<AtomicU64>>,
    #[cfg(target_os = "macos")]
    number: u32,
}

#[cfg(target_os = "linux")]
impl Process {
    pub(crate) fn current() -> Result<Self> {
        let word = HugeSlice::new(1, || AtomicU64::new(1))?;
        word.keep_from_children();
        Ok(Self { word: Arc::new(word) })
    }

    #[inline]
    fn calls(&self) -> bool {
        self.word[0].load(Ordering::Relaxed) != 0
    }
}

#[cfg(target_os = "macos")]
impl Process {
    pub(crate) fn current() -> Result<Self> {
        Ok(Self { number: std::process::id() })
    }

    #[inline]
    fn calls(&self) -> bool {
        self.number == std::process::id()
    }
}

impl Process {
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        #[cfg(test)]
        if in_a_child::IS.get() {
            return false;
        }
        self.calls() || seeded!("fork_not_noticed")
    }

    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_current() { Ok(()) } else { Err(Error::Forked) }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_current() { "this process" } else { "another process" })
    }
}

/// Helps to test what a forked process does where locks are held.
#[cfg(test)]
pub(crate) mod in_a_child {
    use std::cell::Cell;

    thread_local! {
        pub(crate) static IS: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs `body` as if in a process that was forked just now.
    pub(crate) fn run<R>(body: impl FnOnce() -> R) -> R {
        IS.set(true);
        let result = body();
        IS.set(false);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, task::Waker, thread, time::Duration};

    use super::*;
    use crate::{
        buffer::{
            frame::{latch::Latch, pin::Pin, waiters::want::Want},
            residency::Residency,
            small_pools::pool_of,
        },
        id::{FileId, PageId},
        sync::wait::Drive,
    };

    /// Makes a pinned page with waiters in its line, in a pool with waiters for frames.
    fn wanted_page() -> (Residency, Pin) {
        let pool = pool_of(1);
        let claimed = pool.take_clean().unwrap();
        let mapped = pool.map(claimed, PageId::new(FileId(0), 0), false).unwrap();
        pool.end_read(mapped.reading, &Ok(()), true);
        pool.frame_waiters.enlist(&mut None, Waker::noop());
        (pool, mapped.own)
    }

    /// Other threads have the locks of the lines at the moment of the fork, and never release them in the new process.
    #[test]
    fn c10_what_is_dropped_in_a_forked_process_waits_for_no_lock() {
        let (pool, pin) = wanted_page();
        let latched = pin.again().unwrap();
        let leaving = pin.again().unwrap();
        assert!(latched.try_latch(Latch::Exclusive));
        let enlist = |want| {
            let frame = pin.frame();
            pool.waiters.get_in_line(frame, want, Drive::Task, Waker::noop()).unwrap()
        };
        let (ticket, _other) = (enlist(Want::Shared), enlist(Want::Exclusive));
        pool.unlogged.insert(pin.frame_no(), ());
        let held = (pool.frame_waiters.hold(), pool.waiters.hold(pin.frame_no()), pool.unlogged.hold());
        let (done, is_done) = mpsc::channel();
        let child = thread::spawn(move || {
            in_a_child::run(|| {
                latched.note_image();
                latched.unlatch_exclusive(false);
                leaving.cancel_wait(&ticket);
                drop((latched, leaving, pin));
            });
            done.send(()).unwrap();
        });
        assert!(is_done.recv_timeout(Duration::from_secs(20)).is_ok(), "it waits for a lock");
        drop(held);
        child.join().unwrap();
        assert_eq!(pool.frames.iter().filter(|(_, frame)| frame.state.load().pins() > 0).count(), 0);
    }
}
