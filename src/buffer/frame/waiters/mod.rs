//! The lines of threads and tasks that sleep on a frame, each as a `Waker`.
//!
//! A small parking lot beside the frames, so that a frame needs no queue of its own. Frames are spread over shards; a
//! shard has the [lines](line) of its frames under a short lock (level 5 of the lock order; state words are changed under it).
//!
//! Invariants:
//! 1. while a waiter wants a frame's latch, its LATCH_WAITERS bit is set or a waiter was called for it that has not come yet; the
//!    bit is set only while there is a waiter. IO_WAITERS is set exactly while there is a waiter for an I/O. Bits and lists
//!    change under the shard's lock. So no waiter is overlooked: the thread that ends an I/O or releases a latch sees the bit in
//!    the very word that it changes, and a called waiter looks after the line when it comes, or leaves it;
//! 2. no newcomer passes a line while LATCH_WAITERS is set. The first is [called](fairness), which clears it: until it comes any
//!    thread or task may take the latch, and if it comes too late once too often the latch is handed over, so none starves;
//! 3. an entry stays until its owner collects or cancels it; cancelling one that was called or served passes the latch on.
//!
//! A thread that was called comes; a task comes when its runtime polls it, which may take long. So the pool's
//! [ticker](crate::buffer::frame::ticker) [looks after](Waiters::look_after) a line in which a task was called before others.
//!
//! Wakers are called after the shard's lock is released, and where an I/O ends, after all that belongs to its end.

mod fairness;
mod line;
#[cfg(test)]
mod tests;
pub(crate) mod want;

use std::task::{Poll, Waker};

use crossbeam_utils::CachePadded;

use crate::{
    buffer::frame::{
        header::{Frame, FrameArrays},
        waiters::{
            line::{Passed, Shard},
            want::Want,
        },
    },
    error::Result,
    id::FrameNo,
    sync::{
        Mutex,
        time::Instant,
        wait::{self, Drive},
        waking::{StoredWaker, Wakers},
    },
};

const SHARDS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 64 };

/// A place in the lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    frame: FrameNo,
    key: usize,
    /// When it was given, if it is for a latch.
    pub(in crate::buffer::frame) since: Option<Instant>,
}

pub(crate) struct Waiters {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
}

