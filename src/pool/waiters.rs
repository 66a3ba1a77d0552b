//! Who sleeps on which frame: threads and tasks alike, each as a `Waker`.
//!
//! A small parking lot beside the frames, so that a frame needs no queue of its own. Frames are spread over shards; a
//! shard is a list in order of arrival under a short lock (level 5 of the lock order; state words are changed under it).
//!
//! Invariants:
//! 1. a frame's LATCH_WAITERS (IO_WAITERS) bit is set exactly while its shard lists somebody who waits for a latch (an
//!    I/O) and has not been served; both change under the shard's lock. So nobody looks here in vain, and nobody who
//!    listed himself is overlooked: whoever ends an I/O or releases a latch sees the bit in the very word he changes;
//! 2. latches are handed over in order of arrival: the releaser takes the latch on the waiter's behalf before waking it, and
//!    newcomers do not overtake while the bit is set, so no one starves;
//! 3. an entry stays until its owner collects or cancels it; cancelling one that was served gives the latch back.
//!
//! Wakers are called after the shard's lock is released.

use std::task::{Poll, Waker};

use crossbeam_utils::CachePadded;
use smallvec::SmallVec;

use crate::{
    error::Result,
    id::FrameNo,
    pool::{
        frame::Frame,
        state::{Phase, State},
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

struct Entry {
    frame: FrameNo,
    number: u64,
    want: Want,
    waker: Waker,
    /// Set once served: the latch is held on the waiter's behalf, or the I/O ended like this.
    served: Option<Result<()>>,
}

#[derive(Default)]
struct Shard {
    entries: Vec<Entry>,
    next_number: u64,
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
        let number = shard.next_number;
        shard.next_number += 1;
        shard.entries.push(Entry { frame: no, number, want, waker: waker.clone(), served: None });
        Some(Ticket { frame: no, number })
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

    /// Asks whether the ticket was served: then it is used up, and a latch that was wanted is held. Else `waker` is
    /// remembered in place of the former one.
    pub(crate) fn poll(&self, ticket: &Ticket, waker: &Waker) -> Poll<Result<()>> {
        let mut shard = self.shard(ticket.frame).lock();
        let index = shard.position(ticket);
        if shard.entries[index].served.is_some() {
            Poll::Ready(shard.entries.remove(index).served.unwrap_or(Ok(())))
        } else {
            shard.entries[index].waker.clone_from(waker);
            Poll::Pending
        }
    }

    /// Leaves the line. A latch that was handed over meanwhile is released to the next.
    pub(crate) fn cancel(&self, ticket: &Ticket, frame: &Frame) {
        let mut wakers = Wakers::new();
        {
            let mut shard = self.shard(ticket.frame).lock();
            let index = shard.position(ticket);
            let entry = shard.entries.remove(index);
            let served = entry.served.filter(|_| !seeded!("latch_kept_by_who_left"));
            match (entry.want, served) {
                (Want::Shared, Some(_)) => drop(frame.state.update(State::unlatch_shared)),
                (Want::Exclusive, Some(_)) => drop(frame.state.update(|s| s.unlatch_exclusive(false))),
                _ => {}
            }
            if entry.want.is_latch() {
                shard.hand_over(ticket.frame, frame, &mut wakers);
            } else {
                let others = shard.unserved(ticket.frame).any(|e| !e.want.is_latch());
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
            for entry in shard.entries.iter_mut().filter(|e| e.frame == no && e.served.is_none()) {
                if entry.want.is_latch() {
                    continue;
                }
                // A read and a write cannot be under way together, but the next I/O may have begun already.
                if entry.want.must_wait(state) {
                    others = true;
                } else {
                    entry.served = Some(outcome.clone());
                    wakers.push(entry.waker.clone());
                }
            }
            frame.state.update(|s| s.set_io_waiters(others));
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Hands the latch on. Called by whoever released one and saw LATCH_WAITERS in the word.
    pub(crate) fn latch_released(&self, no: FrameNo, frame: &Frame) {
        let mut wakers = Wakers::new();
        self.shard(no).lock().hand_over(no, frame, &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether the frame's bits say what its list says: invariant 1.
    pub(super) fn agrees(&self, no: FrameNo, frame: &Frame) -> bool {
        let shard = self.shard(no).lock();
        let is_listed = |latch| shard.unserved(no).any(|entry| entry.want.is_latch() == latch);
        let state = frame.state.load();
        (state.has_latch_waiters(), state.has_io_waiters()) == (is_listed(true), is_listed(false))
    }

    fn shard(&self, frame: FrameNo) -> &Mutex<Shard> {
        &self.shards[frame.index() % SHARDS]
    }
}

impl Shard {
    fn position(&self, ticket: &Ticket) -> usize {
        let found = self.entries.iter().position(|entry| entry.number == ticket.number);
        found.expect("a ticket is in its list until it is collected or cancelled")
    }

    fn unserved(&self, frame: FrameNo) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |e| e.frame == frame && e.served.is_none())
    }

    /// Gives the latch to the first in line and, if that one shares it, to those right behind who share it too.
    fn hand_over(&mut self, no: FrameNo, frame: &Frame, wakers: &mut Wakers) {
        loop {
            let mut line =
                self.entries.iter_mut().filter(|e| e.frame == no && e.served.is_none() && e.want.is_latch());
            let Some(first) = line.next() else {
                frame.state.update(|s| s.set_latch_waiters(false));
                return;
            };
            let others = line.next().is_some();
            let grant = |s: State| match first.want {
                Want::Exclusive => s.hand_over_exclusive(),
                _ => s.hand_over_shared(),
            };
            let granted = frame.state.try_update(|s| grant(s).map(|s| s.set_latch_waiters(others)));
            if granted.is_err() {
                return; // Held: whoever releases it comes here.
            }
            let first = self
                .entries
                .iter_mut()
                .find(|e| e.frame == no && e.served.is_none() && e.want.is_latch())
                .expect("the line has not changed under the lock");
            first.served = Some(Ok(()));
            wakers.push(first.waker.clone());
            if first.want == Want::Exclusive {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;
    use crate::error::Error;

    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Bench {
        waiters: Waiters,
        frame: Frame,
        woken: Arc<Woken>,
    }

    const NO: FrameNo = FrameNo(7);

    impl Bench {
        /// A valid frame with nine pins.
        fn new() -> Self {
            let frame = Frame::new();
            frame.state.update(|s| s.claim().unwrap().begin_read(false).end_read(true));
            for _ in 0..8 {
                frame.state.update(|s| s.pin().unwrap());
            }
            Self { waiters: Waiters::new(), frame, woken: Arc::new(Woken(AtomicUsize::new(0))) }
        }

        fn waker(&self) -> Waker {
            Waker::from(self.woken.clone())
        }

        fn enlist(&self, want: Want) -> Option<Ticket> {
            self.waiters.enlist(NO, &self.frame, want, &self.waker())
        }

        fn is_served(&self, ticket: &Ticket) -> bool {
            self.waiters.poll(ticket, &self.waker()).is_ready()
        }

        fn release_exclusive(&self) {
            if self.frame.state.update(|s| s.unlatch_exclusive(false)).has_latch_waiters() {
                self.waiters.latch_released(NO, &self.frame);
            }
        }

        fn release_shared(&self) {
            if self.frame.state.update(State::unlatch_shared).has_latch_waiters() {
                self.waiters.latch_released(NO, &self.frame);
            }
        }
    }

    #[test]
    fn who_need_not_wait_is_not_listed() {
        let bench = Bench::new();
        for want in [Want::ReadDone, Want::WriteDone, Want::Settled, Want::Shared, Want::Exclusive] {
            assert_eq!(bench.enlist(want), None, "{want:?}");
        }
    }

    #[test]
    fn latches_go_round_in_order_of_arrival_readers_together() {
        let bench = Bench::new();
        bench.frame.state.update(|s| s.latch_exclusive().unwrap());
        let [first, second, third, fourth] = [Want::Shared, Want::Shared, Want::Exclusive, Want::Shared]
            .map(|want| bench.enlist(want).unwrap());
        bench.release_exclusive();
        assert!(bench.is_served(&first) && bench.is_served(&second));
        assert!(!bench.is_served(&third) && !bench.is_served(&fourth), "a reader must not overtake a writer");
        bench.release_shared();
        assert!(!bench.is_served(&third));
        bench.release_shared();
        assert!(bench.is_served(&third) && !bench.is_served(&fourth));
        bench.release_exclusive();
        assert!(bench.is_served(&fourth));
        bench.release_shared();
        assert!(!bench.frame.state.load().has_latch_waiters(), "the line is empty");
        assert_eq!(bench.woken.0.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn a_cancelled_waiter_neither_keeps_the_latch_nor_blocks_the_line() {
        let bench = Bench::new();
        bench.frame.state.update(|s| s.latch_shared().unwrap());
        let [writer, reader] = [Want::Exclusive, Want::Shared].map(|want| bench.enlist(want).unwrap());
        bench.waiters.cancel(&writer, &bench.frame);
        assert!(bench.is_served(&reader), "nothing stands between the readers any more");
        let late = bench.enlist(Want::Exclusive).unwrap();
        bench.release_shared();
        bench.release_shared();
        assert!(bench.frame.state.load().latch_shared().is_none(), "handed over");
        bench.waiters.cancel(&late, &bench.frame);
        assert!(bench.frame.state.load().latch_shared().is_some(), "given back");
    }

    #[test]
    fn every_waiter_of_a_failed_read_gets_the_error() {
        let bench = Bench::new();
        let frame = Frame::new();
        frame.state.update(|s| s.claim().unwrap().begin_read(false));
        let enlist = || bench.waiters.enlist(NO, &frame, Want::ReadDone, &bench.waker()).unwrap();
        let tickets = [enlist(), enlist(), enlist()];
        assert!(frame.state.update(State::fail_read).has_io_waiters());
        bench.waiters.io_done(NO, &frame, &Err(Error::ShutDown));
        for ticket in &tickets {
            assert!(matches!(bench.waiters.poll(ticket, &bench.waker()), Poll::Ready(Err(Error::ShutDown))));
        }
        assert!(!frame.state.load().has_io_waiters());
        assert_eq!(bench.woken.0.load(Ordering::Relaxed), 3);
    }
}
