//! Fetching many pages at once: all of them pinned, or none.
//!
//! Hits are looked up side by side, so that the processor's cache misses overlap. Where pages are missing the call is
//! [let in](crate::buffer::frame::admission) first, in order of arrival, as far as there are frames for all of its pages: else calls would hold
//! a part of their pages each, and none get on. While it is in line it holds none. What is missing is then read as one batch, with
//! neighbours in one request. A page that finds no clean frame in that batch is fetched as a lone miss, which waits for a
//! frame. All these waits together are as long as one fetch would wait.

use std::{
    fmt,
    pin::Pin as StdPin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use crate::{
    buffer::{
        frame::{
            admission::{Beside, CallPlace},
            pin::Pin,
            state::Phase,
            waiters::{Ticket, want::Want},
        },
        lookup::Lookup,
        page::PinnedPage,
        supply::shortage::Shortage,
    },
    error::{Error, Result},
    events,
    id::PageId,
    observe::{Counter, Measure},
    read::{
        batch::{BatchMemory, Issuer, Purpose, Start},
        miss::Miss,
        outcome::{self, ReadOutcome},
    },
    runtime::shared::Shared,
    sync::{
        poll_budget,
        time::{self, Duration, Instant},
        wait::{Drive, PollStep},
    },
};

/// How many times `frame_wait` a call waits in line, where calls before it end without their pages.
const IN_LINE_MAX: u32 = 16;

/// Pages on their way together: wait for them with [`wait`](Self::wait), or `.await` them.
///
/// Those that were in the pool are pinned already; the others are read when somebody waits, who may have to wait in line for
/// frames first, with none of the pages pinned. Dropping it lets go of all of them, and reads that were started go on. As a future it
/// gives way to other tasks now and then, [as a `Fetch` does](crate::Fetch#turns-of-tasks).
#[must_use = "a fetch does nothing until it is waited for or awaited"]
pub struct FetchMany {
    stage: ManyStage,
}

enum ManyStage {
    /// Hits only.
    Ready(Vec<PinnedPage>),
    Refused(Error),
    Missing(Box<Missing>),
    /// The result was collected.
    Done,
}

impl FetchMany {
    pub(crate) fn new(shared: &Arc<Shared>, pages: &[PageId]) -> Self {
        if let Err(error) = check_count(shared, pages) {
            return Self { stage: ManyStage::Refused(error) };
        }
        let mut pins = Vec::with_capacity(pages.len());
        shared.pool.lookup_each(pages, |lookup| {
            pins.push(if let Lookup::Pinned(pin) = lookup { Some(pin) } else { None });
        });
        let here = count_hits(shared, pages, &pins);
        let stage = if here == pages.len() {
            // In the memory that they have: an option of a pin is as large as a page.
            let all = pins.into_iter().map(|pin| PinnedPage::new(pin.expect("all are here")));
            ManyStage::Ready(all.collect())
        } else {
            ManyStage::Missing(Box::new(Missing::new(Arc::clone(shared), pages.to_vec(), pins)))
        };
        Self { stage }
    }

    /// Sets the most to wait for frames while all are pinned, instead of the pool's own [limit](crate::Builder::frame_wait).
    pub fn frame_wait(mut self, wait: Duration) -> Self {
        if let ManyStage::Missing(missing) = &mut self.stage {
            missing.patience = wait;
        }
        self
    }

    /// Gives the pages if all of them are in the pool. Never reads, never waits.
    #[must_use]
    pub fn now(self) -> Option<Vec<PinnedPage>> {
        match self.stage {
            ManyStage::Ready(pages) => Some(pages),
            ManyStage::Refused(_) | ManyStage::Missing(_) | ManyStage::Done => None,
        }
    }

    /// Waits for all of the pages, which come in the order in which they were asked for.
    ///
    /// # Errors
    /// That of the first page in this order that cannot be had, as for [`Fetch::wait`](crate::Fetch::wait); nothing stays
    /// pinned then. Calls are let in first come, first served, as far as there are frames for their pages.
    /// [`Error::AllPinned`] where a call is not let in, or does not get frames, since pins stood in the way for
    /// [`frame_wait`](crate::Builder::frame_wait); time in which calls before it get their pages, or the disk has frames, does not
    /// count, nor, up to sixteen times that wait, time in which calls before it come to such an error. [`Error::NoFrame`] where the disk had frames, and no call got its pages, for [`disk_wait`](crate::Builder::disk_wait). [`Error::TooManyPages`] for more
    /// pages than the pool has frames, or is to have where it is made smaller while the call waits.
    pub fn wait(self) -> Result<Vec<PinnedPage>> {
        match self.stage {
            ManyStage::Ready(pages) => Ok(pages),
            ManyStage::Refused(error) => Err(error),
            ManyStage::Missing(mut missing) => missing.run_to_end(),
            ManyStage::Done => Err(Error::ShutDown),
        }
    }
}

/// Counts the pages that are here, for their files. Returns how many there are.
fn count_hits(shared: &Shared, pages: &[PageId], pins: &[Option<Pin>]) -> usize {
    let count = |file, pins: &[Option<Pin>]| {
        let here = pins.iter().flatten().filter(|pin| is_here(pin)).count();
        shared.counters.hits.add(file, here as u64);
        here
    };
    let Some(&PageId { file, .. }) = pages.first() else { return 0 };
    // Without a branch for each page: nearly always they are of one file.
    if pages.iter().fold(0, |others, page| others | page.file.get() ^ file.get()) == 0 {
        return count(file, pins);
    }
    let mut rest = pins;
    let of_files = pages.chunk_by(|one, other| one.file == other.file);
    of_files.map(|of_file| count(of_file[0].file, rest.split_off(..of_file.len()).unwrap_or_default())).sum()
}

fn is_here(pin: &Pin) -> bool {
    pin.frame().state.load().is_valid()
}

fn is_being_read(pin: &Pin) -> bool {
    pin.frame().state.load().phase() == Phase::Reading
}

/// Whether there are frames enough to pin all of the pages.
fn check_count(shared: &Shared, pages: &[PageId]) -> Result<()> {
    let frames = shared.pool.size.frames();
    if pages.len() <= frames as usize {
        return Ok(());
    }
    let distinct = distinct(pages);
    if distinct <= frames as usize { Ok(()) } else { Err(Error::TooManyPages { pages: distinct, frames }) }
}

impl Future for FetchMany {
    type Output = Result<Vec<PinnedPage>>;

    fn poll(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        poll_budget::poll(cx, |waker| self.step(waker))
    }
}

impl FetchMany {
    /// Goes on as a task.
    fn step(&mut self, waker: &Waker) -> Poll<Result<Vec<PinnedPage>>> {
        let stage = &mut self.stage;
        let result = match stage {
            ManyStage::Missing(missing) => ready!(missing.step(Drive::Task, waker)),
            _ => match std::mem::replace(stage, ManyStage::Done) {
                ManyStage::Ready(pages) => Ok(pages),
                ManyStage::Refused(error) => Err(error),
                _ => panic!("a fetch was polled after it had given its pages"),
            },
        };
        *stage = ManyStage::Done;
        Poll::Ready(result)
    }
}

impl fmt::Debug for FetchMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            ManyStage::Ready(pages) => write!(f, "FetchMany(ready: {} pages)", pages.len()),
            ManyStage::Refused(error) => write!(f, "FetchMany({error})"),
            ManyStage::Missing(missing) => write!(f, "FetchMany({} pages)", missing.pages.len()),
            ManyStage::Done => f.write_str("FetchMany(collected)"),
        }
    }
}

