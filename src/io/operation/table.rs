//! The operations of a pool: their memory, and the list of those that are in flight, as PostgreSQL shows them in `pg_aios`.
//!
//! Memory is made when an operation finds none to spare, and kept for the next one. It has a place in the list for good, so to
//! enter and to leave the list is a few stores, without a lock or a search, on every path that an operation can take: the ring,
//! threads, the calling thread, an abort, a panic. A thread that reads the list never sees a mix of two operations: see
//! [`place`](super::place).
//!
//! Invariant: a [place](ListedPlace) belongs to one memory, and only the owner of the operation in it writes it. The number of
//! places is fixed: memory that is made beyond that has none; its operations are counted, not listed, and it is not kept.

use std::fmt;

use crossbeam_queue::ArrayQueue;

use super::{
    Lease, OperationMemory,
    place::{Extent, ListedPlace, Shown},
};
use crate::{
    error::IoOp,
    id::{PageId, PageSize},
    observe::{Counter, Counters, Measure},
    sync::{
        Arc,
        time::{self, Duration, Instant},
        uncontrolled::{AtomicU64, Ordering},
    },
};

/// Places in the list: what the default queue and ring hold, twice.
const PLACES: usize = 512;

/// A read or write request that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InFlight {
    /// What it does: [`IoOp::Read`] or [`IoOp::Write`].
    pub op: IoOp,
    /// Its first page.
    pub page: PageId,
    /// How many pages it covers: this one and those that follow.
    pub pages: u32,
    /// How many bytes those are.
    pub bytes: u64,
    /// How far it has come.
    pub stage: Stage,
    /// How long ago it was made.
    pub age: Duration,
}

/// How far a request has come.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// It waits: for the log, for other requests of its batch, or in the I/O method's queue.
    Queued,
    /// The kernel or the disk has it.
    Submitted,
}

impl fmt::Display for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, page, pages, bytes, stage, age } = self;
        let stage = match stage {
            Stage::Queued => "queued",
            Stage::Submitted => "submitted",
        };
        write!(f, "{op} of {pages} pages from {page} on ({bytes} bytes), {stage}, {age:.1?} old")
    }
}

/// A reading of the clock of an [`OperationTable`]: one for all operations of a batch, since reading and converting it costs as
/// much as the whole of the listing.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClockReading {
    /// Nanoseconds since the table was made.
    nanos: u64,
}

/// The memory of a pool's operations, and the list of those that are in flight.
pub(crate) struct OperationTable<L: Lease> {
    spare: ArrayQueue<Box<OperationMemory<L>>>,
    /// How many were made so far, each with the next place as long as there was one.
    made: AtomicU64,
    places: Box<[ListedPlace]>,
    pub(super) epoch: Instant,
    page_size: PageSize,
    pub(super) counters: Arc<Counters>,
}

impl<L: Lease> OperationTable<L> {
    pub(crate) fn new(page_size: PageSize, counters: Arc<Counters>) -> Self {
        Self::with_places(PLACES, page_size, counters)
    }

    pub(super) fn with_places(places: usize, page_size: PageSize, counters: Arc<Counters>) -> Self {
        Self {
            spare: ArrayQueue::new(places.max(1)),
            made: AtomicU64::new(0),
            places: (0..places).map(|_| ListedPlace::new()).collect(),
            epoch: time::now(),
            page_size,
            counters,
        }
    }

    /// Takes memory for an operation.
    pub(super) fn memory(&self) -> Box<OperationMemory<L>> {
        self.spare.pop().unwrap_or_else(|| self.make())
    }

    #[cold]
    fn make(&self) -> Box<OperationMemory<L>> {
        let next = u16::try_from(self.made.fetch_add(1, Ordering::Relaxed)).ok();
        let place = next.filter(|&place| usize::from(place) < self.places.len());
        Box::new(OperationMemory { place, table: None, transfer: None })
    }

    /// Takes the memory of an operation back that has left the list.
    pub(super) fn give_back(&self, memory: Box<OperationMemory<L>>) {
        if memory.place.is_some() {
            // There is room for all that have a place.
            drop(self.spare.push(memory));
        }
    }

    /// Shows a queued operation in its place.
    pub(super) fn show(&self, place: Option<u16>, extent: Extent, since: ClockReading) {
        if let Some(place) = place {
            self.places[usize::from(place)].fill(extent, since.nanos);
        }
    }

    /// Counts an operation that has no place to be shown in.
    pub(super) fn count_unlisted(&self) {
        self.counters.add(Counter::Unlisted, 1);
    }

    /// Shows that the kernel or the disk gets it now.
    pub(super) fn show_submitted(&self, place: Option<u16>) {
        if let Some(place) = place {
            self.places[usize::from(place)].submit();
        }
    }

    /// Shows that the operation is over.
    pub(super) fn show_none(&self, place: Option<u16>) {
        if let Some(place) = place {
            self.places[usize::from(place)].clear();
        }
    }

    /// Counts how long an operation took that was listed `since` and is over `at` that moment, whether it succeeded or not.
    /// Returns it in nanoseconds.
    pub(super) fn note_end(&self, measure: Measure, since: ClockReading, at: Instant) -> u64 {
        let nanos = self.moment(at).nanos.saturating_sub(since.nanos);
        self.counters.measures.add(measure, nanos);
        nanos
    }

    /// Returns each operation that is in flight, the oldest first.
    pub(crate) fn list(&self) -> Vec<InFlight> {
        let now = self.now();
        let mut shown: Vec<_> =
            self.places[..self.given_out()].iter().filter_map(ListedPlace::copy).collect();
        shown.sort_by_key(|shown| shown.since);
        shown.into_iter().map(|shown| self.describe(shown, now)).collect()
    }

    fn describe(&self, Shown { extent, since, submitted }: Shown, now: ClockReading) -> InFlight {
        let Extent { op, page, bytes } = extent;
        InFlight {
            op,
            page,
            pages: bytes.div_ceil(self.page_size.bytes() as u32),
            bytes: u64::from(bytes),
            stage: if submitted { Stage::Submitted } else { Stage::Queued },
            age: Duration::from_nanos(now.nanos.saturating_sub(since)),
        }
    }

    /// Returns the bytes that it takes, the memory of all operations that were made so far included.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.places)
            + self.spare.capacity() * 2 * size_of::<usize>()
            + self.given_out() * size_of::<OperationMemory<L>>()
    }

    /// Returns how many places an operation has had so far: the first ones.
    fn given_out(&self) -> usize {
        self.made.load(Ordering::Relaxed).min(self.places.len() as u64) as usize
    }

    pub(crate) fn now(&self) -> ClockReading {
        self.moment(time::now())
    }

    pub(super) fn moment(&self, at: Instant) -> ClockReading {
        ClockReading { nanos: at.saturating_duration_since(self.epoch).as_nanos() as u64 }
    }
}
