//! Pages that one call wants together: the call is let in as a whole, and its reads begin as one batch.
//!
//! A call is [let in](crate::buffer::frame::admission), in order of arrival, as far as there are frames for all of its pages. While
//! it is in line it pins none. If there are fewer frames later, it may have to [go back in line](Group::go_back_in_line). [The two modules that use this](super) decide how its pages are handed out.

use std::{
    sync::Arc,
    task::{Poll, Waker, ready},
};

use super::is_here;
use crate::{
    buffer::{
        frame::{
            admission::{Beside, CallPlace},
            pin::Pin,
            state::Phase,
            waiters::Ticket,
        },
        supply::shortage::Shortage,
    },
    error::{Error, Result},
    events,
    id::PageId,
    io::operation::Urgency,
    observe::{Counter, Measure},
    read::{
        batch::{BatchMemory, Issuer, Start},
        fetch::Miss,
    },
    runtime::{
        operation::read::{self, ReadOutcome},
        shared::Shared,
    },
    sync::{
        time::{self, Duration, Instant},
        wait::Drive,
    },
};

/// How many times `frame_wait` a call waits in line, if calls before it end without their pages.
const IN_LINE_MAX: u32 = 16;

pub(super) struct Group {
    pub(super) shared: Arc<Shared>,
    pub(super) pages: Vec<PageId>,
    /// By page, the pin if the page is resident or being read.
    pub(super) pins: Vec<Option<Pin>>,
    entry: AdmissionStage,
    /// What is left of the patience for frames.
    pub(super) patience: Duration,
    /// By page, the wait for its read.
    reads: Vec<ReadWait>,
    /// Since when the call is waited for.
    since: Option<Instant>,
}

/// The wait for the read of a page.
#[derive(Default)]
struct ReadWait {
    /// What it is for, if it is for a read.
    felt: Option<Measure>,
    /// The place in line for the end of that read.
    ticket: Option<Ticket>,
}

/// How far the call has got in being let in.
enum AdmissionStage {
    /// It has not asked yet.
    Outside,
    InLine {
        place: CallPlace,
        since: Instant,
        /// When the disk was last seen to have frames.
        at_disk: Instant,
    },
    Inside(CallPlace),
}

impl Group {
    pub(super) fn new(shared: Arc<Shared>, pages: Vec<PageId>, pins: Vec<Option<Pin>>) -> Self {
        let patience = shared.config.frame_wait;
        let reads = pages.iter().map(|_| ReadWait::default()).collect();
        Self { shared, pages, pins, entry: AdmissionStage::Outside, patience, reads, since: None }
    }

    /// Returns whether it was let in, and has begun.
    pub(super) fn is_in(&self) -> bool {
        matches!(self.entry, AdmissionStage::Inside(_))
    }

    pub(super) fn miss(&self, at: usize) -> Miss {
        Miss::new(Arc::clone(&self.shared), self.pages[at], self.patience)
    }

    pub(super) fn check_count(&self) -> Result<()> {
        check_count(&self.shared, &self.pages)
    }

    /// Notes that these pages are handed out now, after a wait for their reads.
    pub(super) fn note_arrival(&self, places: impl Iterator<Item = usize>) {
        let took = time::now() - self.since.unwrap_or_else(time::now);
        let felt = places.filter_map(|at| self.reads[at].felt);
        felt.for_each(|felt| self.shared.counters.measures.add_time(felt, took));
    }

