//! What is in flight: requests whose memory the kernel may touch.
//!
//! Invariants: a request stays in its slot from the moment its submission can be seen by the kernel until the completion
//! has come back; a completion names its slot and the slot's generation, so one that comes late or twice is noticed
//! instead of ending somebody else's request. All memory is taken at the start; the row of iovecs of a slot grows to the
//! largest request it has seen and stays.

use io_uring::{opcode, squeue, types::Fd};

use crate::io::{
    backlog::FlightPlace,
    buffers::{self, Direction},
    file::atomic_writes::RWF_ATOMIC,
    request::{Lease, Request},
    transfer::Progress,
};

/// The fixed number of places for requests in flight.
pub(super) struct Slots<L> {
    slots: Box<[RingSlot<L>]>,
    free: Vec<u32>,
}

/// One place.
pub(super) struct RingSlot<L> {
    generation: u32,
    /// The number of its last submission among all of the ring.
    number: u32,
    flight: Option<Flight<L>>,
    /// Read by the kernel while it takes the submission in.
    iovecs: Vec<libc::iovec>,
}

/// A request in flight.
pub(super) struct Flight<L> {
    pub(super) request: Request<L>,
    place: FlightPlace,
    pub(super) progress: Progress,
    target: FileName,
}

/// The file as a submission names it.
#[derive(Copy, Clone, Debug)]
pub(super) enum FileName {
    Descriptor(i32),
    Registered(u32),
}

/// Which forms of a request the ring takes.
#[derive(Copy, Clone, Debug)]
pub(super) struct Forms {
    pub(super) fixed_buffers: bool,
    pub(super) vectored_fixed: bool,
}

/// Iovecs that a slot has room for from the start.
const IOVECS: usize = 16;

