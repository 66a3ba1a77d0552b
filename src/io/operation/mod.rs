//! One transfer as one pointer, from the claim of its frames to the wake-up of those that wait for it.
//!
//! An [`Operation`] owns all that belongs to a transfer between consecutive bytes of a file and the buffers of a [`Lease`]: the
//! file, the extent, the urgency, since when it is under way, how far it has come. Its memory comes from the pool's
//! [table](OperationTable), which lists what is in flight, and goes back there. So wherever an operation is moved (a batch, the
//! backlog, a ring, a thread), that moves eight bytes and allocates nothing.
//!
//! Invariants: an operation has one owner; it ends once, by [`finish`](Operation::finish), by
//! [`into_lease`](Operation::into_lease), or by a drop (a panic, a lost thread), which counts as a failed transfer. It leaves the
//! list before its lease ends, and lets go of its file after that. PostgreSQL's counterpart: `PgAioHandle`.

pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::{
    io,
    ops::{Deref, DerefMut},
};

pub(crate) use self::table::{ClockReading, OperationTable};
use self::table::{Extent, ListedPlace};
use crate::{
    error::Error,
    events,
    id::{BlockNo, PageId},
    io::{
        buffers::{Direction, IoBuf},
        file::File,
        transfer::Progress,
    },
    observe::{Counter, Measure},
    sync::{
        Arc,
        time::{Duration, Instant},
        waking::Wakers,
    },
};

/// The right to fill or send some buffers, and the duty to report the result.
///
/// Dropping a lease without `finish` must count as a failure of the transfer: implementations do that in `Drop`.
pub(crate) trait Lease: Send + Sized + 'static {
    /// Returns how many buffers there are; at least one.
    fn buffer_count(&self) -> usize;

    /// Returns the buffer of this place, in the order of the file.
    fn buffer(&self, index: usize) -> IoBuf;

    /// Returns the buffers, in the order of the file.
    fn buffers(&self) -> impl Iterator<Item = IoBuf> {
        (0..self.buffer_count()).map(|index| self.buffer(index))
    }

    fn bytes(&self) -> usize {
        self.buffers().map(|buf| buf.len as usize).sum()
    }

    /// Returns whether a caller has begun to wait for it since it was made. Looked at while it is queued.
    fn is_awaited(&self) -> bool;

    /// Returns whether `next`, whose bytes follow in the file, can become the end of this.
    fn can_join(&self, next: &Self) -> bool;

    /// Makes `next` the end of this. Only where [`can_join`](Self::can_join) allows it.
    fn join(&mut self, next: Self);

    /// Ends the transfer: neither a thread nor the device touches the buffers on its behalf again. `Ok(n)`: the first `n` bytes
    /// went over; for a read, `n` below the sum of the buffers means that the file ends there; a write is never short. Must not
    /// block and must not call back into the method. The waiters for it are left in `wakers`. Called once, and nothing else after
    /// it. Returns the error for the waiters of a lone page.
    fn finish(&mut self, outcome: io::Result<usize>, wakers: &mut Wakers) -> Option<Error>;
}

/// Whether a caller waits for a transfer, the most urgent first.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A caller waits, or a miss that needs the frame.
    Demand,
    /// No caller waits yet: pages read ahead.
    Background,
    /// No caller waits for this one in particular: a write of a checkpoint or of the background writer.
    Writeback,
}

impl Urgency {
    pub(in crate::io) const KINDS: usize = 3;
    pub(in crate::io) const ALL: [Self; Self::KINDS] = [Self::Demand, Self::Background, Self::Writeback];
}

/// A transfer, owned. Dropped, it has failed.
pub(crate) struct Operation<L: Lease> {
    /// Gone once it has ended.
    memory: Option<Box<OperationMemory<L>>>,
}

/// The memory of an operation, used for one operation after another.
struct OperationMemory<L: Lease> {
    /// Its place in the list of what is in flight.
    place: Option<u16>,
    /// The table to which it goes back; none while it is spare.
    table: Option<Arc<OperationTable<L>>>,
    /// What is transferred; none while it is spare.
    transfer: Option<Transfer<L>>,
}

pub(crate) struct Transfer<L: Lease> {
    /// Dropped first: the file is kept open for it.
    pub(crate) lease: L,
    pub(crate) direction: Direction,
    /// Whether a caller waits for it: as it was made, or as the backlog has found since.
    pub(crate) urgency: Urgency,
    /// Kept open until the operation has ended.
    pub(crate) file: Arc<File>,
    /// Where in the file, in bytes.
    pub(crate) offset: u64,
    /// The number of its last submission among all of its ring's.
    pub(in crate::io) submission: u32,
    /// How far it has come, from when it was listed on.
    pub(in crate::io) progress: Progress,
    since: ClockReading,
}

impl<L: Lease> Operation<L> {
    /// Makes an operation of a lease, to be [listed](Self::list) when it is handed over.
    pub(crate) fn new(
        table: &Arc<OperationTable<L>>,
        direction: Direction,
        urgency: Urgency,
        file: Arc<File>,
        offset: u64,
        lease: L,
    ) -> Self {
        let mut memory = table.memory();
        memory.table = Some(Arc::clone(table));
        memory.transfer = Some(Transfer {
            lease,
            direction,
            urgency,
            offset,
            submission: 0,
            progress: Progress::new(direction, 0, file.offset_align),
            since: ClockReading::default(),
            file,
        });
        Self { memory: Some(memory) }
    }

