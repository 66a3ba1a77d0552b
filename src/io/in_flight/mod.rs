//! The requests under way, for whoever wants to look, as PostgreSQL shows them in `pg_aios`.
//!
//! Each request has an [`ListEntry`] from the moment it is made until it is over or dropped, so every path that a request can take
//! is covered: the ring, threads, the thread that asked, an abort, a panic. Nobody takes a lock: to enter and to leave costs
//! one atomic change of a bitmap each, and a few stores. Whoever looks never sees a mix of two requests: see [`place`].
//!
//! Invariant: a [place](ListedPlace) has one owner, who set its bit, and nobody else writes to it until he clears the bit. The number
//! of places is fixed: requests beyond that are counted, not listed.

mod place;

use std::fmt;

use crossbeam_utils::CachePadded;

use self::place::{ListedPlace, Shown};
use crate::{
    error::IoOp,
    id::{PageId, PageSize},
    observe::{Counter, Counters, Measure, thread_index},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        time::{self, Duration, Instant},
    },
};

/// Places for requests: what the default queue and ring hold, twice.
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
    /// It waits: for the log, for others of its batch, or in the I/O method's queue.
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

/// What a request covers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Read or write.
    pub(crate) op: IoOp,
    pub(crate) page: PageId,
    pub(crate) bytes: u32,
}

/// The requests of one pool that are under way.
pub(crate) struct InFlightTable {
    /// A bit for each place that has an owner. Threads begin to look at different words.
    taken: Box<[CachePadded<AtomicU64>]>,
    places: Box<[ListedPlace]>,
    epoch: Instant,
    page_size: PageSize,
    counters: Arc<Counters>,
}

impl InFlightTable {
    pub(crate) fn new(page_size: PageSize, counters: Arc<Counters>) -> Self {
        Self::with_places(PLACES, page_size, counters)
    }

    pub(crate) fn with_places(places: usize, page_size: PageSize, counters: Arc<Counters>) -> Self {
        Self {
            taken: (0..places.div_ceil(WORD))
                .map(|word| CachePadded::new(free_bits(places - word * WORD)))
                .collect(),
            places: (0..places).map(|_| ListedPlace::new()).collect(),
            epoch: time::now(),
            page_size,
            counters,
        }
    }

    /// Notes that a request began at `since`. The clock is not read here: a reading costs as much as all the rest, and one is
    /// enough for all requests of a batch.
    pub(crate) fn enter(self: &Arc<Self>, extent: Extent, since: Instant) -> ListEntry {
        let since = self.nanos_at(since);
        let place = self.take_place();
        match place {
            Some(place) => self.places[place].fill(extent, since),
            None => self.counters.add(Counter::Unlisted, 1),
        }
        ListEntry {
            table: Arc::clone(self),
            place: place.map_or(ListEntry::UNLISTED, |place| place as u32),
            since,
        }
    }

    /// Each request that is under way, the oldest first.
    pub(crate) fn list(&self) -> Vec<InFlight> {
        let now = self.nanos_at(time::now());
        let taken = |at: usize| self.taken[at / WORD].load(Ordering::Relaxed) >> (at % WORD) & 1 == 1;
        let places = self.places.iter().enumerate().filter(|&(at, _)| taken(at));
        let mut shown: Vec<_> = places.filter_map(|(_, place)| place.copy()).collect();
        shown.sort_by_key(|shown| shown.since);
        shown.into_iter().map(|shown| self.describe(shown, now)).collect()
    }

    fn describe(&self, Shown { extent, since, submitted }: Shown, now: u64) -> InFlight {
        let Extent { op, page, bytes } = extent;
        InFlight {
            op,
            page,
            pages: bytes.div_ceil(self.page_size.bytes() as u32),
            bytes: u64::from(bytes),
            stage: if submitted { Stage::Submitted } else { Stage::Queued },
            age: Duration::from_nanos(now.saturating_sub(since)),
        }
    }

    /// The bytes that it takes.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.taken) + size_of_val(&*self.places)
    }

    fn nanos_at(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// A place that is the caller's from now on.
    fn take_place(&self) -> Option<usize> {
        let words = self.taken.len();
        let own = thread_index::current().unwrap_or(0);
        let mut order = (own..own + words).map(|word| word % words);
        order.find_map(|word| take_bit(&self.taken[word]).map(|bit| word * WORD + bit))
    }

    fn give_back(&self, place: usize) {
        // Release: what this owner wrote comes before what the next one writes.
        self.taken[place / WORD].fetch_and(!(1 << (place % WORD)), Ordering::Release);
    }
}

/// Bits in a word of the bitmap.
const WORD: usize = u64::BITS as usize;

/// A word of which so many bits can be taken.
fn free_bits(count: usize) -> AtomicU64 {
    AtomicU64::new(if count < WORD { u64::MAX << count } else { 0 })
}

