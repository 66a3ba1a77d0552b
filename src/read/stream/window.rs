//! The pages that a stream looks ahead: asked for, pinned, and handed out in order.
//!
//! Invariants:
//! * Pages are kept in the order in which they were asked for. The first `tried` of them have been looked up, and their reads
//!   started if they were missing. The others found no place so far, and are tried again with the next.
//! * Every page that is pinned here has a place of its file in the read-ahead quota. So all streams together never hold more than
//!   that, and a pin does not touch the quota's counter while the stream stays in a file: places pass from page to page.
//! * The first page can always be had without look-ahead: as a [`Miss`], which waits for a frame as a fetch does. A lone miss, a
//!   page that found no place, and a page whose read failed are read so; an error that it ends in is final.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Poll, Waker, ready},
};

use crate::{
    buffer::{
        frame::{
            pin::Pin,
            state::{Phase, State},
            waiters::Ticket,
        },
        lookup::NotPinned,
        page::PinnedPage,
        residency::CLAIMS_MAX,
    },
    error::{Error, Result},
    id::{FileId, PageId},
    io::{operation::Urgency, options::COMBINE_LIMIT_MAX},
    observe::{Counter, Measure},
    read::{
        batch::{BatchMemory, Issuer, Start},
        buffer_ring::BufferRing,
        fetch::Miss,
        options::StreamOptions,
        stream::distance::Distance,
    },
    runtime::{
        operation::read::{self, ReadOutcome},
        shared::Shared,
    },
    sync::{
        time::{self, Duration, Instant},
        wait::{Drive, PollStep},
    },
};

/// The most bytes of the pages that a stream holds in advance, unless set: as many as keep a fast disk busy with requests of
/// ordinary size.
const LOOK_AHEAD: usize = 4 << 20;

/// The most pages that it holds in advance, unless set, however small they are.
const LOOK_AHEAD_PAGES: usize = 1024;

pub(super) struct Window {
    shared: Arc<Shared>,
    /// The most to wait for a frame.
    patience: Duration,
    combine: usize,
    distance: Distance,
    pages: VecDeque<Ahead>,
    /// The number of first pages that have been looked up.
    tried: usize,
    /// Places in the read-ahead quota that the stream has and no page uses.
    spare: SparePlaces,
    batch: BatchMemory,
    /// Pages whose reads are to begin together. Empty except meanwhile.
    missing: Vec<PageId>,
    /// The frames of a bulk read.
    ring: Option<BufferRing>,
    /// The first page, if it must be fetched.
    demand: Option<Miss>,
    /// A page whose read is waited for, by its place.
    waits: Option<(usize, Ticket)>,
    /// Since when a page is waited for.
    waits_since: Option<Instant>,
    /// The outcome of the first page, once that is known. A resident page keeps its pin in its place, which then does not count as
    /// pinned any more: a page with its possible errors is a large value, and each function that passes it on copies it.
    outcome: Option<Result<()>>,
}

/// Places of a file: those left by pages that were handed out, and those taken for the pages to be looked up.
struct SparePlaces {
    file: FileId,
    places: usize,
}

/// A page that was asked for.
struct Ahead {
    page: PageId,
    /// `None` if it was not tried, cannot be looked ahead, or its read failed.
    pin: Option<Pin>,
}

