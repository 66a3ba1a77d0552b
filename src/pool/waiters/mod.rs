//! Who sleeps on which frame: threads and tasks alike, each as a `Waker`.
//!
//! A small parking lot beside the frames, so that a frame needs no queue of its own. Frames are spread over shards; a
//! shard is a list in order of arrival under a short lock (level 5 of the lock order; state words are changed under it).
//!
//! Invariants:
//! 1. while somebody waits for a frame's latch, its LATCH_WAITERS bit is set or somebody was called for it who has not come yet;
//!    the bit is set only while somebody waits. IO_WAITERS is set exactly while somebody waits for an I/O. Bits and lists change
//!    under the shard's lock. So nobody who listed himself is overlooked: whoever ends an I/O or releases a latch sees the bit in
//!    the very word he changes, and who was called sees to the line when he comes, or leaves it;
//! 2. nobody passes by a line while LATCH_WAITERS is set. Who is first is [called](fairness), which clears it: until he comes
//!    the latch is anybody's, and if he comes too late once too often it is handed to him, so no one starves;
//! 3. an entry stays until its owner collects or cancels it; cancelling one that was called or served passes the latch on.
//!
//! A task that was called and is then neither polled nor dropped holds up those who sleep behind it, until somebody gets in line.
//!
//! Wakers are called after the shard's lock is released.

mod fairness;
mod line;
#[cfg(test)]
mod tests;

use std::task::{Poll, Waker};

use crossbeam_utils::CachePadded;
use smallvec::SmallVec;

use crate::{
    error::Result,
    id::FrameNo,
    pool::{
        frame::Frame,
        state::{Phase, State},
        waiters::line::{Shard, Stage},
    },
    sync::Mutex,
    wait,
};

const SHARDS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 64 };

/// What a waiter waits for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// The end of the read that is under way.
    ReadDone,
    /// The end of the write that is under way.
    WriteDone,
    /// What becomes of a page that is [seized](crate::pool::seizure).
    Settled,
    /// A share latch.
    Shared,
    /// The exclusive latch.
    Exclusive,
}

impl Want {
    const fn is_latch(self) -> bool {
        matches!(self, Self::Shared | Self::Exclusive)
    }

    /// True while there is something to wait for; for a latch, while a newcomer could not have it at once.
    fn must_wait(self, state: State) -> bool {
        match self {
            Self::ReadDone => state.phase() == Phase::Reading,
            Self::WriteDone => state.is_writing(),
            Self::Settled => state.is_seized(),
            Self::Shared => state.latch_shared().is_none(),
            Self::Exclusive => state.latch_exclusive().is_none(),
        }
    }

    /// The state with the latch in the hands of who wants it, if it can be had.
    pub(super) fn latched(self, state: State) -> Option<State> {
        match self {
            Self::Exclusive => state.hand_over_exclusive(),
            _ => state.hand_over_shared(),
        }
    }

    fn announce(self, state: State) -> State {
        if self.is_latch() { state.set_latch_waiters(true) } else { state.set_io_waiters(true) }
    }
}

/// A place in the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    frame: FrameNo,
    number: u64,
}

type Wakers = SmallVec<[Waker; 8]>;

pub(crate) struct Waiters {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
}

