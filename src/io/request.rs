//! One transfer, as what the layer above asks for and what it lends for it.
//!
//! A request reads or writes consecutive bytes of one file through one or more buffers. The buffers belong to its lease,
//! which the layer above made; whoever holds the request holds the right to touch them and owes the lease exactly one
//! [`Lease::finish`]. Nothing here knows what a frame is.

use std::io;

use crate::{
    id::{BlockNo, PageId},
    io::{
        buffers::{self, Direction, IoBuf},
        file::File,
        in_flight::{Extent, InFlightTable, ListEntry},
    },
    observe::Measure,
    sync::{Arc, time::Instant},
};

/// The right to fill or send some buffers, and the duty to say how it went.
///
/// Dropping a lease without `finish` must count as a failure of the transfer: implementations do that in `Drop`.
pub(crate) trait Lease: Send + Sized + 'static {
    /// How many buffers there are; at least one.
    fn buffer_count(&self) -> usize;

    /// The buffer of this place, in the order of the file.
    fn buffer(&self, index: usize) -> IoBuf;

    /// The buffers, in the order of the file.
    fn buffers(&self) -> impl Iterator<Item = IoBuf> {
        (0..self.buffer_count()).map(|index| self.buffer(index))
    }

    /// Whether anybody waits for it.
    fn urgency(&self) -> Urgency;

    /// Whether somebody has begun to wait for it since it was made. Looked at while it is queued.
    fn is_awaited(&self) -> bool;

    /// Whether `next`, whose bytes follow in the file, can become the end of this.
    fn can_join(&self, next: &Self) -> bool;

    /// Makes `next` the end of this. Only where it can be.
    fn join(&mut self, next: Self);

    /// The transfer is over, and no one will touch the buffers on its behalf again. `Ok(n)`: the first `n` bytes went
    /// over; for a read, `n` below the sum of the buffers means that the file ends there; a write is never short.
    /// Must not block and must not call back into the method.
    fn finish(self, outcome: io::Result<usize>);
}

/// Whether a caller waits for a transfer. The most urgent comes first.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A caller does, or a miss that needs the frame.
    Demand,
    /// No caller does yet: pages read ahead.
    Background,
    /// No caller waits for this one in particular: a write of a checkpoint or of the background writer.
    Writeback,
}

impl Urgency {
    /// How many there are.
    pub(in crate::io) const KINDS: usize = 3;
    pub(in crate::io) const ALL: [Self; Self::KINDS] = [Self::Demand, Self::Background, Self::Writeback];
}

/// One transfer between consecutive bytes of a file and the buffers of a lease.
///
/// Keeps the file open until it is finished, whatever happens to the pool's own entry. Is listed among the requests in
/// flight from its making to its end; who waits for the lease finds it gone from there.
pub(crate) struct Request<L> {
    pub(crate) direction: Direction,
    pub(crate) file: Arc<File>,
    /// Where in the file, in bytes.
    pub(crate) offset: u64,
    // Before the lease, so that it goes first where a request is dropped.
    entry: ListEntry,
    pub(crate) lease: L,
}

impl<L: Lease> Request<L> {
    /// A request that is under way `since` that moment: one for all of a batch.
    pub(crate) fn new(
        in_flight: &Arc<InFlightTable>,
        since: Instant,
        direction: Direction,
        file: Arc<File>,
        offset: u64,
        lease: L,
    ) -> Self {
        let extent = extent(direction, &file, offset, buffers::total(lease.buffers()));
        let entry = in_flight.enter(extent, since);
        Self { direction, file, offset, entry, lease }
    }

    /// The bytes to transfer.
    pub(crate) fn len(&self) -> usize {
        buffers::total(self.lease.buffers())
    }

    /// Notes that it waits no longer: its transfer begins.
    pub(crate) fn begin(&self) {
        self.entry.submitted();
    }

    /// Whether `next`, whose bytes follow in the same file, can become the end of this.
    pub(in crate::io) fn can_join(&self, next: &Self) -> bool {
        self.direction == next.direction && self.lease.can_join(&next.lease)
    }

    /// Makes `next` the end of this: one transfer, and one outcome for both.
    pub(in crate::io) fn join(&mut self, next: Self) {
        let Self { entry, lease, .. } = next;
        self.lease.join(lease);
        self.entry.join(entry, extent(self.direction, &self.file, self.offset, self.len()));
    }

    /// Ends the request, which was over `at` that moment: one for all that are found to be over together. Consumes it, so
    /// that it can end only once.
    pub(crate) fn finish(self, outcome: io::Result<usize>, at: Instant) {
        let measure = match self.direction {
            Direction::Read => Measure::Read,
            Direction::Write => Measure::Write,
        };
        self.entry.finished(measure, at);
        self.lease.finish(outcome);
    }

    /// Gives the request up without a transfer; how its lease ends is the caller's part.
    pub(crate) fn into_lease(self) -> L {
        self.lease
    }
}

/// What the list of requests in flight shows of a request.
fn extent(direction: Direction, file: &File, offset: u64, bytes: usize) -> Extent {
    let block = BlockNo((offset / file.page_size.bytes() as u64) as u32);
    Extent { op: direction.op(), page: PageId { file: file.id, block }, bytes: bytes as u32 }
}
