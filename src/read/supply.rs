//! A frame for a miss.
//!
//! The background writer keeps some ready; else the sweep gives a clean one. Where it comes by dirty ones only, the
//! background writer was called already, and the fetch waits in line for what it brings. As the last resort, or where there
//! is no such writer, the fetch has the dirty ones written as a batch, and tries those that become clean first, unless the disk
//! [has refused](crate::respite) them all. Where every frame is pinned or busy the wait is bounded: then the fetch ends in
//! `AllPinned`, or with the error that kept pages dirty.

use std::task::{Poll, Waker};

use crate::{
    error::{Error, Result},
    lease::Tally,
    pool::{
        handle::Claimed,
        starvation::{Place, RETRY},
        victims::DirtyVictims,
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

/// How long the background writer may bring nothing before a fetch writes for itself.
const LAST_RESORT: Duration = Duration::from_millis(50);

/// One fetch's wait for a frame.
#[derive(Default)]
pub(crate) struct FrameWait {
    since: Option<Instant>,
    /// How long the waits took that are over.
    waited: Duration,
    /// How many frames the background writer had made ready when that last changed, and when that was.
    progress: Option<(usize, Instant)>,
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
        // Who has just come does not take what was made ready for those in line.
        if !self.is_behind_others(shared)
            && let Some(claimed) = pool.claim_victim(&mut dirty)
        {
            return Poll::Ready(Ok(claimed));
        }
        let most = if dirty.is_empty() { 0 } else { self.most_to_write(shared, limit) };
        dirty.truncate(most);
        if !dirty.is_empty() {
            shared.counters.add(Counter::DirtyEvictions, 1);
            let cleaning = write_victims(shared, &dirty);
            if drive == Drive::Thread {
                // Not for as long as it takes: if their disk does not answer, there may be frames further on.
                cleaning.wait_until(time::now() + RETRY);
            }
            self.note_failure();
            self.cleaning = Some(cleaning);
            self.note_failure();
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
            let unwritten = unwritten.or_else(|| shared.respite.failure());
            return Poll::Ready(Err(unwritten.unwrap_or(Error::AllPinned { waited })));
        }
        pool.starvation.enlist(&mut self.place, waker);
        if drive == Drive::Task {
            pool.starvation.tick();
        }
        Poll::Pending
    }

    /// Whether it is its first try while others wait, and the background writer works for them.
    fn is_behind_others(&self, shared: &Shared) -> bool {
        self.since.is_none() && shared.pool.starvation.is_felt() && shared.pool.ready.is_kept()
    }

    /// Whether this fetch must write for itself: nobody else does, or has not for too long.
    fn is_last_resort(&mut self, shared: &Shared, limit: Duration) -> bool {
        let ready = &shared.pool.ready;
        if !ready.is_kept() {
            return true;
        }
        let (made, now) = (ready.made(), time::now());
        let (before, since) = *self.progress.get_or_insert((made, now));
        let is_stuck = made == before && now - since >= LAST_RESORT.min(limit / 2);
        if is_stuck || made != before {
            self.progress = Some((made, now));
        }
        is_stuck
    }

    /// How many victims this fetch may write: none while others do. While the disk has a rest, having refused everything, each fetch
    /// tries one for itself: the disk may be well again.
    fn most_to_write(&mut self, shared: &Shared, limit: Duration) -> usize {
        if !self.is_last_resort(shared, limit) {
            return 0;
        }
        if shared.respite.is_over() {
            return usize::MAX;
        }
        usize::from(self.cleaning.is_none() && self.failed.is_none())
    }

    /// Keeps the last batch if something went wrong with it. It is told only if no frame turns up: other victims may have been
    /// written.
    fn note_failure(&mut self) {
        if self.cleaning.as_ref().is_some_and(|cleaning| cleaning.error().is_some()) {
            self.failed = self.cleaning.take();
        }
    }
}

/// Starts writing dirty victims, for somebody who does not wait for that, unless the background writer does, or the disk takes none.
pub(crate) fn have_victims_written(shared: &Shared, dirty: &DirtyVictims) {
    if !shared.pool.ready.is_kept() && shared.respite.is_over() {
        write_victims(shared, dirty);
    }
}

/// Starts writing dirty victims, as far as that needs no wait.
fn write_victims(shared: &Shared, dirty: &DirtyVictims) -> Arc<Tally> {
    let mut candidates: Vec<Candidate> = dirty.iter().map(|&no| (shared.pool.frame(no).page(), no)).collect();
    let tally = Tally::new();
    write_out(shared, &mut candidates, &mut Patience::Try, &tally);
    shared.respite.watch(&tally);
    tally
}
