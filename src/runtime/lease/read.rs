//! The lease of a read: frames that are being filled.

use std::io;

use crate::{
    buffer::{
        frame::{header::Frame, pin::Pin, pin_list::Pins, state::Phase},
        pool::FramePool,
    },
    error::{Error, IoOp, Result},
    id::{FrameNo, PageId},
    io::buffers::IoBuf,
    observe::Counter,
    runtime::lease::{abandoned, buffer_at},
    sync::{Arc, waking::Wakers},
};

/// Frames that are READING, for consecutive blocks of one file; each with the pin that belongs to the read.
pub(crate) struct ReadLease {
    pins: Pins,
    /// Whether a codec must look at the pages before anybody else does.
    to_verify: bool,
    /// Whether the pages are read for a use to come, and nobody waits for them yet.
    ahead: bool,
    /// The most pages of a read that it is part of.
    most: usize,
}

impl ReadLease {
    /// The lease for the first page; neighbours can be [added](Self::append).
    pub(crate) fn new(first: Pin, to_verify: bool) -> Self {
        assert_waits(first.frame());
        let mut pins = Pins::new();
        pins.push(first);
        Self { pins, to_verify, ahead: false, most: usize::MAX }
    }

    /// The same for a page that nobody waits for yet.
    pub(crate) fn into_ahead(mut self) -> Self {
        self.ahead = true;
        self
    }

    /// The same, never to be part of a read of more pages than that, whatever it meets in a queue.
    pub(crate) fn with_limit(mut self, pages: usize) -> Self {
        self.most = pages;
        self
    }

    /// Adds the pages of `next`, which follow, and are of the same kind.
    pub(crate) fn append(&mut self, mut next: Self) {
        assert!(
            self.last().is_followed_by(next.first()),
            "{} is no neighbour of {}",
            next.first(),
            self.last()
        );
        debug_assert!(self.can_append(&next));
        self.most = self.most.min(next.most);
        self.pins.append(&mut next.pins);
    }

    pub(crate) fn pages(&self) -> usize {
        self.pins.len()
    }

    /// Whether the pages were read for a use to come.
    pub(super) fn is_ahead(&self) -> bool {
        self.ahead
    }

    /// Whether the pages of `next`, which follow, can be added.
    pub(crate) fn can_append(&self, next: &Self) -> bool {
        self.ahead == next.ahead && self.pages() + next.pages() <= self.most.min(next.most)
    }

    /// Whether somebody waits for one of the pages.
    pub(super) fn is_awaited(&self) -> bool {
        !self.ahead || self.pins.frames().any(|frame| frame.state.load().has_io_waiters())
    }

    /// The first page.
    pub(crate) fn first(&self) -> PageId {
        self.pins.page(0)
    }

    /// The last page.
    pub(crate) fn last(&self) -> PageId {
        self.pins.page(self.pins.len() - 1)
    }

    /// Ends the lease without a transfer: every page's read fails with `error`.
    pub(crate) fn abort(mut self, error: &Error) {
        self.end_each(|_, _| Err(error.clone()));
    }

    /// Where the page of this place goes.
    pub(super) fn buffer(&self, index: usize) -> IoBuf {
        let index = if seeded!("neighbours_swapped") { self.pages() - 1 - index } else { index };
        buffer_of(self.pins.pool(), self.pins.frame_no(index))
    }

    /// Ends every page's read. A page that came in part is completed with zeros, for there the file ends; a page of which
    /// nothing came failed, for its block was within the file when the read was made.
    ///
    /// A failed transfer of several pages says nothing about any one of them: whoever waits for one reads it alone, so that
    /// one bad sector does not take good pages with it.
    pub(super) fn finish(mut self, outcome: io::Result<usize>) {
        self.assert_intact(&outcome);
        let counters = &self.pins.pool().counters;
        counters.add(Counter::PagesRead, self.pins.len() as u64);
        counters.add(Counter::Failures, u64::from(outcome.is_err()));
        let page = self.first();
        match outcome {
            Ok(transferred) => self.end_transferred(transferred),
            Err(_) if self.pins.len() > 1 => {
                let mut wakers = Wakers::new();
                self.pins.drain().for_each(|pin| pin.abandon_read(&mut wakers));
            }
            Err(source) => {
                let error = Error::io(IoOp::Read, page, source);
                self.end_each(|_, _| Err(error.clone()));
            }
        }
    }

