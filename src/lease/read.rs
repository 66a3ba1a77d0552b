//! The lease of a read: frames that are being filled.

use std::io;

use smallvec::SmallVec;

use crate::{
    error::{Error, IoOp, Result},
    id::PageId,
    io::request::IoBuf,
    lease::{PAGES_INLINE, Pins, abandoned, buffer_at},
    pool::{handle::Pin, state::State},
    stats::Counter,
    sync::Arc,
};

/// Frames that are READING, for consecutive blocks of one file; each with the pin that belongs to the read.
pub(crate) struct ReadLease {
    pins: Pins,
    buffers: SmallVec<[IoBuf; PAGES_INLINE]>,
    /// Whether a codec must look at the pages before anybody else does.
    to_verify: bool,
    /// Whether the pages count against the share of look-ahead.
    ahead: bool,
}

impl ReadLease {
    /// The lease for the first page; neighbours can be [added](Self::append).
    pub(crate) fn new(first: Pin, to_verify: bool) -> Self {
        let pool = first.pool();
        let buffer = buffer_at(pool, pool.offset_of(first.frame_no()), pool.page_size().bytes());
        let mut lease = Self { pins: Pins::new(), buffers: SmallVec::new(), to_verify, ahead: false };
        lease.buffers.push(buffer);
        lease.pins.push(first);
        lease
    }

    /// The same for a page that nobody waits for yet. The caller has taken its place in the share of look-ahead.
    pub(crate) fn into_ahead(mut self) -> Self {
        self.ahead = true;
        for pin in &self.pins {
            pin.frame().state.update(State::expect_use);
        }
        self
    }

    /// Adds the pages of `next`, which follow, and are of the same kind.
    pub(crate) fn append(&mut self, mut next: Self) {
        debug_assert!(self.last().is_followed_by(next.first()) && self.ahead == next.ahead);
        self.pins.append(&mut next.pins);
        self.buffers.append(&mut next.buffers);
    }

    pub(crate) fn pages(&self) -> usize {
        self.pins.len()
    }

    /// The first page.
    pub(crate) fn first(&self) -> PageId {
        self.pins[0].frame().page()
    }

    /// The last page.
    pub(crate) fn last(&self) -> PageId {
        self.pins[self.pins.len() - 1].frame().page()
    }

    /// Ends the lease without a transfer: every page's read fails with `error`.
    pub(crate) fn abort(mut self, error: &Error) {
        self.end_each(|_, _| Err(error.clone()));
    }

    pub(super) fn buffers(&self) -> &[IoBuf] {
        &self.buffers
    }

    /// Ends every page's read. A page that came in part is completed with zeros, for there the file ends; a page of which
    /// nothing came failed, for its block was within the file when the read was made.
    pub(super) fn finish(mut self, outcome: io::Result<usize>) {
        let size = self.pins[0].pool().page_size().bytes();
        let counters = &self.pins[0].pool().counters;
        counters.add(Counter::PagesRead, self.pins.len() as u64);
        counters.add(Counter::Failures, u64::from(outcome.is_err()));
        let outcome = outcome.map_err(Arc::new);
        let buffers = std::mem::take(&mut self.buffers);
        self.end_each(|index, page| {
            let transferred = outcome.clone().map_err(|source| Error::Io { op: IoOp::Read, page, source })?;
            match transferred.saturating_sub(index * size).min(size) {
                0 => Err(Error::io(IoOp::Read, page, shrunk())),
                arrived => {
                    zero_tail(buffers[index], arrived);
                    Ok(())
                }
            }
        });
    }

    /// Ends the read of each page as `outcome` says, given its place and its page.
    fn end_each(&mut self, outcome: impl Fn(usize, PageId) -> Result<()>) {
        for (index, pin) in self.pins.drain(..).enumerate() {
            if self.ahead {
                pin.pool().look_ahead.give_back(1);
            }
            let result = outcome(index, pin.frame().page());
            pin.end_read(&result, !self.to_verify);
        }
    }
}

impl Drop for ReadLease {
    fn drop(&mut self) {
        if !self.pins.is_empty() {
            let source = Arc::new(abandoned());
            self.end_each(|_, page| Err(Error::Io { op: IoOp::Read, page, source: source.clone() }));
        }
    }
}

fn shrunk() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the file is shorter than when it was opened; was it cut by someone else?",
    )
}

/// What lies behind the end of the file reads as zeros, never as what the frame held before.
#[allow(unsafe_code)]
fn zero_tail(buffer: IoBuf, arrived: usize) {
    let len = buffer.len as usize;
    debug_assert!(arrived <= len);
    // SAFETY: `arrived` is at most the buffer's length.
    let tail = unsafe { buffer.ptr.add(arrived) };
    // SAFETY: 1. the lease owns the buffer's `len` bytes until the read is ended, which is after this; 2. the transfer is
    // over, so the kernel does not touch them either.
    unsafe { tail.write_bytes(0, len - arrived) };
}