/// Pages that were not all ready.
struct Missing {
    shared: Arc<Shared>,
    pages: Vec<PageId>,
    /// By page, the pin where it is here or on its way.
    pins: Vec<Option<Pin>>,
    entry: AdmissionStage,
    /// So many of the first pages are not known to be here. They are waited for from the last on, so that most of them
    /// need no wait of their own.
    open: usize,
    /// A read that is waited for: of the last page that is open.
    waits: Option<Ticket>,
    /// The last page that is open, where it must be fetched by itself.
    demand: Option<Miss>,
    /// What is left of the patience for frames.
    patience: Duration,
    /// The error of the first page that has one, of those that are not open.
    error: Option<Error>,
    /// Since when the call is waited for.
    since: Option<Instant>,
    /// Pages whose reads it has started, and found under way.
    met: MetPages,
}

#[derive(Copy, Clone, Default)]
struct MetPages {
    misses: u64,
    joins: u64,
}

/// How far the call has come on its way in.
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

impl Missing {
    fn new(shared: Arc<Shared>, pages: Vec<PageId>, pins: Vec<Option<Pin>>) -> Self {
        let patience = shared.config.frame_wait;
        let open = pages.len();
        let entry = AdmissionStage::Outside;
        let (waits, demand, error, since, met) = (None, None, None, None, MetPages::default());
        Self { shared, pages, pins, entry, open, waits, demand, patience, error, since, met }
    }

