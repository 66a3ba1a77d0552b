//! A frame for a miss.
//!
//! The clock gives a clean one at once; dirty ones that it comes by are written as a batch, and the frames that become
//! clean are tried first. Where every frame is pinned or busy the wait is bounded: then the fetch ends in `AllPinned`, or
//! with the error that kept pages dirty.

use std::task::{Poll, Waker};

use crate::{
    error::{Error, Result},
    lease::Tally,
    pool::{
        frame_pool::DirtyVictims,
        handle::Claimed,
        starvation::{Place, RETRY},
    },
    read::drive::Drive,
    shared::Shared,
    stats::{Counter, Measure},
    sync::{
        Arc,
        time::{self, Duration, Instant},
    },
    write::write_out::{Candidate, Patience, write_out},
};

/// One fetch's wait for a frame.
#[derive(Default)]
pub(crate) struct FrameWait {
    since: Option<Instant>,
    /// How long the waits took that are over.
    waited: Duration,
    /// The last batch of victims that was written on this fetch's behalf.
    cleaning: Option<Arc<Tally>>,
    /// The last batch before that of which something could not be written.
    failed: Option<Arc<Tally>>,
    /// Where it stands in line.
    place: Option<Place>,
}

impl FrameWait {
    /// A claimed frame; or in line for one, and to be asked again after a wake-up or [`RETRY`].
    pub(crate) fn poll<'a>(
        &mut self,
        shared: &'a Shared,
        limit: Duration,
        drive: Drive,
        waker: &Waker,
    ) -> Poll<Result<Claimed<'a>>> {
        let polled = self.try_claim(shared, limit, drive, waker);
        if polled.is_ready()
            && let Some(since) = self.since.take()
        {
            let waited = time::now() - since;
            self.waited += waited;
            shared.counters.measures.add_time(Measure::FrameWait, waited);
        }
        if matches!(polled, Poll::Ready(Ok(_)))
            && let Some(place) = self.place.take()
        {
            shared.pool.starvation.leave(&place);
        }
        polled
    }

    /// How long frames were waited for before.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// Leaves the line without a frame; a wake-up that was given to it goes to the next.
    pub(crate) fn give_up(&mut self, shared: &Shared) {
        if let Some(place) = self.place.take()
            && shared.pool.starvation.leave(&place)
        {
            shared.pool.starvation.relieve();
        }
    }

    fn try_claim<'a>(
        &mut self,
        shared: &'a Shared,
        limit: Duration,
        drive: Drive,
        waker: &Waker,
    ) -> Poll<Result<Claimed<'a>>> {
        let pool = &shared.pool;
        let mut dirty = DirtyVictims::new();
        if let Some(claimed) = pool.claim_victim(&mut dirty) {
            return Poll::Ready(Ok(claimed));
        }
        if !dirty.is_empty() {
            shared.counters.add(Counter::DirtyEvictions, 1);
            let cleaning = write_victims(shared, &dirty);
            if drive == Drive::Thread {
                // Not for as long as it takes: if their disk does not answer, there may be frames further on.
                cleaning.wait_until(time::now() + RETRY);
            }
            self.note_failure();
            self.cleaning = Some(cleaning);
            if let Some(claimed) = dirty.iter().find_map(|&no| pool.claim(no)) {
                return Poll::Ready(Ok(claimed));
            }
        }
        let now = time::now();
        let since = *self.since.get_or_insert_with(|| {
            shared.counters.add(Counter::FrameWaits, 1);
            now
        });
        let waited = now - since;
        if waited >= limit {
            self.note_failure();
            let unwritten = self.failed.as_ref().and_then(|failed| failed.error());
            return Poll::Ready(Err(unwritten.unwrap_or(Error::AllPinned { waited })));
        }
        pool.starvation.enlist(&mut self.place, waker);
        if drive == Drive::Task {
            pool.starvation.tick();
        }
        Poll::Pending
    }

    /// Keeps the last batch if something went wrong with it. It is told only if no frame turns up: other victims may have been written.
    fn note_failure(&mut self) {
        if self.cleaning.as_ref().is_some_and(|cleaning| cleaning.error().is_some()) {
            self.failed = self.cleaning.take();
        }
    }
}

/// Starts writing dirty victims, as far as that needs no wait.
pub(crate) fn write_victims(shared: &Shared, dirty: &DirtyVictims) -> Arc<Tally> {
    let mut candidates: Vec<Candidate> = dirty.iter().map(|&no| (shared.pool.frame(no).page(), no)).collect();
    write_out(shared, &mut candidates, Patience::Try)
}