    /// Lists the operation as under way `since` that moment: one for all of a batch.
    pub(crate) fn list(&mut self, since: ClockReading) {
        self.since = since;
        if self.place().is_none() {
            self.table().counters.add(Counter::Unlisted, 1);
        }
        self.note_extent();
    }

    /// Shows what the operation covers now, all of which is still to be transferred.
    fn note_extent(&mut self) {
        let bytes = self.lease.bytes();
        self.progress = Progress::new(self.direction, bytes, self.file.offset_align);
        if let Some(place) = self.place() {
            let page = PageId { file: self.file.id, block: self.first_block() };
            place.fill(Extent { op: self.direction.op(), page, bytes: bytes as u32 }, self.since);
        }
    }

    fn table(&self) -> &OperationTable<L> {
        self.memory.as_deref().and_then(|memory| memory.table.as_deref()).expect("it has not ended")
    }

    fn place(&self) -> Option<&ListedPlace> {
        self.table().place(self.memory.as_deref()?.place)
    }

    pub(crate) fn pages(&self) -> u64 {
        (self.lease.bytes() >> self.file.page_size.bytes().trailing_zeros()) as u64
    }

    /// Returns where in the file it ends, in bytes.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.lease.bytes() as u64
    }

    /// Notes that it waits no longer: its transfer begins.
    pub(crate) fn begin(&self) {
        if let Some(place) = self.place() {
            place.submit();
        }
    }

    /// Returns whether `next`, whose bytes follow in the same file, can become the end of this.
    pub(crate) fn can_join(&self, next: &Self) -> bool {
        self.direction == next.direction && self.urgency == next.urgency && self.lease.can_join(&next.lease)
    }

    /// Makes `next` the end of this, neither of them listed yet: one transfer, and one outcome for both.
    pub(crate) fn absorb(&mut self, next: Self) {
        self.lease.join(next.into_lease());
    }

    /// Makes `next` the end of this, both still queued: one transfer, as old as the older, and one outcome for both.
    pub(in crate::io) fn join(&mut self, mut next: Self) {
        self.since = self.since.min(next.since);
        let (mine, other) = (self.memory.as_deref_mut(), next.memory.as_deref_mut());
        if let (Some(mine), Some(other)) = (mine, other)
            && mine.place.is_none()
        {
            // The joined operation keeps the place that one of them has.
            std::mem::swap(&mut mine.place, &mut other.place);
        }
        self.absorb(next);
        self.note_extent();
    }

    /// Ends the operation, which was over `at` that moment: one moment for all that are found to be over together, and one list
    /// of `wakers`, which are called when all of them have ended. Returns what the [lease](Lease::finish) returns.
    pub(crate) fn finish(
        mut self,
        outcome: io::Result<usize>,
        at: Instant,
        wakers: &mut Wakers,
    ) -> Option<Error> {
        let activity = &self.file.activity;
        let (measure, requests) = match self.direction {
            Direction::Read => (Measure::Read, &activity.reads),
            Direction::Write => (Measure::Write, &activity.writes),
        };
        let nanos = self.table().note_end(measure, self.since, at);
        let pages = self.pages();
        requests.note(nanos, pages);
        activity.note_failure(outcome.is_err());
        if let Some(place) = self.place() {
            place.clear();
        }
        let is_slow = self.table().counters.is_slow(nanos);
        let error = self.lease.finish(outcome, wakers);
        if is_slow {
            self.tell_that_it_was_slow(pages, nanos);
        }
        error
    }

    #[cold]
    fn tell_that_it_was_slow(&self, pages: u64, nanos: u64) {
        let block = self.first_block().0;
        let (pool, file) = (&self.table().counters.pool, &self.file);
        let took = Duration::from_nanos(nanos);
        events::slow_io(pool, self.direction.op(), file.id, &file.path, Some(block), Some(pages), took);
    }

    fn first_block(&self) -> BlockNo {
        BlockNo((self.offset >> self.file.page_size.bytes().trailing_zeros()) as u32)
    }

    /// Ends the operation without a transfer, and returns its lease; the caller decides how that ends.
    pub(crate) fn into_lease(mut self) -> L {
        let transfer = self.memory.as_deref_mut().and_then(|memory| memory.transfer.take());
        transfer.expect("it has not ended").lease
    }
}

impl<L: Lease> Deref for Operation<L> {
    type Target = Transfer<L>;

    #[inline]
    fn deref(&self) -> &Transfer<L> {
        let transfer = self.memory.as_deref().and_then(|memory| memory.transfer.as_ref());
        transfer.expect("it has not ended")
    }
}

impl<L: Lease> DerefMut for Operation<L> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Transfer<L> {
        let transfer = self.memory.as_deref_mut().and_then(|memory| memory.transfer.as_mut());
        transfer.expect("it has not ended")
    }
}

impl<L: Lease> Drop for Operation<L> {
    /// Removes it from the list, and gives the memory back. A lease that was not finished ends here, before the file is let go
    /// of.
    fn drop(&mut self) {
        let Some(mut memory) = self.memory.take() else { return };
        let Some(table) = memory.table.take() else { return };
        if let Some(place) = table.place(memory.place) {
            place.clear();
        }
        memory.transfer = None;
        table.give_back(memory);
    }
}
