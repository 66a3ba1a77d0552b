//! A fence in two halves: a light one for threads that pass it all the time, and a heavy one for those that seldom do.
//!
//! Two threads each write, pass a fence, and read what the other thread writes. With a full fence on both sides at least one of
//! them sees the other's write. The same holds here: the light half keeps only the compiler from moving the read before the write,
//! and the heavy half has the kernel pass a full fence on each core that runs a thread of this process (`membarrier`, Linux 4.14).
//! So the light half costs nothing, and the heavy half a system call, which is longer the more cores run the process.
//!
//! Elsewhere than on Linux, under the model checkers and under Miri both halves are full fences. Where Linux refuses the call there
//! is [no such fence](is_available), and no code may rely on it. As in C++'s proposal P1202 and Folly's `asymmetricLightBarrier`.

use crate::sync::atomic::{Ordering, fence};

/// Whether both halves are full fences.
const IS_SYMMETRIC: bool = cfg!(any(loom, shuttle, miri, not(target_os = "linux")));

#[inline(always)]
pub(crate) fn light() {
    if IS_SYMMETRIC {
        fence(Ordering::SeqCst);
    } else {
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    }
}

#[cold]
pub(crate) fn heavy() {
    fence(Ordering::SeqCst);
    #[cfg(target_os = "linux")]
    if !IS_SYMMETRIC && !seeded!("heavy_fence_left_out") {
        kernel::fence_all_cores();
    }
}

/// Returns whether this process has the fence. The answer is the same as long as the process lives.
pub(crate) fn is_available() -> bool {
    #[cfg(target_os = "linux")]
    return IS_SYMMETRIC || *kernel::IS_REGISTERED;
    #[cfg(not(target_os = "linux"))]
    true
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::{sync::LazyLock, thread, time::Duration};

    use rustix::thread::{MembarrierCommand, membarrier};

    /// How long a store takes at the most to be seen by all cores, by far: it leaves a core's buffer within microseconds.
    const STORES_ARE_SEEN: Duration = Duration::from_millis(1);

    pub(super) static IS_REGISTERED: LazyLock<bool> = LazyLock::new(register);

    fn register() -> bool {
        membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
    }

    pub(super) fn fence_all_cores() {
        let fence = || membarrier(MembarrierCommand::PrivateExpedited).is_ok();
        // A forked process may have to register anew.
        let is_passed = fence() || (register() && fence());
        if !is_passed {
            // The system permitted the call once and refuses it now, as a sandbox does that was entered meanwhile.
            thread::sleep(STORES_ARE_SEEN);
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::{
        hint::{black_box, spin_loop},
        sync::atomic::{AtomicU32, Ordering},
        thread,
    };

    use crossbeam_utils::CachePadded;

    use super::*;

    /// Without the heavy half's system call some rounds end with neither write seen.
    #[test]
    fn of_two_threads_at_least_one_sees_the_other() {
        const ROUNDS: u32 = if cfg!(miri) { 50 } else { 20_000 };
        const FAR: usize = if cfg!(miri) { 16 } else { 1 << 16 };
        // A line each: else one that is written brings the others along.
        let [start, frequent, seldom, round_of_frequent, seen_by_frequent] =
            [const { CachePadded::new(AtomicU32::new(0)) }; 5];
        let wait_for = |word: &AtomicU32, value| {
            while word.load(Ordering::Acquire) != value {
                spin_loop();
                if cfg!(miri) {
                    thread::yield_now();
                }
            }
        };
        if !is_available() {
            return println!("skipped: the system refuses membarrier");
        }
        let far: Vec<_> = (0..FAR).map(|_| CachePadded::new(AtomicU32::new(0))).collect();
        let mut unseen = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    wait_for(&start, round);
                    // Stores to lines that no cache has are seen late, and so is the next one, which stays behind them.
                    let lines = far.iter().cycle().skip(round as usize * 61 % FAR).step_by(509).take(8);
                    lines.for_each(|line| line.store(round, Ordering::Relaxed));
                    frequent.store(round, Ordering::Release);
                    light();
                    seen_by_frequent.store(seldom.load(Ordering::Acquire), Ordering::Relaxed);
                    round_of_frequent.store(round, Ordering::Release);
                }
            });
            for round in 1..=ROUNDS {
                start.store(round, Ordering::Release);
                // As long as it takes the other thread to see that, more or less.
                (0..round % 128).for_each(|step| {
                    black_box(step);
                });
                seldom.store(round, Ordering::Release);
                heavy();
                let sees = frequent.load(Ordering::Acquire) == round;
                wait_for(&round_of_frequent, round);
                unseen += u32::from(!sees && seen_by_frequent.load(Ordering::Relaxed) != round);
            }
        });
        assert_eq!(unseen, 0, "rounds of {ROUNDS} in which neither saw the other");
    }
}