    /// Both ends of a lease: the frames still wait for the very pages that they were leased for, and no more came than there is
    /// room for.
    fn assert_intact(&self, outcome: &io::Result<usize>) {
        let (first, room) = (self.first(), self.pages() * self.pins.pool().page_size().bytes());
        assert!(outcome.as_ref().map_or(0, |&came| came) <= room, "more was read at {first} than asked for");
        for (index, frame) in self.pins.frames().enumerate() {
            let expected = PageId::new(first.file, first.block.0 + index as u32);
            assert_eq!(frame.page(), expected, "a frame changed its page while it was being read");
            assert_waits(frame);
        }
    }

    fn end_transferred(&mut self, transferred: usize) {
        let size = self.pins.pool().page_size().bytes();
        self.end_each(|index, pin| match transferred.saturating_sub(index * size).min(size) {
            0 => Err(Error::io(IoOp::Read, pin.frame().page(), shrunk())),
            arrived => {
                zero_tail(buffer_of(pin.pool(), pin.frame_no()), arrived);
                Ok(())
            }
        });
    }

    /// Ends the read of each page as `outcome` says, given its place and its pin. Waiters are woken when all have ended.
    fn end_each(&mut self, outcome: impl Fn(usize, &Pin) -> Result<()>) {
        let mut wakers = Wakers::new();
        for (index, pin) in self.pins.drain().enumerate() {
            let result = outcome(index, &pin);
            pin.end_read_with(&result, !self.to_verify, &mut wakers);
        }
    }
}

impl Drop for ReadLease {
    fn drop(&mut self) {
        if !self.pins.is_empty() {
            let source = Arc::new(abandoned());
            self.end_each(|_, pin| {
                let page = pin.frame().page();
                Err(Error::Io { op: IoOp::Read, page, source: source.clone() })
            });
        }
    }
}

/// The frame waits for its page, so nobody else has its bytes.
fn assert_waits(frame: Frame<'_>) {
    let state = frame.state.load();
    assert!(state.phase() == Phase::Reading, "{} is in a read, and does not say so: {state:?}", frame.page());
}

fn buffer_of(pool: &FramePool, no: FrameNo) -> IoBuf {
    buffer_at(pool, pool.home_of(no), pool.page_size().bytes())
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
    // Nearly always. To zero nothing is not free: it may be a store under an empty mask, which waits for the next page's bytes.
    if arrived == len || seeded!("tail_not_zeroed") {
        return;
    }
    // SAFETY: `arrived` is at most the buffer's length.
    let tail = unsafe { buffer.ptr.add(arrived) };
    // SAFETY: 1. the lease owns the buffer's `len` bytes until the read is ended, which is after this; 2. the transfer is
    // over, so the kernel does not touch them either.
    unsafe { tail.write_bytes(0, len - arrived) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        buffer::{frame::pin::PoolHandle, pool::Mapped, supply::victims::DirtyVictims},
        id::{FileId, PageSize},
        observe::Counters,
    };

    #[test]
    #[should_panic(expected = "is in a read, and does not say so")]
    fn a_page_that_is_here_is_leased_to_no_read() {
        let pool = FramePool::new(1, PageSize::MIN, 1, Arc::new(Counters::new())).unwrap();
        let pool = PoolHandle::new(pool);
        let claimed = pool.claim_victim(&mut DirtyVictims::new()).unwrap();
        let Mapped { reading, own } = pool.map(claimed, PageId::new(FileId(0), 1), false).unwrap();
        reading.end_read(&Ok(()), true);
        ReadLease::new(own, false).abort(&Error::ShutDown);
    }
}