fn take_bit(word: &AtomicU64) -> Option<usize> {
    let mut seen = word.load(Ordering::Relaxed);
    while seen != u64::MAX {
        let bit = seen.trailing_ones();
        match word.compare_exchange_weak(seen, seen | 1 << bit, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return Some(bit as usize),
            Err(now) => seen = now,
        }
    }
    None
}

/// A request's place in the table, for as long as it is under way. Dropped, it leaves, and was not carried out.
pub(crate) struct ListEntry {
    table: Arc<InFlightTable>,
    place: u32,
    /// Nanoseconds since the table's epoch.
    since: u64,
}

impl ListEntry {
    const UNLISTED: u32 = u32::MAX;

    /// The kernel or the disk gets it now.
    pub(crate) fn submitted(&self) {
        if let Some(place) = self.place() {
            place.submit();
        }
    }

    /// The request and `other`, both still queued, are one from now on: it covers `extent` and is as old as the older of
    /// them.
    pub(crate) fn join(&mut self, mut other: Self, extent: Extent) {
        self.since = self.since.min(other.since);
        if self.place == Self::UNLISTED {
            std::mem::swap(&mut self.place, &mut other.place);
        }
        drop(other);
        if let Some(place) = self.place() {
            place.fill(extent, self.since);
        }
    }

    /// The request was carried out, well or not, and was over `at` that moment: notes how long it took.
    pub(crate) fn finished(self, measure: Measure, at: Instant) {
        let took = self.table.nanos_at(at).saturating_sub(self.since);
        self.table.counters.measures.add(measure, took);
    }

    fn place(&self) -> Option<&ListedPlace> {
        (self.place != Self::UNLISTED).then(|| &self.table.places[self.place as usize])
    }
}