    /// Gets in, and then starts the reads.
    fn enter(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<()>> {
        if let AdmissionStage::Inside(_) = self.entry {
            return Poll::Ready(Ok(()));
        }
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
                self.look_up();
            }
            self.start();
            return Poll::Ready(Ok(()));
        }
        if is_new {
            shared.counters.add(Counter::FrameWaits, 1);
            // Others get on with the frames.
            self.pins.iter_mut().for_each(|pin| *pin = None);
        }
        self.entry = AdmissionStage::InLine { place, since, at_disk };
        if drive == Drive::Task {
            shared.pool.look_after(waker);
        }
        // One that is in and cannot have all its pages has others pinned, and lets go of them with its own error. Then it is the next
        // one's turn: an error before that would tell of pins that are on their way out.
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

    /// Has the frames that it was let in for, or does without.
    fn leave(&mut self, has_pages: bool) {
        if self.shared.check_process().is_err() {
            return;
        }
        let former = std::mem::replace(&mut self.entry, AdmissionStage::Outside);
        if let AdmissionStage::InLine { place, .. } | AdmissionStage::Inside(place) = former {
            self.shared.pool.admission.leave(&place, frames_to_let_in(&self.shared), has_pages);
        }
    }

    /// Notes that it has taken a frame, so that no other call takes what it still needs for left.
    fn note_taken(&self) {
        if let AdmissionStage::Inside(place) = &self.entry {
            self.shared.pool.admission.note_taken(place);
        }
    }

    /// Pins what is here, anew.
    fn look_up(&mut self) {
        let Self { shared, pages, pins, .. } = self;
        pins.clear();
        shared.pool.lookup_each(pages, |lookup| {
            pins.push(if let Lookup::Pinned(pin) = lookup { Some(pin) } else { None });
        });
    }

    /// Starts the reads of what is missing, as far as that needs no wait. Where a single page is all that there is to wait
    /// for, it is left to whoever waits.
    fn start(&mut self) {
        let Self { shared, pages, pins, met: counted, .. } = self;
        for pin in pins.iter().flatten().filter(|pin| is_being_read(pin)) {
            counted.joins += 1;
            shared.count_for(pin.frame().page().file, Counter::Joins, 1);
        }
        let mut missing: Vec<usize> = (0..pages.len()).filter(|&at| pins[at].is_none()).collect();
        missing.sort_unstable_by_key(|&at| pages[at]);
        let is_one_page = |of: &[usize]| pages[of[0]] == pages[of[of.len() - 1]];
        if missing.is_empty() || is_one_page(&missing) && pins.iter().flatten().all(is_here) {
            return;
        }
        let mut batch = BatchMemory::default();
        let mut issuer = Issuer::new(shared, Purpose::Demand, &mut batch);
        // What one file is refused, another may have. Where there is no file, each page says so by itself.
        for of_file in missing.chunk_by(|&one, &other| pages[one].file == pages[other].file) {
            let missing: Vec<PageId> = of_file.iter().map(|&at| pages[at]).collect();
            let (mut missed, before) = (of_file.iter(), *counted);
            // One may stand in the list twice, or have come meanwhile: then it is met.
            issuer.start_each(&missing, |start| {
                let next = missed.next();
                let (pin, met) = match start {
                    Start::Begun(pin) => (pin, &mut counted.misses),
                    Start::Met(pin) => (pin, &mut counted.joins),
                    Start::Impossible | Start::Refused => return,
                };
                *met += 1;
                if let Some(&at) = next {
                    pins[at] = Some(pin);
                }
            });
            let file = missing[0].file;
            shared.count_for(file, Counter::Misses, counted.misses - before.misses);
            shared.count_for(file, Counter::Joins, counted.joins - before.joins);
        }
        issuer.submit();
    }

