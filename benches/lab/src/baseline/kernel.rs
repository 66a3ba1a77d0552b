//! The bare ring's dealings with the kernel: setting up, requests and completions, and what owns a slot's memory when.
//!
//! A slot's part of the region belongs to the script while the slot is idle, and to the kernel from the moment its request is
//! pushed until its completion is taken in. [`Lane`] is the only one that turns that memory into slices, and the only one
//! that makes a [`Request`].
//!
//! One of the two modules with `unsafe` (the other is [`region`](crate::region)).

#![allow(unsafe_code)]

use std::io;
use std::slice;
use std::time::Instant;

use io_uring::types::Fixed;
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, opcode, squeue};

use super::readable;
use super::ring::RingOptions;
use super::script::{Script, Transfer, Way};
use crate::measure::Latencies;
use crate::places::Place;
use crate::region::Region;

/// One request in flight and its part of the region.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    transfer: Transfer,
    started: Instant,
    /// Bytes that make the transfer complete.
    wanted: usize,
    /// Bytes moved so far: transfers may be short.
    moved: usize,
}

impl Slot {
    /// Makes a slot that has nothing in flight.
    pub(super) fn idle() -> Self {
        let transfer = Transfer { way: Way::Read, place: Place { file: 0, block: 0 } };
        Self { transfer, started: Instant::now(), wanted: 0, moved: 0 }
    }
}

/// A request for the memory of a slot, made by [`Lane`] only.
pub(super) struct Request(squeue::Entry);

/// What a run has moved so far.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) pages: u64,
    pub(super) bytes: u64,
    pub(super) latencies: Latencies,
}

/// What follows on a completion.
pub(super) enum Step {
    More(Request),
    Done,
}

/// The part of a run that deals with one slot at a time.
pub(super) struct Lane<'a, S> {
    pub(super) region: &'a Region,
    pub(super) options: RingOptions,
    pub(super) registered: bool,
    pub(super) lengths: &'a [u64],
    pub(super) script: &'a mut S,
    pub(super) tally: Tally,
}

impl<S: Script> Lane<'_, S> {
    /// Gives an idle slot its next transfer.
    #[inline]
    pub(super) fn begin(
        &mut self,
        number: usize,
        slot: &mut Slot,
        now: Instant,
    ) -> io::Result<Option<Request>> {
        let RingOptions { page_size, request_size, .. } = self.options;
        // SAFETY: the slot is idle, so the kernel does not know this memory, and each slot has its own.
        let buffer = unsafe { slice::from_raw_parts_mut(self.memory_of(number), request_size as usize) };
        let Some(transfer) = self.script.next(number, buffer) else {
            return Ok(None);
        };
        let wanted = match transfer.way {
            Way::Read => readable(self.lengths, transfer.place, page_size, request_size)?,
            Way::Write => request_size as usize,
        };
        *slot = Slot { transfer, started: now, wanted, moved: 0 };
        Ok(Some(self.request(number, slot)))
    }

    /// Takes in a completion: asks for the rest of a short transfer, or counts a finished one.
    #[inline]
    pub(super) fn advance(
        &mut self,
        number: usize,
        slot: &mut Slot,
        result: i32,
        now: Instant,
    ) -> io::Result<Step> {
        match result {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            1.. => slot.moved += result as usize,
            _ if retriable(-result) => {}
            _ => return Err(io::Error::from_raw_os_error(-result)),
        }
        if slot.moved < slot.wanted {
            return Ok(Step::More(self.request(number, slot)));
        }
        let Transfer { way, place } = slot.transfer;
        if way == S::COUNTED {
            self.tally.bytes += slot.wanted as u64;
            self.tally.pages += (slot.wanted as u64).div_ceil(u64::from(self.options.page_size));
            if self.options.latencies {
                self.tally.latencies.record(now - slot.started);
            }
        }
        if way == Way::Read {
            // SAFETY: the kernel has answered, so the memory is ours again, and it was initialized when it was mapped.
            let bytes = unsafe { slice::from_raw_parts(self.memory_of(number), slot.wanted) };
            self.script.seen(place, bytes);
        }
        Ok(Step::Done)
    }

    /// Returns the request for what is left of a slot's transfer. Always up to the end of the request, not of the file: direct I/O
    /// takes whole blocks only.
    #[inline]
    fn request(&self, number: usize, slot: &Slot) -> Request {
        let Transfer { way, place } = slot.transfer;
        let file = Fixed(place.file);
        let memory = self.memory_of(number).wrapping_add(slot.moved);
        let len = self.options.request_size - slot.moved as u32;
        let offset = place.offset(self.options.page_size) + slot.moved as u64;
        let entry = match (way, self.registered) {
            (Way::Read, true) => opcode::ReadFixed::new(file, memory, len, 0).offset(offset).build(),
            (Way::Write, true) => opcode::WriteFixed::new(file, memory, len, 0).offset(offset).build(),
            (Way::Read, false) => opcode::Read::new(file, memory, len).offset(offset).build(),
            (Way::Write, false) => opcode::Write::new(file, memory, len).offset(offset).build(),
        };
        Request(entry.user_data(number as u64))
    }

    #[inline]
    fn memory_of(&self, number: usize) -> *mut u8 {
        self.region.start().as_ptr().wrapping_add(number * self.options.request_size as usize)
    }
}

/// Makes the best ring that this kernel has: `DEFER_TASKRUN` came with 6.1, `COOP_TASKRUN` with 5.19.
pub(super) fn build(depth: u32) -> io::Result<IoUring> {
    let defer =
        || IoUring::builder().setup_single_issuer().setup_coop_taskrun().setup_defer_taskrun().build(depth);
    let coop = || IoUring::builder().setup_coop_taskrun().build(depth);
    let unknown = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
    let mut ring = defer();
    if ring.as_ref().is_err_and(unknown) {
        ring = coop();
    }
    if ring.as_ref().is_err_and(unknown) {
        ring = IoUring::new(depth);
    }
    ring
}

/// Registers the region; `false` where this user may not lock that much memory.
pub(super) fn register(ring: &IoUring, region: &Region) -> io::Result<bool> {
    let whole = libc::iovec { iov_base: region.start().as_ptr().cast(), iov_len: region.len() };
    // SAFETY: the region is mapped for as long as the ring lives: `BareRing` owns both and drops the ring first.
    match unsafe { ring.submitter().register_buffers(&[whole]) } {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EPERM)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[inline]
pub(super) fn push(submissions: &mut SubmissionQueue<'_>, in_flight: &mut usize, request: &Request) {
    // SAFETY: a request names memory of a slot that is not touched until its completion, and files that stay registered.
    unsafe { submissions.push(&request.0) }.expect("the queue has room for every slot");
    *in_flight += 1;
}

/// Submits what was pushed and waits for `batch` completions.
pub(super) fn enter(
    submitter: &Submitter<'_>,
    submissions: &mut SubmissionQueue<'_>,
    completions: &mut CompletionQueue<'_>,
    batch: usize,
) -> io::Result<()> {
    submissions.sync();
    match submitter.submit_and_wait(batch) {
        Ok(_) => {}
        Err(error) if error.raw_os_error().is_some_and(retriable) => {}
        Err(error) => return Err(error),
    }
    submissions.sync();
    completions.sync();
    Ok(())
}

/// Returns whether a call that failed with this error can be made again.
fn retriable(errno: i32) -> bool {
    matches!(errno, libc::EINTR | libc::EAGAIN | libc::EBUSY)
}
