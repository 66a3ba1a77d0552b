//! The operations of a pool: their memory, and the list of those that are in flight, as PostgreSQL shows them in `pg_aios`.
//!
//! Memory is made when an operation finds none to spare, and kept for the next one. It has a place in the list for good, so to
//! enter and to leave the list is a few stores, without a lock or a search, on every path that an operation can take: the ring,
//! threads, the calling thread, an abort, a panic.
//!
//! Invariants:
//! 1. a [place](ListedPlace) belongs to one memory, and only the owner of the operation in it writes it. The number of places is
//!    fixed: memory that is made beyond that has none; its operations are counted, not listed, and it is not kept;
//! 2. the words of a place change only while it is EMPTY, and no other value of its sequence word ever comes back (a seqlock): so a
//!    thread that reads the list, and finds the same value before and after, has a copy of one moment, and never a mix of two operations.

use std::fmt;

use crossbeam_queue::ArrayQueue;

use super::{Lease, OperationMemory};
use crate::{
    error::IoOp,
    id::{PageId, PageSize},
    observe::{Counters, Measure},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering, fence},
        time::{self, Duration, Instant},
        uncontrolled::AtomicUsize,
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
    made: AtomicUsize,
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
            made: AtomicUsize::new(0),
            places: (0..places).map(|_| ListedPlace::new()).collect(),
            epoch: time::now(),
            page_size,
            counters,
        }
    }

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

    pub(super) fn place(&self, number: Option<u16>) -> Option<&ListedPlace> {
        self.places.get(usize::from(number?))
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

    fn describe(
        &self,
        Shown { extent: Extent { op, page, bytes }, since, submitted }: Shown,
        now: ClockReading,
    ) -> InFlight {
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
        self.made.load(Ordering::Relaxed).min(self.places.len())
    }

    pub(crate) fn now(&self) -> ClockReading {
        self.moment(time::now())
    }

    pub(super) fn moment(&self, at: Instant) -> ClockReading {
        ClockReading { nanos: at.saturating_duration_since(self.epoch).as_nanos() as u64 }
    }
}

/// What the list shows of an operation.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Read or write.
    pub(super) op: IoOp,
    pub(super) page: PageId,
    pub(super) bytes: u32,
}

/// Tries of a reader to copy a place that keeps changing.
const TRIES: usize = 8;

/// Room for one operation in the list, which its owner changes while other threads read it.
pub(super) struct ListedPlace {
    /// The phase in the lowest two bits; above them how often the place was filled.
    sequence: AtomicU64,
    page: AtomicU64,
    /// The bytes, and in the lowest bit whether it writes.
    size: AtomicU64,
    /// Nanoseconds since the table's epoch.
    since: AtomicU64,
}

const EMPTY: u64 = 0;
const QUEUED: u64 = 1;
const SUBMITTED: u64 = 2;
const PHASE: u64 = 3;
/// One filling more.
const NEXT: u64 = PHASE + 1;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Shown {
    extent: Extent,
    since: u64,
    submitted: bool,
}

impl ListedPlace {
    fn new() -> Self {
        let word = AtomicU64::new;
        Self { sequence: word(EMPTY), page: word(0), size: word(0), since: word(0) }
    }

    /// Shows a queued request, instead of what the place may have shown before. Called by its owner.
    pub(super) fn fill(&self, extent: Extent, ClockReading { nanos: since }: ClockReading) {
        let filling = (self.sequence.load(Ordering::Relaxed) & !PHASE) + NEXT;
        self.sequence.store(filling + EMPTY, Ordering::Relaxed);
        // A reader that sees one of the new words then sees that the old ones are not to be shown any more.
        fence(Ordering::Release);
        let size = u64::from(extent.bytes) << 1 | u64::from(extent.op == IoOp::Write);
        self.page.store(extent.page.to_word(), Ordering::Relaxed);
        self.size.store(size, Ordering::Relaxed);
        self.since.store(since, Ordering::Relaxed);
        self.sequence.store(filling + QUEUED, Ordering::Release);
    }

    /// Shows the request as submitted. Called by its owner.
    pub(super) fn submit(&self) {
        self.enter(SUBMITTED);
    }

    /// Shows nothing any more. Called by its owner.
    pub(super) fn clear(&self) {
        self.enter(EMPTY);
    }

    fn enter(&self, phase: u64) {
        let filling = self.sequence.load(Ordering::Relaxed) & !PHASE;
        self.sequence.store(filling + phase, Ordering::Release);
    }

