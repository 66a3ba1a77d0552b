//! Getting a frame for a miss: carries out the [decision](crate::buffer::supply::decision), and waits in line between its steps.

use std::task::{Poll, Waker};

use crate::{
    buffer::{
        claim::ClaimedFrame,
        frame::frame_waiters::WakerPlace,
        supply::{
            DirtyVictims, Search,
            decision::{Met, OngoingWait, Step, WaitBounds},
        },
    },
    error::Result,
    events,
    io::operation::Urgency,
    observe::{Counter, Measure},
    runtime::shared::Shared,
    sync::{
        Arc,
        batch_status::BatchStatus,
        time::{self, Duration},
        wait::{Drive, RETRY},
    },
    write::write_out::{Candidate, Patience, write_out},
};

/// One fetch's wait for a frame, and the waits that it had before.
#[derive(Default)]
pub(crate) struct FrameWait {
    /// The wait that is going on. In a box, since most fetches never wait.
    wait: Option<Box<OngoingWait>>,
    /// For how long pins stood in the way, in all waits so far.
    pinned: Duration,
    /// The last batch of victims that is written on this fetch's behalf.
    cleaning: Option<Arc<BatchStatus>>,
    /// Its place in line.
    place: Option<WakerPlace>,
}

impl FrameWait {
    /// Takes a frame; or gets in line for one, and must then be polled again after a wake-up or [`RETRY`].
    pub(crate) fn poll<'a>(
        &mut self,
        shared: &'a Shared,
        limit: Duration,
        drive: Drive,
        waker: &Waker,
    ) -> Poll<Result<ClaimedFrame<'a>>> {
        let mut dirty = DirtyVictims::new();
        let met = if self.wait.is_some() {
            Met::NotYet
        } else if shared.pool.are_spoken_for() {
            Met::Nothing
        } else if let Some(claimed) = shared.pool.take_frame(Search::Demand, &mut dirty) {
            return Poll::Ready(Ok(claimed));
        } else {
            Met::Dirty(dirty.len())
        };
        let taken = self.go_on(met, shared, limit, drive, &mut dirty);
        if let Some(taken) = taken {
            self.end(shared, taken.is_ok());
            return Poll::Ready(taken);
        }
        if self.place.is_none() {
            shared.counters.add(Counter::FrameWaits, 1);
        }
        shared.pool.frame_waiters.enlist(&mut self.place, waker);
        if drive == Drive::Task {
            shared.pool.look_after(waker);
        }
        Poll::Pending
    }

    /// Continues until there is a frame, or a reason why there is none, or nothing to do but wait.
    fn go_on<'a>(
        &mut self,
        mut met: Met,
        shared: &'a Shared,
        limit: Duration,
        drive: Drive,
        dirty: &mut DirtyVictims,
    ) -> Option<Result<ClaimedFrame<'a>>> {
        let (pool, findings) = (&shared.pool, &shared.pool.findings);
        let bounds = WaitBounds { pins: limit, disk: shared.config.disk_wait };
        loop {
            let signs = pool.signs();
            let wait = self.wait.get_or_insert_with(|| Box::new(OngoingWait::begin(&signs)));
            if let Some((pages, error)) = self.cleaning.as_ref().and_then(|cleaning| cleaning.outcome()) {
                self.cleaning = None;
                if wait.learn(pages, error) {
                    findings.note_in_vain(signs.written);
                }
            }
            met = match wait.next(met, &signs, bounds, &mut self.pinned) {
                Step::Search { spares, no_writes } => {
                    if no_writes {
                        findings.note_in_vain(signs.written);
                    }
                    match pool.take_frame(Search::Again { spares }, dirty) {
                        Some(claimed) => return Some(Ok(claimed)),
                        None => Met::Dirty(dirty.len()),
                    }
                }
                Step::Write { while_refused, stuck_writer } => {
                    stuck_writer.inspect(|&set_aside| pool.clean_list.note_stuck(set_aside));
                    dirty.truncate(if findings.may_write() { usize::MAX } else { while_refused });
                    if !dirty.is_empty() {
                        wait.note_write(signs.now);
                        self.cleaning = Some(write_for_fetch(shared, dirty, drive));
                    }
                    match pool.take_cleaned(dirty) {
                        Some(claimed) => return Some(Ok(claimed)),
                        None => Met::Nothing,
                    }
                }
                Step::Wait => return None,
                Step::GiveUp(error) => {
                    events::no_frame(&shared.counters.pool, &error);
                    return Some(Err(error));
                }
            };
        }
    }

    fn end(&mut self, shared: &Shared, has_frame: bool) {
        if let Some(wait) = self.wait.take() {
            shared.counters.measures.add_time(Measure::FrameWait, time::now() - wait.since());
        }
        if has_frame && let Some(place) = self.place.take() {
            shared.pool.frame_waiters.leave(&place);
        }
    }

    /// Returns how much of the time for which pins may stand in the way is used up.
    pub(crate) fn waited(&self) -> Duration {
        self.pinned
    }

    /// Leaves the line without a frame, and passes on a wake-up that it was given.
    pub(crate) fn give_up(&mut self, shared: &Shared) {
        if let Some(place) = self.place.take()
            && shared.check_process().is_ok()
            && shared.pool.frame_waiters.leave(&place)
        {
            shared.pool.frame_waiters.wake_one();
        }
    }
}

fn write_for_fetch(shared: &Shared, dirty: &DirtyVictims, drive: Drive) -> Arc<BatchStatus> {
    shared.counters.add(Counter::DirtyEvictions, 1);
    let cleaning = write_victims(shared, dirty);
    if drive == Drive::Thread {
        // Not until the write ends: if its disk does not answer, there may be frames elsewhere.
        cleaning.wait_until(time::now() + RETRY);
    }
    cleaning
}

/// Starts writing dirty victims, for a caller that does not wait for them, unless the background writer writes them, or the disk
/// refuses writes.
pub(crate) fn have_victims_written(shared: &Shared, dirty: &DirtyVictims) {
    let pool = &shared.pool;
    if !pool.clean_list.is_kept() && pool.findings.may_write() {
        write_victims(shared, dirty);
    }
}

/// Starts writing dirty victims, as far as that needs no wait.
fn write_victims(shared: &Shared, dirty: &DirtyVictims) -> Arc<BatchStatus> {
    let mut candidates: Vec<Candidate> = dirty.iter().map(|&no| (shared.pool.frame(no).page(), no)).collect();
    let tally = BatchStatus::new();
    write_out(shared, &mut candidates, Urgency::Demand, &mut Patience::Try, &tally);
    shared.pool.findings.watch(&tally);
    tally
}