    /// Waits for the read of the page at that place, if there is one. Returns whether the page is here; else it is to be fetched by itself.
    pub(super) fn poll_page(&mut self, at: usize, waker: &Waker) -> Poll<Result<bool>> {
        let ticket = &mut self.reads[at].ticket;
        loop {
            let Some(pin) = &self.pins[at] else { return Poll::Ready(Ok(false)) };
            if let Some(waits) = ticket {
                // The frame shows how the read ended.
                ready!(pin.poll_read(waits, waker)).ok();
                *ticket = None;
            }
            match read::look(&self.shared.pool, &self.shared.files, pin) {
                Ok(ReadOutcome::Here) => return Poll::Ready(Ok(true)),
                Ok(ReadOutcome::Reading) => {
                    *ticket = pin.enlist_for_read(waker);
                    if ticket.is_some() {
                        return Poll::Pending;
                    }
                }
                Ok(ReadOutcome::Gone) => self.pins[at] = None,
                Err(error) => {
                    self.pins[at] = None;
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    /// Waits until the call is let in, and then starts the reads. An error is that of the call as a whole.
    pub(super) fn enter(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<()>> {
        if self.is_in() {
            return Poll::Ready(Ok(()));
        }
        self.check_count()?;
        self.since.get_or_insert_with(time::now);
        self.try_enter(drive, waker).map_err(|error| {
            events::no_frame(&self.shared.counters.pool, &error);
            error
        })
    }

    fn try_enter(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<()>> {
        let shared = Arc::clone(&self.shared);
        let frames = frames_to_let_in(&shared);
        let need = distinct(&self.pages).min(frames);
        let now = time::now();
        let (mut place, since, mut at_disk) =
            match std::mem::replace(&mut self.entry, AdmissionStage::Outside) {
                AdmissionStage::InLine { place, since, at_disk } => (Some(place), since, at_disk),
                _ => (None, now, now),
            };
        let is_new = place.is_none();
        let (shortage, looked) = if is_new { (Shortage::default(), now) } else { shared.pool.shortage() };
        if shortage.is_at_disk() {
            at_disk = now;
        }
        let patience = self.patience;
        let waited = now.saturating_duration_since(since);
        let is_any_left = !is_new && waited >= patience && shortage.left() >= need;
        let beside = is_any_left.then_some(Beside { looked, patience });
        let is_in = shared.pool.admission.enter(need, frames, beside, &mut place, waker);
        let place = place.expect("a call that has asked has one");
        if is_in {
            self.entry = AdmissionStage::Inside(place);
            if !is_new {
                shared.counters.measures.add_time(Measure::FrameWait, time::now() - since);
                self.pins = look_up(&self.shared, &self.pages);
            }
            self.start();
            return Poll::Ready(Ok(()));
        }
        if is_new {
            shared.counters.add(Counter::FrameWaits, 1);
            // Other calls use the frames.
            self.pins.iter_mut().for_each(|pin| *pin = None);
        }
        self.entry = AdmissionStage::InLine { place, since, at_disk };
        if drive == Drive::Task {
            shared.pool.look_after(waker);
        }
        // A call that was let in and cannot have all its pages holds pins, and releases them with its own error. Then the next call
        // is let in: an error before that would report pins that are about to end.
        let (progress, ended) = shared.pool.admission.progress(since);
        let no_page = now.saturating_duration_since(progress.max(at_disk));
        let no_end = now.saturating_duration_since(ended.max(at_disk));
        if no_page >= patience && (no_end >= patience * 4 || no_page >= patience * IN_LINE_MAX) {
            let shortage = if is_new { shared.pool.shortage().0 } else { shortage };
            return Poll::Ready(Err(shortage.of_pins(waited)));
        }
        let idle = now.saturating_duration_since(progress);
        if idle >= shared.config.disk_wait {
            return Poll::Ready(Err(shortage.at_the_end_of(waited, idle)));
        }
        Poll::Pending
    }

    /// Releases all pins, and goes back in line, if the frames have become too few for this call beside those before it. Returns
    /// whether it did. For a call that waits for a frame: the calls before it may wait for those that it has pinned.
    pub(super) fn go_back_in_line(&mut self, waker: &Waker) -> bool {
        let frames = frames_to_let_in(&self.shared);
        let admission = &self.shared.pool.admission;
        match std::mem::replace(&mut self.entry, AdmissionStage::Outside) {
            AdmissionStage::Inside(place) if !admission.still_has_room(&place, frames) => {
                // Before its frames are counted for other calls.
                self.pins.iter_mut().for_each(|pin| *pin = None);
                admission.go_back(&place, frames, waker);
                let now = time::now();
                self.entry = AdmissionStage::InLine { place, since: now, at_disk: now };
                true
            }
            entry => {
                self.entry = entry;
                false
            }
        }
    }

    /// Ends the call's part in the admission: it has its frames, or does without.
    pub(super) fn leave(&mut self, has_pages: bool) {
        if self.shared.check_process().is_err() {
            return;
        }
        let former = std::mem::replace(&mut self.entry, AdmissionStage::Outside);
        if let AdmissionStage::InLine { place, .. } | AdmissionStage::Inside(place) = former {
            self.shared.pool.admission.leave(&place, frames_to_let_in(&self.shared), has_pages);
        }
    }

    /// Notes that it has taken a frame, so that no other call counts the frames that it still needs as free.
    pub(super) fn note_taken(&self) {
        if let AdmissionStage::Inside(place) = &self.entry {
            self.shared.pool.admission.note_taken(place);
        }
    }

    pub(super) fn lower_need(&self, pages: usize) {
        if let AdmissionStage::Inside(place) = &self.entry {
            self.shared.pool.admission.lower(place, pages, frames_to_let_in(&self.shared));
        }
    }

    /// Starts the reads of the missing pages, as far as that needs no wait. If a single page is all that there is to wait for, the
    /// thread or task that waits reads it.
    fn start(&mut self) {
        let Self { shared, pages, pins, reads, .. } = self;
        for (pin, read) in pins.iter().zip(reads.iter_mut()) {
            let Some(pin) = pin else { continue };
            let (file, phase) = (pin.frame().page().file, pin.frame().state.load().phase());
            if phase == Phase::Reading {
                read.felt = Some(Measure::Join);
                shared.count_for(file, Counter::Joins, 1);
            } else if phase == Phase::Loaded {
                // Read ahead, and to be opened by the codec: there is no read to wait for.
                shared.counters.hits.add(file, 1);
            }
        }
        let mut missing: Vec<usize> = (0..pages.len()).filter(|&at| pins[at].is_none()).collect();
        missing.sort_unstable_by_key(|&at| pages[at]);
        let is_one_page = |of: &[usize]| pages[of[0]] == pages[of[of.len() - 1]];
        if missing.is_empty() || is_one_page(&missing) && pins.iter().flatten().all(is_here) {
            return;
        }
        let mut batch = BatchMemory::default();
        let mut issuer = Issuer::new(shared, Urgency::Demand, &mut batch);
        // What one file is refused, another may have. If a file is not open, each of its pages reports that.
        for of_file in missing.chunk_by(|&one, &other| pages[one].file == pages[other].file) {
            let missing: Vec<PageId> = of_file.iter().map(|&at| pages[at]).collect();
            let (mut missed, mut misses, mut joins) = (of_file.iter(), 0, 0);
            // A page may be in the list twice, or have become resident meanwhile: then it is met.
            issuer.start_each(&missing, |start| {
                let next = missed.next();
                let (pin, met, count) = match start {
                    Start::Begun(pin) => (pin, Measure::Miss, &mut misses),
                    Start::Met(pin) => (pin, Measure::Join, &mut joins),
                    Start::Impossible | Start::Refused => return,
                };
                *count += 1;
                if let Some(&at) = next {
                    pins[at] = Some(pin);
                    reads[at].felt = Some(met);
                }
            });
            shared.count_for(missing[0].file, Counter::Misses, misses);
            shared.count_for(missing[0].file, Counter::Joins, joins);
        }
        issuer.submit();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for (pin, read) in self.pins.drain(..).zip(&mut self.reads) {
            if let (Some(pin), Some(ticket)) = (pin, read.ticket.take()) {
                pin.cancel_wait(&ticket);
            }
        }
        // Now that it has released its pins its frames are counted for other calls.
        self.leave(false);
    }
}

/// Pins those of the pages that are resident or being read, side by side.
pub(super) fn look_up(shared: &Shared, pages: &[PageId]) -> Vec<Option<Pin>> {
    let mut pins = Vec::with_capacity(pages.len());
    shared.pool.lookup_each(pages, |lookup| {
        pins.push(lookup.ok());
    });
    pins
}

pub(super) fn check_count(shared: &Shared, pages: &[PageId]) -> Result<()> {
    let frames = shared.pool.size.frames();
    if pages.len() <= frames as usize {
        return Ok(());
    }
    let distinct = distinct(pages);
    if distinct <= frames as usize { Ok(()) } else { Err(Error::TooManyPages { pages: distinct, frames }) }
}

/// Returns the number of frames for calls to be let in to: all but those that look-ahead holds.
fn frames_to_let_in(shared: &Shared) -> usize {
    (shared.pool.size.frames() as usize).saturating_sub(shared.pool.read_ahead_quota.taken()).max(1)
}

/// Returns the number of pages in the list, each counted once.
fn distinct(pages: &[PageId]) -> usize {
    let mut distinct = pages.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.len()
}