    /// Returns the request in it, if there is one. One whose place changes all the time is left out.
    fn copy(&self) -> Option<Shown> {
        (0..TRIES).find_map(|_| self.try_copy())
    }

    fn try_copy(&self) -> Option<Shown> {
        let before = self.sequence.load(Ordering::Acquire);
        let [page, size, since] =
            [&self.page, &self.size, &self.since].map(|word| word.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let after = self.sequence.load(Ordering::Relaxed);
        (before == after && before & PHASE != EMPTY).then(|| Shown {
            extent: Extent {
                op: if size & 1 == 1 { IoOp::Write } else { IoOp::Read },
                page: PageId::from_word(page),
                bytes: (size >> 1) as u32,
            },
            since,
            submitted: before & PHASE == SUBMITTED,
        })
    }
}

#[cfg(test)]
fn at(nanos: u64) -> ClockReading {
    ClockReading { nanos }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::id::FileId;

    /// Makes a request whose numbers all follow from one.
    fn request(n: u32) -> Shown {
        let op = if n.is_multiple_of(2) { IoOp::Read } else { IoOp::Write };
        let extent = Extent { op, page: PageId::new(FileId(!n), n), bytes: n ^ 0x5555_5555 };
        Shown { extent, since: u64::from(n) << 9, submitted: false }
    }

    #[test]
    fn a_place_shows_what_its_owner_put_there_last() {
        let place = ListedPlace::new();
        assert_eq!(place.copy(), None);
        for n in 0..3 {
            place.fill(request(n).extent, at(request(n).since));
            assert_eq!(place.copy(), Some(request(n)));
            place.submit();
            assert_eq!(place.copy(), Some(Shown { submitted: true, ..request(n) }));
            if n == 1 {
                place.clear();
                assert_eq!(place.copy(), None);
            }
        }
    }

    #[test]
    fn no_reader_sees_a_mix_of_two_requests() {
        let place = ListedPlace::new();
        std::thread::scope(|scope| {
            let owner = scope.spawn(|| {
                for n in 0..300_000 {
                    place.fill(request(n).extent, at(request(n).since));
                    match n % 3 {
                        0 => place.submit(),
                        1 => place.clear(),
                        _ => {}
                    }
                }
            });
            let mut seen = 0;
            while !owner.is_finished() || seen == 0 {
                if let Some(shown) = place.copy() {
                    let submitted = shown.submitted;
                    assert_eq!(shown, Shown { submitted, ..request(shown.extent.page.block.0) });
                    seen += 1;
                }
            }
        });
    }
}

/// Requests of which no two have anything in common, for the models of one owner and one reader.
#[cfg(all(test, any(loom, shuttle)))]
fn extent(n: u32) -> Extent {
    let op = if n == 1 { IoOp::Write } else { IoOp::Read };
    Extent { op, page: PageId::new(crate::id::FileId(n), n), bytes: n }
}

#[cfg(all(test, shuttle))]
mod model_check {
    use super::*;
    use crate::sync::Arc;

    #[test]
    fn no_reader_sees_a_mix_of_two_requests() {
        shuttle::check_random(
            || {
                let place = Arc::new(ListedPlace::new());
                let owner = shuttle::thread::spawn({
                    let place = Arc::clone(&place);
                    move || {
                        for n in 0..3 {
                            place.fill(extent(n), at(n.into()));
                            if n == 1 {
                                place.clear();
                            }
                        }
                    }
                });
                for _ in 0..2 {
                    if let Some(Shown { extent: shown, since, .. }) = place.copy() {
                        assert_eq!(shown, extent(since as u32));
                    }
                }
                owner.join().unwrap();
                assert_eq!(place.copy().unwrap().extent, extent(2));
            },
            2000,
        );
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use crate::sync::{
        Arc,
        every_schedule::{check, spawn},
    };

    #[test]
    fn no_reader_sees_a_mix_of_two_requests() {
        check(3, || {
            let place = Arc::new(ListedPlace::new());
            place.fill(extent(1), at(1));
            let looking = {
                let place = Arc::clone(&place);
                spawn(move || {
                    if let Some(Shown { extent: shown, since, .. }) = place.try_copy() {
                        assert_eq!(shown, extent(since as u32));
                    }
                })
            };
            place.clear();
            place.fill(extent(2), at(2));
            looking.join().unwrap();
        });
    }
}
