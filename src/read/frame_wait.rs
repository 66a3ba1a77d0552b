//! A frame for a miss.
//!
//! The background writer keeps some ready; else the sweep gives a clean one. Where it comes by dirty ones only, the
//! background writer was called already, and the fetch waits in line for what it brings. As the last resort, or where there
//! is no such writer, the fetch has the dirty ones written as a batch, and tries those that become clean first, unless the disk
//! [has refused](crate::runtime::write_backoff) them all.
//!
//! Pages that were used keep their frames meanwhile, as long as [writes end](crate::buffer::supply::sparing).
//!
//! The wait is bounded by what is wrong, not by what is slow:
//!
//! | what stands in the way | the wait ends |
//! |---|---|
//! | users have pinned [all frames](crate::buffer::supply::shortage) | with `AllPinned`, after `frame_wait` of such time |
//! | the disk refuses what this fetch has written, and has nothing else in hand | with that error, after a [moment](MOMENT) |
//! | the disk has frames, or is to get them | with `NoFrame`, when nothing came back from it for `disk_wait` |

use std::task::{Poll, Waker};

use crate::{
    buffer::{
        frame::pin::ClaimedFrame,
        supply::{
            frame_waiters::{RETRY, WakerPlace},
            sparing::VAIN,
            victims::DirtyVictims,
        },
    },
    error::{Error, Result},
    io::operation::Urgency,
    observe::{Counter, Measure},
    runtime::{operation::BatchStatus, shared::Shared},
    sync::{
        Arc,
        time::{self, Duration, Instant},
        wait::Drive,
    },
    write::write_out::{Candidate, Patience, write_out},
};

/// How long the background writer may bring nothing before a fetch writes for itself.
const LAST_RESORT: Duration = Duration::from_millis(50);

/// How long a disk must refuse a fetch's victims, with a try at the end of it, before the fetch says so: other frames may come free,
/// and the next try go well.
const MOMENT: Duration = Duration::from_millis(50);

/// So many looks at the least must find that pins stand in the way, however long ago the last one was: a task may not be polled for
/// long.
const LOOKS_AT_LEAST: u32 = 8;

/// For how long a fetch spares pages that were used at the most, though writes end: other fetches may be faster each time.
const SPARING: Duration = Duration::from_secs(2);

/// One fetch's wait for a frame, and the waits that it had before.
#[derive(Default)]
pub(crate) struct FrameWait {
    /// The wait that is going on. In a box, since most fetches never wait.
    wait: Option<Box<OngoingWait>>,
    /// For how long pins stood in the way, in all waits so far.
    pinned: Duration,
    /// The last batch of victims that was written on this fetch's behalf.
    cleaning: Option<Arc<BatchStatus>>,
    /// The last such batch that is over, if nothing of it could be written.
    refused: Option<Arc<BatchStatus>>,
    /// Where it stands in line.
    place: Option<WakerPlace>,
}

struct OngoingWait {
    since: Instant,
    /// When it was last looked what stands in the way.
    looked: Instant,
    /// How far the pool had come when that last changed while the disk was waited for, and when that was.
    came_back: Option<(u64, Instant)>,
    /// How many frames the background writer had made ready when that last changed, and when that was.
    made: (usize, Instant),
    /// How many pages were written when that last changed, and when that was.
    written: (u64, Instant),
    /// Whether victims were written a [`MOMENT`] after it had begun.
    has_tried_late: bool,
}

impl OngoingWait {
    fn begin(shared: &Shared, now: Instant) -> Self {
        let pool = &shared.pool;
        let (made, written) = ((pool.clean_list.made(), now), (pool.pages_written(), now));
        Self { since: now, looked: now, came_back: None, made, written, has_tried_late: false }
    }

    fn is_late(&self) -> bool {
        time::now().saturating_duration_since(self.since) >= MOMENT
    }
}

