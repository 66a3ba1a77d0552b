//! The life of a miss, as one step that threads and tasks run alike.
//!
//! Nothing is started before a thread or task waits. Then it looks the page up. On a miss it gets a frame, maps the page to it, and
//! reads the page. If a read is under way, it joins it. If the page was read but not verified, it verifies the page. Each step may
//! find that the state has changed, and then it starts over. Every wait in between is for something that ends by itself.
//!
//! A [`Drive::Thread`] transfers the page itself: for one page that no other thread waits for, a hand-over would cost two wake-ups.
//! A [`Drive::Task`] gives the request to the method. So does a thread if the file has a bound of its own.

use std::{
    sync::Arc,
    task::{Poll, Waker, ready},
};

use crate::{
    buffer::{
        frame::{
            pin::Pin,
            state::State,
            waiters::{Ticket, want::Want},
        },
        lookup::Lookup,
        page::PinnedPage,
        residency::{Mapped, NotMapped},
    },
    error::Result,
    id::PageId,
    io::{file::File, method::calling_thread, operation::Urgency},
    observe::{Counter, Measure},
    read::{
        frame_wait::FrameWait,
        outcome::{self, ReadOutcome},
    },
    runtime::{
        demand_share::ShareWait,
        operation::read::{self, MappedBefore, ReadMode},
        shared::Shared,
    },
    sync::{
        time::{self, Duration, Instant},
        wait::{Drive, PollStep},
        waking::Wakers,
    },
};

/// A page that a caller wants and that was not ready.
pub(super) struct Miss {
    shared: Arc<Shared>,
    page: PageId,
    /// The most to wait for a frame.
    patience: Duration,
    /// A read under way: the pin on its frame, and the place in line for its end.
    reading: Option<(Pin, Ticket)>,
    frame_wait: FrameWait,
    /// A wait for the end of other reads of the file. In a box, since most fetches never wait so.
    held_back: Option<Box<ShareWait>>,
    counted: bool,
    /// A read that it waited for has failed, perhaps because of other pages, so its own next read is of this page alone.
    alone: bool,
    /// Since when a caller waits for the page.
    since: Option<Instant>,
    /// What the wait is for, if it is for a read.
    felt: Option<Measure>,
}

impl Miss {
    pub(super) fn new(shared: Arc<Shared>, page: PageId, patience: Duration) -> Self {
        Self {
            shared,
            page,
            patience,
            reading: None,
            frame_wait: FrameWait::default(),
            held_back: None,
            counted: false,
            alone: false,
            since: None,
            felt: None,
        }
    }

    pub(super) fn page(&self) -> PageId {
        self.page
    }

    /// Sets the most to wait for a frame.
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Returns what is left of the patience for a frame.
    pub(super) fn patience_left(&self) -> Duration {
        self.patience.saturating_sub(self.frame_wait.waited())
    }

    /// Returns whether the page could be had without waiting. This does not count as a use.
    pub(super) fn is_resident(&self) -> bool {
        self.shared.pool.find(self.page, State::is_valid).is_some()
    }