impl Waiters {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| CachePadded::new(Mutex::new(Shard::default()))).collect() }
    }

    /// Gets in line for a latch, or for the end of an I/O. Returns `None` where there is nothing to wait for: the caller tries
    /// again.
    pub(crate) fn get_in_line(
        &self,
        frame: Frame<'_>,
        want: Want,
        drive: Drive,
        waker: &Waker,
    ) -> Option<Ticket> {
        let (no, waker) = (frame.no, StoredWaker::of(waker));
        let mut shard = self.shard(no).lock();
        frame.state.try_update(|s| want.must_wait(s).then(|| want.announce(s))).ok()?;
        Some(Ticket { frame: no, key: shard.push(no, want, drive, waker), since: None })
    }

    /// Sleeps until there is no longer anything to wait for. Not for latches, which would be kept.
    pub(crate) fn wait(&self, frame: Frame<'_>, want: Want) {
        let mut ticket = None;
        wait::block_on(|waker| {
            if ticket.is_none() {
                ticket = self.get_in_line(frame, want, Drive::Task, waker);
            }
            ticket
                .as_ref()
                .map_or(Poll::Ready(()), |ticket| self.poll(ticket, frame, Drive::Task, waker).map(drop))
        });
    }

    /// Asks whether the I/O that the ticket is for has ended, or the latch is held now: then the ticket is used up. Else keeps `waker` in
    /// place of the former one. A waiter that was called takes the latch here, or is too late.
    pub(crate) fn poll(
        &self,
        ticket: &Ticket,
        frame: Frame<'_>,
        drive: Drive,
        waker: &Waker,
    ) -> Poll<Result<()>> {
        // Dropped after the lock, whether it is this one or the former.
        let mut waker = Some(StoredWaker::of(waker));
        let mut shard = self.shard(frame.no).lock();
        if shard.is_called(ticket.key) {
            shard.come(ticket.key, frame);
        }
        match shard.collect(ticket.key) {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                shard.exchange_waker(ticket.key, drive, &mut waker);
                Poll::Pending
            }
        }
    }

    /// Returns whether the latch that the ticket is for is free for the first that comes for it.
    pub(crate) fn is_called(&self, ticket: &Ticket) -> bool {
        self.shard(ticket.frame).lock().is_called(ticket.key)
    }

    /// Leaves the line, and [passes on](Self::latch_released) a latch that was handed over, or for which the owner was called.
    #[must_use]
    pub(crate) fn cancel(&self, ticket: &Ticket, frame: Frame<'_>) -> bool {
        let mut shard = self.shard(frame.no).lock();
        let left = shard.remove(ticket.key);
        let is_kept = left.was_reached() && seeded!("latch_kept_by_a_waiter_that_left");
        if left.holds_latch() && !is_kept {
            frame.state.update(|s| left.want.unlatched(s));
        }
        if !left.want.is_latch() {
            let [others, ..] = shard.waiting_for(frame.no);
            frame.state.update(|s| s.set_io_waiters(others));
        }
        // Before its waker is dropped.
        drop(shard);
        left.want.is_latch() && !is_kept && self.latch_released(frame, &mut Wakers::new())
    }

    /// Serves all waiters for the frame's I/O. To be called after an end of it that saw IO_WAITERS in the word.
    pub(crate) fn io_done(&self, frame: Frame<'_>, outcome: &Result<()>, wakers: &mut Wakers) {
        while self.shard(frame.no).lock().io_done(frame, outcome, wakers) {}
    }

    /// Passes the latch on. To be called after a release that saw LATCH_WAITERS in the word. Returns whether a line has to be
    /// [looked after](Self::look_after) from now on, since a task may take the latch.
    #[must_use]
    pub(crate) fn latch_released(&self, frame: Frame<'_>, wakers: &mut Wakers) -> bool {
        loop {
            let mut shard = self.shard(frame.no).lock();
            let passed = shard.pass_on(frame, wakers);
            if passed != Passed::InPart {
                return shard.is_watching();
            }
        }
    }

    /// Looks after lines in which [a task is called and does not come](Shard::look_after). Returns false where there are none.
    pub(crate) fn look_after(&self, frames: &FrameArrays) -> bool {
        let mut any = false;
        for shard in &self.shards {
            let mut wakers = Wakers::new();
            let mut shard = shard.lock();
            shard.look_after(frames, false, &mut wakers);
            any |= shard.is_watching();
        }
        any
    }

    pub(crate) fn needs_attention(&self) -> bool {
        self.shards.iter().any(|shard| shard.lock().is_watching())
    }

    /// Calls all waiters for the latch of that frame, and of those that share its lock, since the system gives no thread that
    /// looks after them.
    pub(crate) fn call_all(&self, no: FrameNo, frames: &FrameArrays) {
        let mut wakers = Wakers::new();
        self.shard(no).lock().look_after(frames, true, &mut wakers);
    }

    /// Returns whether the frame's bits agree with its lines: invariant 1.
    pub(crate) fn agrees(&self, frame: Frame<'_>) -> bool {
        let [for_io, for_latch, is_called] = self.shard(frame.no).lock().waiting_for(frame.no);
        let state = frame.state.load();
        let is_seen_to = state.has_latch_waiters() || for_latch && is_called;
        is_seen_to == for_latch && state.has_io_waiters() == for_io
    }

    /// Holds the lock of this frame's lines, as another thread may at any moment.
    #[cfg(test)]
    pub(crate) fn hold(&self, no: FrameNo) -> impl Sized {
        self.shard(no).lock()
    }

    fn shard(&self, frame: FrameNo) -> &Mutex<Shard> {
        &self.shards[frame.index() % SHARDS]
    }
}