impl Window {
    /// Makes a window with its options, cut to what the pool can give: it keeps these limits when the pool changes its size.
    pub(super) fn new(shared: Arc<Shared>, options: &StreamOptions) -> Self {
        let (config, pool) = (&shared.config, &shared.pool);
        let page_size = config.page_size.bytes();
        let pages = |bytes: usize| bytes.min(COMBINE_LIMIT_MAX) / page_size;
        let combine = options.combine_limit_bytes.map_or(config.combine_pages, pages).max(1);
        let wanted =
            options.look_ahead_pages.map_or((LOOK_AHEAD / page_size).min(LOOK_AHEAD_PAGES), |n| n as usize);
        // Half of the quota, so that a second stream can look ahead too.
        let mut ahead = wanted.min(pool.read_ahead_quota.limit().div_ceil(2)).max(1);
        let ring = options.ring_bytes.map(|bytes| {
            let kept = (bytes / page_size).max(1);
            let frames = (kept + ahead).min(pool.size.frames() as usize / 8).max(1);
            // A ring that was cut still turns: look-ahead never fills it.
            ahead = ahead.min(frames - kept.min(frames / 2)).max(1);
            BufferRing::new(frames)
        });
        let distance = Distance::new(combine, ahead).with_batch(config.combine_pages);
        Self {
            patience: options.frame_wait.unwrap_or(config.frame_wait),
            combine,
            distance: if ring.is_some() { distance.for_many_pages() } else { distance },
            pages: VecDeque::new(),
            tried: 0,
            spare: SparePlaces { file: FileId(0), places: 0 },
            batch: BatchMemory::default(),
            missing: Vec::new(),
            ring,
            demand: None,
            waits: None,
            waits_since: None,
            outcome: None,
            shared,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Returns whether nothing is held in advance, nor is going to be: only the next page is wanted.
    pub(super) fn looks_at_one(&self) -> bool {
        self.is_empty() && self.distance.target() == 1
    }

    pub(super) fn distance(&self) -> usize {
        self.distance.target()
    }

    pub(super) fn wants(&self) -> usize {
        // A page that is ready to be handed out is not held any more.
        self.distance.to_ask(self.pages.len() - usize::from(self.outcome.is_some()))
    }

    pub(super) fn push(&mut self, page: PageId) {
        self.pages.push_back(Ahead { page, pin: None });
    }

    /// Returns the page, if it is resident: if only the next page is wanted, it needs no place in the window.
    pub(super) fn take_resident(&mut self, page: PageId) -> Option<PinnedPage> {
        // A page that is not valid yet is looked up once more, and that counts as its use.
        let pin = if self.ring.is_some() { State::pin_unused } else { State::pin_valid };
        let pin = self.shared.pool.lookup_by(page, pin).ok()?;
        if !pin.frame().state.load().is_valid() {
            return None;
        }
        self.shared.counters.hits.add(page.file, 1);
        self.shared.counters.add(Counter::StreamPages, 1);
        self.distance.note_hit();
        Some(PinnedPage::new(pin))
    }

    /// Looks up the pages that were not tried, and starts to read those that are missing, as far as there is room for them.
    pub(super) fn look_ahead(&mut self) {
        let untried = self.pages.len() - self.tried;
        // If only one page is wanted, the thread or task that wants it fetches it.
        let is_lone = self.pages.len() == 1 && self.distance.target() == 1 && self.ring.is_none();
        if untried == 0 || is_lone {
            return;
        }
        self.shared.counters.measures.add(Measure::LookAhead, self.distance.target() as u64);
        self.start();
        self.give_back_places();
    }

    /// Takes places for the untried pages of the next page's file, as many as there are.
    fn take_places(&mut self) {
        let file = self.pages[self.tried].page.file;
        if self.spare.file != file {
            self.give_back_places();
            self.spare.file = file;
        }
        let of_file = self.pages.range(self.tried..).take_while(|ahead| ahead.page.file == file).count();
        let lacking = of_file.saturating_sub(self.spare.places);
        if lacking > 0 {
            let is_alone = self.shared.pool.has_one_file_at_most();
            self.spare.places += self.shared.pool.read_ahead_quota.take(file, lacking, is_alone);
        }
    }

    /// Gives back the places that no page here has.
    pub(super) fn give_back_places(&mut self) {
        let unused = std::mem::take(&mut self.spare.places);
        if unused > 0 {
            self.shared.pool.read_ahead_quota.give_back(self.spare.file, unused);
        }
    }

    /// Takes the place back from a page that was pinned here.
    fn leave_place(&mut self, file: FileId) {
        if self.spare.file == file {
            self.spare.places += 1;
        } else {
            self.shared.pool.read_ahead_quota.give_back(file, 1);
        }
    }

    fn start(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut batch = std::mem::take(&mut self.batch);
        let mut ring = self.ring.take();
        let mut missing = std::mem::take(&mut self.missing);
        let (combine, ahead) = (self.combine, Urgency::Background);
        let mut issuer = Issuer::with(&shared, ahead, &mut batch, combine, ring.as_mut());
        let (mut any_to_read, mut refused) = (false, false);
        let mut has_places_of = None;
        while self.tried < self.pages.len() && !refused {
            let page = self.pages[self.tried].page;
            if has_places_of.replace(page.file) != Some(page.file) {
                self.take_places();
            }
            if self.spare.places == 0 {
                break;
            }
            match self.lookup(page) {
                Ok(pin) => self.keep(Some(pin), &mut any_to_read),
                Err(NotPinned::TooManyPins) => self.keep(None, &mut any_to_read),
                Err(NotPinned::Gone | NotPinned::Seized) => {
                    self.list_missing(&mut missing);
                    issuer.start_each(&missing, |start| match start {
                        Start::Begun(pin) => {
                            any_to_read = true;
                            self.pages[self.tried].pin = Some(pin);
                            self.spare.places -= 1;
                            self.tried += 1;
                        }
                        Start::Met(pin) => self.keep(Some(pin), &mut any_to_read),
                        Start::Impossible => self.keep(None, &mut any_to_read),
                        Start::Refused => refused = true,
                    });
                }
            }
        }
        issuer.submit();
        drop(issuer);
        (self.batch, self.ring, self.missing) = (batch, ring, missing);
        if any_to_read {
            self.distance.note_read();
        }
    }

    /// Notes that the next page was tried, with its pin if it has a frame.
    fn keep(&mut self, pin: Option<Pin>, any_to_read: &mut bool) {
        if let Some(pin) = &pin {
            if pin.frame().state.load().phase() == Phase::Reading {
                *any_to_read = true;
            } else {
                self.distance.note_hit();
            }
        }
        self.spare.places -= usize::from(pin.is_some());
        self.pages[self.tried].pin = pin;
        self.tried += 1;
    }

    /// Lists the next page, which has no frame, and those behind it that have none either, as far as there are places.
    fn list_missing(&self, missing: &mut Vec<PageId>) {
        let untried = self.pages.range(self.tried..).map(|ahead| ahead.page);
        let of_file = untried.take_while(|page| page.file == self.spare.file);
        missing.clear();
        missing.extend(of_file.take(self.spare.places.min(CLAIMS_MAX)));
        missing.truncate(1 + self.shared.pool.absent(&missing[1..]));
    }

    /// Pins the page if it is resident. For a bulk read this does not count as a use.
    fn lookup(&self, page: PageId) -> Result<Pin, NotPinned> {
        let pool = &self.shared.pool;
        if self.ring.is_some() { pool.lookup_by(page, State::pin_unused) } else { pool.lookup(page) }
    }

    /// Returns whether the first page is resident, so that there is nothing to wait for: this is true of nearly all pages of a
    /// stream that reads.
    pub(super) fn is_first_here(&mut self) -> bool {
        let is_in_doubt = self.outcome.is_none() && self.waits.is_none() && self.demand.is_none();
        if is_in_doubt
            && let Some(&Ahead { page, pin: Some(ref pin) }) = self.pages.front()
            && pin.frame().state.load().is_valid()
            && self.shared.pool.process.is_current()
        {
            self.leave_place(page.file);
            self.outcome = Some(Ok(()));
        }
        matches!(self.outcome, Some(Ok(())))
    }

    /// Continues until the outcome of the first page is known. There must be a first page.
    pub(super) fn poll_first(&mut self, drive: Drive, waker: &Waker) -> Poll<()> {
        while self.outcome.is_none() {
            if let Err(error) = self.shared.check_process() {
                self.fail(error);
                break;
            }
            if let Some((place, ticket)) = &self.waits {
                // How that read ended is seen when its page is the first.
                if let Some(pin) = &self.pages[*place].pin {
                    ready!(pin.poll_read(ticket, waker)).ok();
                }
                self.waits = None;
                self.note_end_of_wait();
            }
            if let Some(miss) = &mut self.demand {
                let Poll::Ready(outcome) = miss.step(drive, waker) else {
                    if !miss.is_sure_of_its_wake_up() {
                        self.let_go();
                    }
                    return Poll::Pending;
                };
                self.demand = None;
                self.note_end_of_wait();
                self.outcome = Some(outcome.map(|page| self.pages[0].pin = Some(page.into_pin())));
                break;
            }
            self.settle_first(waker);
        }
        Poll::Ready(())
    }

    /// Looks at the first page: it is resident, or must be waited for, or fetched.
    fn settle_first(&mut self, waker: &Waker) {
        let Ahead { page, ref pin } = self.pages[0];
        let Some(pin) = pin else {
            self.note_wait();
            self.distance.note_read();
            self.tried = self.tried.max(1);
            self.demand = Some(Miss::new(Arc::clone(&self.shared), page, self.patience));
            return;
        };
        match read::look(&self.shared.pool, &self.shared.files, pin) {
            Ok(ReadOutcome::Reading) => self.wait(waker),
            Ok(ReadOutcome::Here) => {
                self.leave_place(page.file);
                self.outcome = Some(Ok(()));
            }
            // Its look-ahead was in vain: reading it by itself shows what is wrong.
            Ok(ReadOutcome::Gone) => self.unpin_first(),
            Err(error) => self.fail(error),
        }
    }

    /// Releases what is held in advance: the first page waits for a frame, and these pages may have the only ones.
    fn let_go(&mut self) {
        let held = self.pages.range_mut(1..self.tried).filter_map(|page| page.pin.take());
        for pin in held {
            self.shared.pool.leave_unattended(pin, |state| state);
        }
        self.tried = 1;
    }

    /// Takes the pin off the first page; its place can be used for another.
    fn unpin_first(&mut self) {
        let Ahead { page, pin } = &mut self.pages[0];
        let file = page.file;
        if pin.take().is_some() {
            self.leave_place(file);
        }
    }

    fn fail(&mut self, error: Error) {
        self.unpin_first();
        self.outcome = Some(Err(error));
    }

    /// Gets in line for the end of a read: the first page's, or that of a page further on. If the wait is not needed any more, it
    /// gets in no line.
    fn wait(&mut self, waker: &Waker) {
        self.look_ahead();
        // Of the same file: another one may not answer, and must not keep this page from its consumer.
        let file = self.pages[0].page.file;
        let most = self.distance.wait_for(self.tried);
        let far = (1..=most).rev().find(|&place| self.pages[place].page.file == file).unwrap_or(0);
        for place in [far, 0] {
            let Some(pin) = &self.pages[place].pin else { continue };
            if let Some(ticket) = pin.enlist_for_read(waker) {
                self.waits = Some((place, ticket));
                self.note_wait();
                return;
            }
        }
    }

    fn note_wait(&mut self) {
        self.shared.counters.add(Counter::StreamWaits, 1);
        self.waits_since = Some(time::now());
        self.distance.note_wait();
    }

    fn note_end_of_wait(&mut self) {
        if let Some(since) = self.waits_since.take() {
            self.shared.counters.measures.add_time(Measure::StreamWait, time::now() - since);
        }
    }

    /// Removes the first page, and returns its outcome, which must be known.
    pub(super) fn pop(&mut self) -> Option<Result<PinnedPage>> {
        let first = self.pages.pop_front()?;
        self.tried = self.tried.saturating_sub(1);
        if let Some(Ahead { pin: Some(next), .. }) = self.pages.front() {
            // Its first bytes come from memory while the consumer works on this page.
            self.shared.pool.prefetch_bytes(next.frame_no());
        }
        if let Some(pin) = first.pin {
            self.outcome = None;
            self.shared.counters.add(Counter::StreamPages, 1);
            return Some(Ok(PinnedPage::new(pin)));
        }
        self.outcome.take()?.err().map(Err)
    }

    pub(super) fn is_sure_of_its_wake_up(&self) -> bool {
        self.demand.as_ref().is_none_or(PollStep::is_sure_of_its_wake_up)
    }
}

impl Drop for Window {
    /// Reads that were started continue; each keeps its place until it is over.
    fn drop(&mut self) {
        if let Some((place, ticket)) = self.waits.take()
            // It is not there if a stream was pulled to its end in a forked process, which waits for nothing.
            && let Some(Ahead { pin: Some(pin), .. }) = self.pages.get(place)
        {
            pin.cancel_wait(&ticket);
        }
        self.give_back_places();
        if self.outcome.take().is_some() {
            // It has given its place in the quota back already.
            drop(self.pages.pop_front());
        }
        let pool = &self.shared.pool;
        let held = self.pages.drain(..).filter_map(|page| page.pin);
        held.for_each(|pin| pool.leave_unattended(pin, |state| state));
    }
}