    fn go_on(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<PinnedPage>> {
        loop {
            if let Some((pin, ticket)) = &self.reading {
                let outcome = ready!(pin.frames().waiters.poll(ticket, waker));
                let pin = self.reading.take().map(|(pin, _)| pin);
                if let Err(error) = outcome {
                    if seeded!("pin_kept_by_a_failed_read") {
                        std::mem::forget(pin);
                    }
                    return Poll::Ready(Err(error));
                }
                if let Some(page) = pin.map_or(Ok(None), |pin| self.settle(pin, waker))? {
                    return Poll::Ready(Ok(page));
                }
                self.alone |= self.reading.is_none();
                continue;
            }
            match self.shared.pool.lookup(self.page) {
                Lookup::Pinned(pin) => {
                    if let Some(page) = self.settle(pin, waker)? {
                        return Poll::Ready(Ok(page));
                    }
                }
                Lookup::Absent => {
                    if let Some(read) = ready!(self.start(drive, waker))?
                        && let Some(page) = self.settle(read, waker)?
                    {
                        return Poll::Ready(Ok(page));
                    }
                }
                Lookup::TooManyPins => {
                    return Poll::Ready(Err(outcome::too_many_pins(&self.shared, self.page)));
                }
            }
        }
    }

    /// Uses a frame that has the page, or gets in line for the end of its read. Returns `None` if the read has failed, so that the
    /// page must be looked up again, or if there is a line to wait in.
    fn settle(&mut self, pin: Pin, waker: &Waker) -> Result<Option<PinnedPage>> {
        loop {
            match outcome::look(&self.shared, &pin)? {
                ReadOutcome::Here => {
                    self.count_hit();
                    return Ok(Some(PinnedPage::new(pin)));
                }
                ReadOutcome::Reading => {
                    let ticket =
                        pin.frames().waiters.enlist(pin.frame_no(), pin.frame(), Want::ReadDone, waker);
                    if let Some(ticket) = ticket {
                        self.count_join();
                        self.reading = Some((pin, ticket));
                        return Ok(None);
                    }
                }
                ReadOutcome::Gone => return Ok(None),
            }
        }
    }

    /// Gets a frame, maps the page to it and reads the page. A thread that lends itself makes the read at once, and returns a pin
    /// on the frame with the page. Otherwise this fetch is the first in line for the end of the read.
    fn start(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<Option<Pin>>> {
        self.shared.check_open()?;
        let file = self.shared.files.open_file(self.page.file)?;
        file.check(self.page.block)?;
        if self.shared.demand_reads_left(&file, 1) == 0 {
            return self.hold_back(&file, drive, waker);
        }
        let claimed =
            ready!(self.frame_wait.poll(&self.shared, self.page.file, self.patience, drive, waker))?;
        let Mapped { reading, own } = match self.shared.pool.map(claimed, self.page, file.read_only) {
            Ok(mapped) => mapped,
            // Another thread was faster.
            Err(NotMapped::Met(_) | NotMapped::Seized) => return Poll::Ready(Ok(None)),
            Err(NotMapped::TooManyPins) => {
                return Poll::Ready(Err(outcome::too_many_pins(&self.shared, self.page)));
            }
            Err(NotMapped::NoRoom) => {
                return Poll::Ready(Err(self.shared.pool.shortage().0.of_pins(Duration::ZERO)));
            }
        };
        if !self.shared.count_miss(&file, !self.counted) {
            drop(own);
            self.shared.pool.abandon_read(reading, &mut Wakers::new());
            return self.hold_back(&file, drive, waker);
        }
        self.held_back = None;
        if !std::mem::replace(&mut self.counted, true) {
            self.felt = Some(Measure::Miss);
        }
        let mode = ReadMode {
            urgency: Urgency::Demand,
            most: if self.alone { 1 } else { usize::MAX },
            to_verify: self.shared.config.codec.is_some(),
        };
        let mut operation = read::begin(
            &self.shared.operations,
            &self.shared.pool,
            &file,
            reading,
            MappedBefore::now(),
            mode,
        )?;
        let is_bounded = file.max_in_flight.is_some();
        operation.list(self.shared.operations.now());
        self.shared.counters.add(Counter::ReadRequests, 1);
        // The method keeps a file's own bound.
        let lends_itself = drive == Drive::Thread && (!is_bounded || seeded!("bound_passed_by_lone_misses"));
        if lends_itself {
            let failed = calling_thread::run(operation, &self.shared.counters);
            return Poll::Ready(failed.map_or(Ok(Some(own)), Err));
        }
        let ticket = own.frames().waiters.enlist(own.frame_no(), own.frame(), Want::ReadDone, waker);
        self.reading = ticket.map(|ticket| (own, ticket));
        self.shared.method.submit_one(operation);
        Poll::Ready(Ok(None))
    }

    /// Waits for the end of other reads of the file, which has its share of the frames.
    #[cold]
    fn hold_back(&mut self, file: &File, drive: Drive, waker: &Waker) -> Poll<Result<Option<Pin>>> {
        // Not in line for a frame: it would keep those behind it from theirs.
        self.frame_wait.give_up(&self.shared);
        let held = self.held_back.get_or_insert_default();
        let error = self.shared.hold_back(file, held, drive, waker);
        error.map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
    }

    /// Counts a page that was resident after all, unless it was counted as something else.
    fn count_hit(&mut self) {
        if !std::mem::replace(&mut self.counted, true) {
            self.shared.counters.hits.add(self.page.file, 1);
        }
    }

    fn count_join(&mut self) {
        // The file of a page that is being read is open.
        if let Some(file) = self.shared.files.for_write_out(self.page.file)
            && !std::mem::replace(&mut self.counted, true)
        {
            self.shared.count_for_file(&file, Counter::Joins, 1);
            self.felt = Some(Measure::Join);
        }
    }
}

impl PollStep for Miss {
    type Output = Result<PinnedPage>;

    /// Notes how long the page took, once it is resident.
    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Result<PinnedPage>> {
        self.shared.check_process()?;
        let since = *self.since.get_or_insert_with(time::now);
        let page = ready!(self.go_on(drive, waker))?;
        if let Some(measure) = self.felt {
            self.shared.counters.measures.add_time(measure, time::now() - since);
        }
        Poll::Ready(Ok(page))
    }

    fn is_sure_of_its_wake_up(&self) -> bool {
        self.reading.is_some()
    }
}

impl Drop for Miss {
    fn drop(&mut self) {
        if let Some((pin, ticket)) = self.reading.take() {
            pin.cancel_wait(&ticket);
        }
        self.frame_wait.give_up(&self.shared);
    }
}