impl Drop for ListEntry {
    fn drop(&mut self) {
        if let Some(place) = self.place() {
            place.clear();
            self.table.give_back(self.place as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::id::FileId;

    const PAGE: u32 = 512;

    fn table(places: usize) -> (Arc<InFlightTable>, Arc<Counters>) {
        let counters = Arc::new(Counters::new());
        let table = InFlightTable::with_places(places, PageSize::MIN, Arc::clone(&counters));
        (Arc::new(table), counters)
    }

    fn extent(op: IoOp, block: u32, pages: u32) -> Extent {
        Extent { op, page: PageId::new(FileId(3), block), bytes: pages * PAGE }
    }

    #[test]
    fn a_request_is_shown_as_it_is_until_it_ends() {
        let (table, counters) = table(4);
        assert_eq!(table.list(), []);
        let read = table.enter(extent(IoOp::Read, 7, 3), time::now());
        let write = table.enter(extent(IoOp::Write, 9, 1), time::now());
        write.submitted();
        let list = table.list();
        let shown =
            |at: usize| (list[at].op, list[at].page.block.0, list[at].pages, list[at].bytes, list[at].stage);
        assert_eq!(shown(0), (IoOp::Read, 7, 3, 1536, Stage::Queued), "the oldest comes first");
        assert_eq!(shown(1), (IoOp::Write, 9, 1, 512, Stage::Submitted));
        assert!(
            list[0].to_string().starts_with("read of 3 pages from block 7 of file 3 on (1536 bytes), queued"),
            "{}",
            list[0]
        );
        std::thread::sleep(Duration::from_millis(3));
        assert!(table.list()[0].age >= Duration::from_millis(3));
        read.finished(Measure::Read, time::now());
        assert_eq!(table.list().len(), 1);
        drop(write);
        assert_eq!(table.list(), []);
        let [reads, writes] = [Measure::Read, Measure::Write].map(|measure| counters.measures.get(measure));
        assert_eq!((reads.count(), writes.count()), (1, 0), "what was not carried out took no time");
        assert!(reads.max() >= 3_000_000);
    }

    #[test]
    fn a_request_took_from_when_it_was_made_to_when_it_was_found_to_be_over() {
        let (table, counters) = table(4);
        let at = |millis| table.epoch + Duration::from_millis(millis);
        let batch = [1, 2].map(|block| table.enter(extent(IoOp::Read, block, 1), at(10)));
        batch.into_iter().for_each(|entry| entry.finished(Measure::Read, at(25)));
        table.enter(extent(IoOp::Write, 3, 1), at(30)).finished(Measure::Write, at(29));
        let [reads, writes] = [Measure::Read, Measure::Write].map(|measure| counters.measures.get(measure));
        assert_eq!((reads.count(), reads.mean(), reads.max()), (2, 15e6, 15_000_000));
        assert_eq!((writes.count(), writes.max()), (1, 0));
    }

    #[test]
    fn c6_requests_beyond_the_places_are_counted_and_stand_in_nobodys_way() {
        let (table, counters) = table(2);
        let enter = || table.enter(extent(IoOp::Read, 0, 1), time::now());
        let [listed, _second, unlisted] = [enter(), enter(), enter()];
        unlisted.submitted();
        assert_eq!((table.list().len(), counters.get(Counter::Unlisted)), (2, 1));
        unlisted.finished(Measure::Read, time::now());
        drop(listed);
        let _third = enter();
        assert_eq!((table.list().len(), counters.get(Counter::Unlisted)), (2, 1));
        assert_eq!(counters.measures.get(Measure::Read).count(), 1);
    }

    #[test]
    fn as_many_requests_are_listed_as_there_are_places() {
        let (table, counters) = table(2 * WORD + 7);
        let enter = |block| table.enter(extent(IoOp::Read, block, 1), time::now());
        let hanging: Vec<_> = (0..2 * WORD as u32 + 6).map(enter).collect();
        for block in 0..1000 {
            let entry = enter(block);
            assert_eq!(table.list().len(), hanging.len() + 1);
            drop(entry);
        }
        assert_eq!(counters.get(Counter::Unlisted), 0);
    }

    #[test]
    fn a_place_that_is_taken_and_not_filled_yet_does_not_show_its_last_request() {
        let (table, _) = table(1);
        drop(table.enter(extent(IoOp::Read, 7, 1), time::now()));
        assert_eq!(table.take_place(), Some(0));
        assert_eq!(table.list(), []);
    }

    #[test]
    fn two_requests_that_join_are_shown_as_one_as_old_as_the_older() {
        for places in [0, 1, 2] {
            let (table, counters) = table(places);
            let older = table.enter(extent(IoOp::Read, 5, 2), time::now());
            std::thread::sleep(Duration::from_millis(2));
            let mut joined = table.enter(extent(IoOp::Read, 3, 2), time::now());
            joined.join(older, extent(IoOp::Read, 3, 4));
            let list = table.list();
            assert_eq!(list.len(), places.min(1));
            assert!(list.iter().all(|request| (request.page.block.0, request.pages) == (3, 4)));
            assert!(list.iter().all(|request| request.age >= Duration::from_millis(2)));
            joined.finished(Measure::Read, time::now());
            assert_eq!(table.list(), []);
            let reads = counters.measures.get(Measure::Read);
            assert_eq!(reads.count(), 1);
            assert!(reads.max() >= 2_000_000);
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        Enter(u32),
        Submit(usize),
        Join(usize, usize),
        Finish(usize),
        Drop(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        let one = || 0..16_usize;
        prop_oneof![
            4 => any::<u32>().prop_map(Act::Enter),
            1 => one().prop_map(Act::Submit),
            1 => (one(), one()).prop_map(|(a, b)| Act::Join(a, b)),
            2 => one().prop_map(Act::Finish),
            1 => one().prop_map(Act::Drop),
        ]
    }

    proptest! {
        /// As long as there are places, the list is what is under way, whatever happens.
        #[test]
        fn the_list_is_what_is_under_way(acts in prop::collection::vec(act(), 1..200)) {
            let (table, counters) = table(256);
            let mut entries: Vec<(ListEntry, (u32, Stage))> = Vec::new();
            let mut finished = 0;
            for act in acts {
                let len = entries.len();
                match act {
                    Act::Enter(block) => entries.push((table.enter(extent(IoOp::Read, block, 1), time::now()), (block, Stage::Queued))),
                    _ if len == 0 => {}
                    Act::Submit(at) => {
                        let (entry, (_, stage)) = &mut entries[at % len];
                        entry.submitted();
                        *stage = Stage::Submitted;
                    }
                    Act::Join(one, other) => {
                        let (other, _) = entries.swap_remove(other % len);
                        let Some((entry, shown)) = entries.get_mut(one) else { continue };
                        *shown = (shown.0 / 2, Stage::Queued);
                        entry.join(other, extent(IoOp::Read, shown.0, 1));
                    }
                    Act::Finish(at) => {
                        entries.swap_remove(at % len).0.finished(Measure::Read, time::now());
                        finished += 1;
                    }
                    Act::Drop(at) => drop(entries.swap_remove(at % len)),
                }
                let mut shown = BTreeMap::new();
                for request in table.list() {
                    *shown.entry((request.page.block.0, request.stage == Stage::Queued)).or_insert(0) += 1;
                }
                let mut there = BTreeMap::new();
                for (_, (block, stage)) in &entries {
                    *there.entry((*block, *stage == Stage::Queued)).or_insert(0) += 1;
                }
                prop_assert_eq!(shown, there);
            }
            prop_assert_eq!(counters.measures.get(Measure::Read).count(), finished);
            prop_assert_eq!(counters.get(Counter::Unlisted), 0);
        }
    }
}