impl<L: Lease> Slots<L> {
    pub(super) fn new(count: u32) -> Self {
        let slot =
            |_| RingSlot { generation: 0, number: 0, flight: None, iovecs: Vec::with_capacity(IOVECS) };
        Self { slots: (0..count).map(slot).collect(), free: (0..count).rev().collect() }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn room(&self) -> usize {
        self.free.len()
    }

    /// Takes a request in; the caller submits [`entry`](Self::entry) for the slot it gets.
    pub(super) fn insert(&mut self, request: Request<L>, place: FlightPlace, target: FileName) -> u32 {
        let index = self.free.pop().expect("the caller has looked for room");
        let progress = Progress::new(request.direction, request.len(), request.file.offset_align);
        self.slots[index as usize].flight = Some(Flight { request, place, progress, target });
        index
    }

    /// The submission, of this number, for the part of the request that is left.
    pub(super) fn entry(&mut self, index: u32, forms: Forms, number: u32) -> squeue::Entry {
        let slot = &mut self.slots[index as usize];
        slot.number = number;
        slot.generation = slot.generation.wrapping_add(1);
        let id = u64::from(slot.generation) << 32 | u64::from(index);
        slot.entry(forms).user_data(id)
    }

    /// The slot whose submission has completed.
    pub(super) fn find(&mut self, id: u64) -> (u32, &mut Flight<L>) {
        let (index, generation) = (id as u32, (id >> 32) as u32);
        let slot = self
            .slots
            .get_mut(index as usize)
            .filter(|slot| slot.generation == generation || seeded!("stale_completion_accepted"));
        let flight = slot.and_then(|slot| slot.flight.as_mut());
        (index, flight.expect("a completion for a request that is not in flight"))
    }

    /// Ends the flight: the kernel is done with the memory.
    pub(super) fn remove(&mut self, index: u32) -> (Request<L>, FlightPlace) {
        let flight = self.slots[index as usize].flight.take().expect("a slot that was just found");
        self.free.push(index);
        (flight.request, flight.place)
    }

    /// Takes out the requests whose submissions have such a number.
    pub(super) fn take(&mut self, which: impl Fn(u32) -> bool) -> Vec<Request<L>> {
        let is_meant = |&index: &u32| {
            let slot = &self.slots[index as usize];
            slot.flight.is_some() && which(slot.number)
        };
        let meant: Vec<_> = (0..self.slots.len() as u32).filter(is_meant).collect();
        meant.into_iter().map(|index| self.remove(index).0).collect()
    }
}

impl<L: Lease> RingSlot<L> {
    fn entry(&mut self, forms: Forms) -> squeue::Entry {
        let Self { flight, iovecs, .. } = self;
        let Flight { request, progress, target, place: _ } =
            flight.as_ref().expect("an entry is for a flight");
        let lease = &request.lease;
        let offset = request.offset + progress.next() as u64;
        let reads = request.direction == Direction::Read;
        let rw_flags = if request.file.atomic_pages.is_ok() { RWF_ATOMIC.cast_signed() } else { 0 };
        let (fd, flags) = match *target {
            FileName::Descriptor(fd) => (Fd(fd), squeue::Flags::empty()),
            FileName::Registered(slot) => (Fd(slot.cast_signed()), squeue::Flags::FIXED_FILE),
        };

        let mut pieces = buffers::from(lease.buffers(), progress.next());
        let chunk = lease.buffer(0).chunk;
        let entry = if lease.buffer_count() == 1 {
            let (ptr, len) = pieces.next().expect("a transfer that is not over");
            let (ptr, len) = (ptr.as_ptr(), len as u32);
            match (reads, forms.fixed_buffers) {
                (true, true) => opcode::ReadFixed::new(fd, ptr, len, chunk).offset(offset).build(),
                (true, false) => opcode::Read::new(fd, ptr, len).offset(offset).build(),
                (false, true) => {
                    opcode::WriteFixed::new(fd, ptr, len, chunk).offset(offset).rw_flags(rw_flags).build()
                }
                (false, false) => opcode::Write::new(fd, ptr, len).offset(offset).rw_flags(rw_flags).build(),
            }
        } else {
            iovecs.clear();
            iovecs
                .extend(pieces.map(|(ptr, len)| libc::iovec { iov_base: ptr.as_ptr().cast(), iov_len: len }));
            let (row, count) = (iovecs.as_ptr(), iovecs.len() as u32);
            let fixed =
                forms.vectored_fixed && forms.fixed_buffers && lease.buffers().all(|buf| buf.chunk == chunk);
            match (reads, fixed) {
                (true, true) => opcode::ReadvFixed::new(fd, row, count, chunk).offset(offset).build(),
                (true, false) => opcode::Readv::new(fd, row, count).offset(offset).build(),
                (false, true) => {
                    opcode::WritevFixed::new(fd, row, count, chunk).offset(offset).rw_flags(rw_flags).build()
                }
                (false, false) => {
                    opcode::Writev::new(fd, row, count).offset(offset).rw_flags(rw_flags).build()
                }
            }
        };
        entry.flags(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        io::{
            backlog::{Backlog, BacklogLimits},
            tests::support::{FakeDisk, TestArena},
        },
        sync::Arc,
    };

    #[test]
    #[should_panic(expected = "a completion for a request that is not in flight")]
    fn a_completion_that_comes_twice_does_not_end_the_next_request_in_its_slot() {
        let arena = TestArena::new(1 << 16);
        let file = Arc::new(FakeDisk::stamped(0).open_file(512).unwrap());
        let mut backlog = Backlog::new(BacklogLimits { waiting: 1, in_flight: 4, combine: 512 });
        let mut slots = Slots::new(1);
        let mut submit = |slots: &mut Slots<_>| {
            let request = arena.request(Direction::Read, &file, 0, &[512]);
            assert!(backlog.push(request).is_ok());
            let (request, place) = backlog.next().unwrap();
            let index = slots.insert(request, place, FileName::Descriptor(0));
            let _ = slots.entry(index, Forms { fixed_buffers: false, vectored_fixed: false }, 0);
        };
        submit(&mut slots);
        // What the first submission of the first slot is named.
        let id = 1 << 32;
        let (index, _) = slots.find(id);
        drop(slots.remove(index));
        submit(&mut slots);
        slots.find(id);
    }
}
