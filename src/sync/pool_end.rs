//! The end of a pool: one value that all of its threads and waits check.
//!
//! The thread that drops the last clone of a pool, or shuts it down, waits for the pool's background work. That may need something
//! of a caller: a latch, the end of a pin, time. From [`EndStage::Ending`] on it does without, because the caller that it waits for
//! may be the thread that waits for it. It reports what it could not have as [`Error::ShutDown`](crate::Error::ShutDown) or as it
//! would after a long wait, and no change is lost by that. It waits for disks as before. Threads that sleep for long are
//! [woken](crate::api::shutdown) when a stage is reached.

use std::task::{Poll, Waker};

use crate::sync::{
    atomic::{AtomicU8, Ordering},
    time::{self, Instant},
    wait::{self, RETRY},
};

/// How far a pool has come towards its end. What is true of one stage is true of all later ones.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EndStage {
    /// The last clone is dropped, or a shutdown has flushed: the background writer and the jobs begin nothing new, end what they
    /// have without a pause, and wait for no caller. Futures and streams that a caller still has continue.
    Ending = 1,
    /// A shutdown: what callers begin is refused.
    ShutDown = 2,
}

/// The stage that a pool has reached; at first none.
#[derive(Debug, Default)]
pub(crate) struct PoolEnd(AtomicU8);

impl PoolEnd {
    /// Moves on to this stage, unless it was reached before.
    pub(crate) fn reach(&self, stage: EndStage) {
        self.0.fetch_max(stage as u8, Ordering::AcqRel);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.has_reached(EndStage::Ending)
    }

    pub(crate) fn has_reached(&self, stage: EndStage) -> bool {
        self.0.load(Ordering::Acquire) >= stage as u8
    }

    /// Waits in the calling thread for something that callers have, until `step` is ready. Returns `None` if that takes until
    /// `deadline`, or until the end begins.
    pub(crate) fn wait_for_callers<T>(
        &self,
        deadline: Instant,
        mut step: impl FnMut(&Waker) -> Poll<T>,
    ) -> Option<T> {
        let has_begun = || self.has_begun() && !seeded!("callers_waited_for_at_the_end");
        let mut step = |waker: &Waker| match step(waker) {
            Poll::Pending if has_begun() => Poll::Ready(None),
            step => step.map(Some),
        };
        // Neither the end nor all that callers have wakes it for certain.
        loop {
            let look_again = time::now() + RETRY;
            let waited = wait::block_until(look_again.min(deadline), &mut step);
            if waited.is_some() || look_again >= deadline {
                return waited.flatten();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::time::Duration;

    #[test]
    fn a_stage_that_was_reached_is_never_left() {
        let end = PoolEnd::default();
        let reached = || [EndStage::Ending, EndStage::ShutDown].map(|stage| end.has_reached(stage));
        assert_eq!(reached(), [false, false]);
        end.reach(EndStage::Ending);
        assert_eq!(reached(), [true, false]);
        end.reach(EndStage::ShutDown);
        end.reach(EndStage::Ending);
        assert_eq!(reached(), [true, true]);
    }

    #[test]
    fn a_wait_for_callers_ends_with_them_with_its_time_or_with_the_pool() {
        let end = PoolEnd::default();
        let tomorrow = || time::now() + Duration::from_secs(86_400);
        let mut looks = 0;
        let third_look = |_: &Waker| {
            looks += 1;
            if looks == 3 { Poll::Ready(looks) } else { Poll::Pending }
        };
        assert_eq!(end.wait_for_callers(tomorrow(), third_look), Some(3), "nothing has woken it");
        assert_eq!(end.wait_for_callers(time::now(), |_| Poll::<()>::Pending), None);
        let in_vain = time::now() + Duration::from_secs(20);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| end.wait_for_callers(in_vain, |_| Poll::<()>::Pending));
            end.reach(EndStage::Ending);
            assert_eq!(waiting.join().unwrap(), None);
        });
        assert!(time::now() < in_vain, "the end of the pool did not end the wait");
        assert_eq!(end.wait_for_callers(tomorrow(), |_| Poll::Ready(7)), Some(7), "what is there is taken");
    }
}