    /// What is known of the last page that is open: its end, or something to wait for. `Err` where no other page matters any more.
    fn poll_last(&mut self, last: usize, drive: Drive, waker: &Waker) -> Poll<Result<()>> {
        loop {
            if let Some(miss) = &mut self.demand {
                let Poll::Ready(outcome) = miss.step(drive, waker) else {
                    // A pool that shrinks waits for what is pinned here, and this for frames that are to go.
                    return check_count(&self.shared, &self.pages)
                        .map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending);
                };
                self.patience = miss.patience_left();
                self.demand = None;
                match outcome {
                    Ok(page) => {
                        self.pins[last] = Some(page.into_pin());
                        self.note_taken();
                    }
                    Err(error @ (Error::AllPinned { .. } | Error::NoFrame { .. })) => {
                        return Poll::Ready(Err(error));
                    }
                    Err(error) => self.error = Some(error),
                }
                return Poll::Ready(Ok(()));
            }
            let Some(pin) = &self.pins[last] else {
                self.demand = Some(Miss::new(Arc::clone(&self.shared), self.pages[last], self.patience));
                continue;
            };
            let waiters = &pin.frames().waiters;
            if let Some(ticket) = &self.waits {
                // How the read ended shows in the frame.
                ready!(waiters.poll(ticket, waker)).ok();
                self.waits = None;
            }
            match outcome::look(&self.shared, pin) {
                Ok(ReadOutcome::Here) => return Poll::Ready(Ok(())),
                Ok(ReadOutcome::Reading) => {
                    self.waits = waiters.enlist(pin.frame_no(), pin.frame(), Want::ReadDone, waker);
                }
                Ok(ReadOutcome::Gone) => self.pins[last] = None,
                Err(error) => {
                    self.error = Some(error);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl PollStep for Missing {
    type Output = Result<Vec<PinnedPage>>;

    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Self::Output> {
        self.shared.check_process()?;
        let since = *self.since.get_or_insert_with(time::now);
        if let Err(error) = ready!(self.enter(drive, waker)) {
            events::no_frame(&self.shared.counters.pool, &error);
            return Poll::Ready(Err(error));
        }
        while let Some(last) = self.open.checked_sub(1) {
            if let Err(error) = ready!(self.poll_last(last, drive, waker)) {
                self.error = Some(error);
                break;
            }
            self.open = last;
        }
        let pins = std::mem::take(&mut self.pins).into_iter().flatten();
        let fetched = match self.error.take() {
            Some(error) => {
                // Before its frames are another's.
                drop(pins);
                Err(error)
            }
            None => {
                let (measures, took) = (&self.shared.counters.measures, time::now() - since);
                measures.add_times(Measure::Miss, self.met.misses, took);
                measures.add_times(Measure::Join, self.met.joins, took);
                Ok(pins.map(PinnedPage::new).collect())
            }
        };
        self.leave(fetched.is_ok());
        Poll::Ready(fetched)
    }

    fn is_sure_of_its_wake_up(&self) -> bool {
        matches!(self.entry, AdmissionStage::Inside(_))
            && self.demand.as_ref().is_none_or(PollStep::is_sure_of_its_wake_up)
    }
}

impl Drop for Missing {
    fn drop(&mut self) {
        if let Some(ticket) = self.waits.take()
            && let Some(Some(pin)) = self.open.checked_sub(1).map(|last| &self.pins[last])
        {
            pin.cancel_wait(&ticket);
        }
        // Its pins before its frames are another's.
        self.pins.clear();
        self.leave(false);
    }
}

/// The frames for calls to be let in to: all but those that look-ahead holds.
fn frames_to_let_in(shared: &Shared) -> usize {
    (shared.pool.size.frames() as usize).saturating_sub(shared.pool.read_ahead_quota.taken()).max(1)
}

/// How many pages there are in the list, each counted once.
fn distinct(pages: &[PageId]) -> usize {
    let mut distinct = pages.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.len()
}