impl Waiters {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| CachePadded::new(Mutex::new(Shard::default()))).collect() }
    }

    /// Gets in line. `None` where there is no longer anything to wait for: the caller looks again.
    pub(crate) fn enlist(&self, no: FrameNo, frame: &Frame, want: Want, waker: &Waker) -> Option<Ticket> {
        let mut shard = self.shard(no).lock();
        frame.state.try_update(|s| want.must_wait(s).then(|| want.announce(s))).ok()?;
        Some(shard.push(no, want, waker.clone()))
    }

    /// Sleeps until there is no longer anything to wait for. Not for latches, which would be kept.
    pub(crate) fn wait(&self, no: FrameNo, frame: &Frame, want: Want) {
        debug_assert!(!want.is_latch());
        let mut ticket = None;
        wait::block_on(|waker| {
            if ticket.is_none() {
                ticket = self.enlist(no, frame, want, waker);
            }
            ticket.as_ref().map_or(Poll::Ready(()), |ticket| self.poll(ticket, waker).map(drop))
        });
    }

    /// Asks whether the I/O that the ticket is for has ended: then the ticket is used up. Else `waker` is remembered in place of
    /// the former one.
    pub(crate) fn poll(&self, ticket: &Ticket, waker: &Waker) -> Poll<Result<()>> {
        self.shard(ticket.frame).lock().collect(ticket, waker)
    }

    /// The same for a latch, which is then held. Who was called for it takes it now, or is too late.
    pub(crate) fn poll_latch(&self, ticket: &Ticket, frame: &Frame, waker: &Waker) -> Poll<()> {
        let mut shard = self.shard(ticket.frame).lock();
        if shard.is_called(ticket) {
            shard.come(ticket, frame);
        }
        shard.collect(ticket, waker).map(drop)
    }

    /// Whether the latch that the ticket is for may be had now, by who comes for it first.
    pub(crate) fn is_called(&self, ticket: &Ticket) -> bool {
        self.shard(ticket.frame).lock().is_called(ticket)
    }

    /// Leaves the line. A latch that was handed over meanwhile, or is waiting for who leaves, is passed on.
    pub(crate) fn cancel(&self, ticket: &Ticket, frame: &Frame) {
        let mut wakers = Wakers::new();
        {
            let mut shard = self.shard(ticket.frame).lock();
            let entry = shard.remove(ticket);
            match (entry.want, &entry.stage) {
                _ if !entry.waits() && seeded!("latch_kept_by_who_left") => return,
                (Want::Shared, Stage::Served(_)) => drop(frame.state.update(State::unlatch_shared)),
                (Want::Exclusive, Stage::Served(_)) => {
                    frame.state.update(|s| s.unlatch_exclusive(false));
                }
                _ => {}
            }
            if entry.want.is_latch() {
                shard.pass_on(ticket.frame, frame, &mut wakers);
            } else {
                let others = shard.line(ticket.frame).any(|e| e.waits() && !e.want.is_latch());
                frame.state.update(|s| s.set_io_waiters(others));
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Serves everybody who waits for the frame's I/O. Called by whoever ended it and saw IO_WAITERS in the word.
    pub(crate) fn io_done(&self, no: FrameNo, frame: &Frame, outcome: &Result<()>) {
        let mut wakers = Wakers::new();
        {
            let mut shard = self.shard(no).lock();
            let state = frame.state.load();
            let mut others = false;
            for entry in shard.line_mut(no).filter(|e| e.waits() && !e.want.is_latch()) {
                // A read and a write cannot be under way together, but the next I/O may have begun already.
                if entry.want.must_wait(state) {
                    others = true;
                } else {
                    entry.stage = Stage::Served(outcome.clone());
                    wakers.push(entry.waker.clone());
                }
            }
            frame.state.update(|s| s.set_io_waiters(others));
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Passes the latch on. Called by whoever released one and saw LATCH_WAITERS in the word.
    pub(crate) fn latch_released(&self, no: FrameNo, frame: &Frame) {
        let mut wakers = Wakers::new();
        self.shard(no).lock().pass_on(no, frame, &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether the frame's bits say what its list says: invariant 1.
    pub(super) fn agrees(&self, no: FrameNo, frame: &Frame) -> bool {
        let shard = self.shard(no).lock();
        let waits_for = |latch| shard.line(no).any(|e| e.waits() && e.want.is_latch() == latch);
        let is_called = shard.line(no).any(|e| matches!(e.stage, Stage::Called));
        let state = frame.state.load();
        let is_seen_to = state.has_latch_waiters() || waits_for(true) && is_called;
        is_seen_to == waits_for(true) && state.has_io_waiters() == waits_for(false)
    }

    fn shard(&self, frame: FrameNo) -> &Mutex<Shard> {
        &self.shards[frame.index() % SHARDS]
    }
}