impl FrameWait {
    /// A claimed frame; or in line for one, and to be asked again after a wake-up or [`RETRY`].
    pub(crate) fn poll<'a>(
        &mut self,
        shared: &'a Shared,
        limit: Duration,
        drive: Drive,
        waker: &Waker,
    ) -> Poll<Result<ClaimedFrame<'a>>> {
        let polled = self.try_claim(shared, limit, drive, waker);
        if polled.is_ready()
            && let Some(wait) = self.wait.take()
        {
            shared.counters.measures.add_time(Measure::FrameWait, time::now() - wait.since);
        }
        if matches!(polled, Poll::Ready(Ok(_)))
            && let Some(place) = self.place.take()
        {
            shared.pool.frame_waiters.leave(&place);
        }
        polled
    }

    /// What it has used of the time for which pins may stand in the way.
    pub(crate) fn waited(&self) -> Duration {
        self.pinned
    }

    /// Leaves the line without a frame; a wake-up that was given to it goes to the next.
    pub(crate) fn give_up(&mut self, shared: &Shared) {
        if let Some(place) = self.place.take()
            && shared.check_process().is_ok()
            && shared.pool.frame_waiters.leave(&place)
        {
            shared.pool.frame_waiters.wake_one();
        }
    }

    fn try_claim<'a>(
        &mut self,
        shared: &'a Shared,
        limit: Duration,
        drive: Drive,
        waker: &Waker,
    ) -> Poll<Result<ClaimedFrame<'a>>> {
        let pool = &shared.pool;
        let spares = self.spares(shared);
        let mut dirty = DirtyVictims::new();
        // Who has just come does not take what was made ready for those in line.
        let claimed = match self.wait {
            Some(_) => pool.claim_victim_again(spares, &mut dirty),
            None if self.is_behind_others(shared) => None,
            None => pool.claim_victim(&mut dirty),
        };
        if let Some(claimed) = claimed {
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
            self.note_outcome(shared);
            if let Some(wait) = &mut self.wait {
                wait.has_tried_late |= wait.is_late();
            }
            self.cleaning = Some(cleaning);
            self.note_outcome(shared);
            if let Some(claimed) = dirty.iter().find_map(|&no| pool.claim(no)) {
                return Poll::Ready(Ok(claimed));
            }
        }
        if let Some(error) = self.end_of_patience(shared, limit) {
            return Poll::Ready(Err(error));
        }
        pool.frame_waiters.enlist(&mut self.place, waker);
        if drive == Drive::Task {
            pool.look_after(waker);
        }
        Poll::Pending
    }

    /// The error in which the wait ends now, if it does.
    fn end_of_patience(&mut self, shared: &Shared, limit: Duration) -> Option<Error> {
        let pool = &shared.pool;
        let now = time::now();
        self.note_outcome(shared);
        let refusal = self.refusal(shared);
        let wait = self.wait.get_or_insert_with(|| {
            shared.counters.add(Counter::FrameWaits, 1);
            Box::new(OngoingWait::begin(shared, now))
        });
        let waited = now.saturating_duration_since(wait.since);
        let step = now.saturating_duration_since(std::mem::replace(&mut wait.looked, now));
        let step = step.min(limit / LOOKS_AT_LEAST);
        let shortage = pool.shortage();
        if shortage.is_all_pinned() || seeded!("slow_disk_taken_for_pins") {
            wait.came_back = None;
            self.pinned += step;
            return (self.pinned >= limit).then_some(Error::AllPinned { waited });
        }
        let is_refused = wait.has_tried_late && self.cleaning.is_none() && !shortage.is_at_disk();
        if (is_refused || waited >= limit) && refusal.is_some() {
            return refusal;
        }
        let progress = pool.progress();
        let (_, last) = *wait.came_back.insert(match wait.came_back {
            Some(as_before) if as_before.0 == progress => as_before,
            _ => (progress, now),
        });
        let idle = now.saturating_duration_since(last);
        (idle >= shared.config.disk_wait).then(|| shortage.at_the_end_of(waited, idle))
    }

    /// Whether others wait, and the background writer works for them: a fetch that has just come takes nothing from them.
    fn is_behind_others(&self, shared: &Shared) -> bool {
        shared.pool.frame_waiters.any() && shared.pool.clean_list.is_kept()
    }

    /// Whether this fetch waits on rather than take the frame of a page that was used. Where nothing was written for too long, no fetch
    /// does.
    fn spares(&mut self, shared: &Shared) -> bool {
        let Some(wait) = &mut self.wait else { return true };
        let (written, now) = (shared.pool.pages_written(), time::now());
        if written != wait.written.0 {
            wait.written = (written, now);
        } else if now.saturating_duration_since(wait.written.1) >= VAIN.min(shared.config.disk_wait / 2) {
            shared.pool.note_wait_in_vain();
        }
        now.saturating_duration_since(wait.since) < SPARING
    }

    /// Whether this fetch must write for itself: nobody else does, or has not for too long.
    fn is_last_resort(&mut self, shared: &Shared, limit: Duration) -> bool {
        let ready = &shared.pool.clean_list;
        if !ready.is_kept() {
            return true;
        }
        let (made, now) = (ready.made(), time::now());
        // The first time the writer was called only now.
        let Some(wait) = &mut self.wait else { return limit.is_zero() };
        if made != wait.made.0 {
            wait.made = (made, now);
        }
        let is_stuck = now.saturating_duration_since(wait.made.1) >= LAST_RESORT.min(limit / 2);
        if is_stuck {
            // Others need not find that out once more.
            ready.note_stuck(made);
        }
        is_stuck
    }

    /// How many victims this fetch may write: none while others do. While the disk has a rest, having refused everything, each fetch
    /// tries one for itself, and another one after a moment: the disk may be well again.
    fn most_to_write(&mut self, shared: &Shared, limit: Duration) -> usize {
        if !self.is_last_resort(shared, limit) {
            return 0;
        }
        if shared.write_backoff.is_over() {
            return usize::MAX;
        }
        let is_due = match &self.wait {
            _ if self.refused.is_none() => true,
            Some(wait) => wait.is_late() && !wait.has_tried_late,
            None => false,
        };
        usize::from(self.cleaning.is_none() && is_due)
    }

    /// Looks what came of the last batch. It is told only if no frame turns up: other victims may have been written.
    fn note_outcome(&mut self, shared: &Shared) {
        let Some((pages, error)) = self.cleaning.as_ref().and_then(|cleaning| cleaning.outcome()) else {
            return;
        };
        let over = self.cleaning.take();
        if pages > 0 || error.is_some() {
            self.refused = over.filter(|_| pages == 0);
            if self.refused.is_some() {
                shared.pool.note_wait_in_vain();
            }
        }
    }

    /// Why nothing can be written.
    fn refusal(&self, shared: &Shared) -> Option<Error> {
        let own = self.refused.as_ref().and_then(|refused| refused.outcome()?.1);
        own.or_else(|| shared.write_backoff.failure())
    }
}

/// Starts writing dirty victims, for somebody who does not wait for that, unless the background writer does, or the disk takes none.
pub(crate) fn have_victims_written(shared: &Shared, dirty: &DirtyVictims) {
    if !shared.pool.clean_list.is_kept() && shared.write_backoff.is_over() {
        write_victims(shared, dirty);
    }
}

/// Starts writing dirty victims, as far as that needs no wait.
fn write_victims(shared: &Shared, dirty: &DirtyVictims) -> Arc<BatchStatus> {
    let mut candidates: Vec<Candidate> = dirty.iter().map(|&no| (shared.pool.frame(no).page(), no)).collect();
    let tally = BatchStatus::new();
    write_out(shared, &mut candidates, Urgency::Demand, &mut Patience::Try, &tally);
    shared.write_backoff.watch(&tally);
    tally
}
