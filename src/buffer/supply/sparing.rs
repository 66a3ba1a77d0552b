//! Whether a page that was used keeps its frame while others are written.
//!
//! A scan that changes its pages leaves them dirty on probation. Each of them is a victim as soon as it is written, so a fetch
//! that needs a frame has them written and waits, instead of taking the frame of a page that was used. That is right as long as writes
//! end. Where a fetch has waited for [`VAIN`] and none did, or the disk has refused its victims, no fetch of the pool spares anything,
//! for [`WITHOUT`] at least and until a page is written again: neither a disk that hangs nor one that fails holds up reads from another.
//!
//! Lock order: the lock here is a leaf.

use crate::{
    buffer::pool::FramePool,
    observe::Counter,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        time::{self, Duration, Instant},
    },
};

/// How long no write must have ended for a wait to be in vain.
pub(crate) const VAIN: Duration = Duration::from_millis(250);

/// For how long at the least nothing is spared then.
const WITHOUT: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Sparing {
    is_off: AtomicBool,
    in_vain: Mutex<Option<InVain>>,
}

/// A wait that was in vain.
#[derive(Copy, Clone, Debug)]
struct InVain {
    /// How many pages had been written.
    written: u64,
    until: Instant,
}

impl Sparing {
    fn is_on(&self, written: impl FnOnce() -> u64) -> bool {
        if !self.is_off.load(Ordering::Relaxed) {
            return true;
        }
        let mut in_vain = self.in_vain.lock();
        let is_on = in_vain.is_none_or(|last| time::now() >= last.until && written() != last.written);
        if is_on {
            *in_vain = None;
            self.is_off.store(false, Ordering::Relaxed);
        }
        is_on
    }

    fn end(&self, written: u64) {
        *self.in_vain.lock() = Some(InVain { written, until: time::now() + WITHOUT });
        self.is_off.store(true, Ordering::Relaxed);
    }
}

impl FramePool {
    /// Tells whether a fetch that needs a frame waits for dirty victims rather than take the frame of a page that was used.
    pub(crate) fn spares_used_pages(&self) -> bool {
        self.sparing.is_on(|| self.pages_written()) && !seeded!("dirty_victims_passed_by")
    }

    /// Notes that a wait for dirty victims was in vain.
    pub(crate) fn note_wait_in_vain(&self) {
        self.sparing.end(self.pages_written());
    }

    /// Returns how many pages were written so far.
    pub(crate) fn pages_written(&self) -> u64 {
        self.counters.get(Counter::PagesWritten)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn after_a_wait_in_vain_nothing_is_spared_until_a_page_is_written_and_a_while_has_passed() {
        let sparing = Sparing::default();
        assert!(sparing.is_on(|| 7));
        sparing.end(7);
        assert!(!sparing.is_on(|| 8), "too early");
        sparing.in_vain.lock().as_mut().unwrap().until = time::now();
        assert!(!sparing.is_on(|| 7), "nothing was written");
        assert!(sparing.is_on(|| 8) && sparing.is_on(|| 7));
    }
}
