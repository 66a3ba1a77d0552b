//! The submission worker: one thread that owns a ring, from its set-up to its end.
//!
//! In its loop it moves requests from the inbox into the ring and completions out of it, and sleeps if there are neither. How it makes batches
//! without delay, and what becomes of the requests of a ring that is lost, is told in `design/io.md`. No thread wakes it during a *bounded
//! wait* ([`BOUNDED_WAIT`]); after one that brought nothing it sleeps until anything happens, so that a disk that hangs does not hold up
//! requests for another.
//!
//! Invariants: only the worker touches the ring; a request is in exactly one place, the inbox or the ring; what is taken is submitted
//! before the worker sleeps or finishes anything; the worker ends only when both are empty and the backlog is closed. Where a ring does not
//! tell any more how a transfer went, the same transfer is made again once the kernel is [done](super::witness) with it: a read may be
//! repeated, and so may a write whose bytes are lent all the while.
//!
//! Lock order: the inbox, a leaf.

use std::{
    io, iter, mem,
    os::fd::{AsRawFd, RawFd},
    sync::{OnceLock, mpsc},
};

use super::{
    ring::{Ring, RingWait, WakeEvent},
    setup::{self, Abilities},
};
use crate::{
    events,
    id::FileId,
    io::{
        backlog::{Backlog, BacklogLimits},
        method::{Chunk, Method, threads::Threads},
        operation::{Lease, Operation},
        options::{Scheduling, UringOptions},
    },
    observe::{Counter, Counters},
    sync::{Arc, Mutex, callback, thread::JoinHandle, time::Duration},
};

/// A bounded wait ends when one in `BOUNDED_WAIT_SHARE` of the requests in flight has completed.
const BOUNDED_WAIT_SHARE: usize = 8;
/// The most completions that a bounded wait waits for: further ones would save next to nothing.
const BOUNDED_WAIT_MOST: usize = 8;
const BOUNDED_WAIT: Duration = Duration::from_micros(200);

/// How long to wait for the end of a lost ring with nothing in flight, so that its wake event can be freed.
const WAKE_EVENT_PATIENCE: Duration = Duration::from_secs(1);

/// How many requests may wait for each that can be in flight.
const QUEUED_PER_SLOT: usize = 4;

/// The ring's descriptor, as long as the worker lives, and what the ring can do.
pub(super) type SetupReport = Result<(RawFd, Abilities), String>;

/// One ring, the thread that owns it, and what that shares with the threads that hand requests over.
pub(super) struct UringWorker<L: Lease> {
    /// The thread, until it is waited for.
    pub(super) handle: Mutex<Option<JoinHandle<()>>>,
    pub(super) inbox: Mutex<Inbox<L>>,
    pub(super) wake_event: Arc<WakeEvent>,
    /// Why the ring can no longer be used, once that is so.
    pub(super) lost: OnceLock<String>,
    /// Does by plain calls what a ring cannot.
    beside: Arc<Threads<L>>,
    pub(super) counters: Arc<Counters>,
}

/// What other threads have brought the worker.
pub(super) struct Inbox<L: Lease> {
    pub(super) backlog: Backlog<L>,
    /// What it is to do to its ring; `None` when that is gone.
    errands: Option<Vec<Errand>>,
}

/// What the worker is to do to its ring beside requests.
pub(super) enum Errand {
    /// The file is closed: the ring is to release it.
    Forget(FileId),
    /// The registered buffer of this number is another from here on; the thread that waits is told what came of it.
    SetChunk(u16, Chunk, mpsc::SyncSender<io::Result<()>>),
}

impl<L: Lease> UringWorker<L> {
    pub(super) fn new(
        options: &UringOptions,
        scheduling: &Scheduling,
        beside: Arc<Threads<L>>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let in_flight = options.queue_depth as usize;
        let waiting = QUEUED_PER_SLOT * in_flight;
        let Scheduling { combine, background } = *scheduling;
        let backlog = Backlog::new(BacklogLimits { waiting, in_flight, background, combine });
        Ok(Self {
            handle: Mutex::new(None),
            inbox: Mutex::new(Inbox { backlog, errands: Some(Vec::new()) }),
            wake_event: Arc::new(WakeEvent::new()?),
            lost: OnceLock::new(),
            beside,
            counters,
        })
    }

    pub(super) fn run(
        &self,
        options: &UringOptions,
        chunks: &[Chunk],
        registered_with: Option<RawFd>,
        report: &mpsc::SyncSender<SetupReport>,
    ) {
        let (mut uring, witness, abilities) = match setup::open(options, chunks, registered_with) {
            Ok(opened) => opened,
            Err(refusal) => return drop(report.send(Err(refusal))),
        };
        let fd = uring.as_raw_fd();
        let (wake_event, counters) = (Arc::clone(&self.wake_event), Arc::clone(&self.counters));
        let mut ring = Ring::new(&mut uring, &abilities, options.queue_depth, wake_event, counters);
        let has_bounded_waits = abilities.timed_waits;
        if report.send(Ok((fd, abilities))).is_ok() {
            let starting = Vec::with_capacity(ring.room());
            let service = RunLoop {
                shared: self,
                ring: &mut ring,
                has_bounded_waits,
                bounded_wait_pays: has_bounded_waits,
                starting,
            };
            self.end(callback::contained(|| service.run()));
        }
        let mut untaken = ring.take_back();
        if seeded!("untaken_requests_forgotten") {
            untaken.clear();
        }
        self.do_beside(&mut untaken);
        ring.drain(|elsewhere| self.do_beside(elsewhere));
        let (mut requests, wake_event) = ring.into_rest();
        drop(uring);
        if !requests.is_empty() {
            witness.wait();
            self.do_beside(&mut requests);
        } else if let Some(wake_event) = wake_event
            && !witness.ends_within(WAKE_EVENT_PATIENCE)
        {
            // A forked process has the ring open, too: its end is not waited for.
            mem::forget(wake_event);
        }
    }

    /// Ends the worker: the ring has served its time, or is lost.
    fn end(&self, served: Result<io::Result<()>, callback::Panicked>) {
        let lost = match served {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("io_uring_enter: {error}")),
            Err(_) => Some("the thread of the ring panicked".to_owned()),
        };
        if let Some(reason) = lost {
            events::ring_lost(&self.counters.pool, &reason);
            // From here on no request comes any more; one that was on the way finds the backlog closed.
            let _ = self.lost.set(reason);
        }
        let mut inbox = self.inbox.lock();
        inbox.backlog.close();
        let mut waiting = inbox.backlog.take_all();
        // The threads that wait for one are told by its end.
        let late = inbox.errands.take();
        drop(inbox);
        drop(late);
        self.do_beside(&mut waiting);
    }

    fn do_beside(&self, requests: &mut Vec<Operation<L>>) {
        if !requests.is_empty() {
            self.counters.add(Counter::Aside, requests.len() as u64);
            self.beside.submit(requests);
        }
    }

    /// Has the worker run an errand, unless its ring is gone.
    pub(super) fn send(&self, errand: Errand) {
        if let Some(errands) = &mut self.inbox.lock().errands {
            errands.push(errand);
        }
        self.wake_event.signal();
    }
}

struct RunLoop<'s, 'r, L: Lease> {
    shared: &'s UringWorker<L>,
    ring: &'s mut Ring<'r, L>,
    has_bounded_waits: bool,
    /// Whether the last bounded wait brought something.
    bounded_wait_pays: bool,
    /// Empty, but while requests are taken out of the backlog.
    starting: Vec<Operation<L>>,
}

impl<L: Lease> RunLoop<'_, '_, L> {
    /// Runs until the backlog is closed and everything is over; an error where the ring is of no use any more.
    fn run(mut self) -> io::Result<()> {
        loop {
            self.take_in();
            if self.ring.in_flight() == 0 && self.shared.inbox.lock().backlog.is_finished() {
                return Ok(());
            }
            let was_bounded = self.submit_and_wait()?;
            let completions = self.ring.reap();
            self.bounded_wait_pays =
                if completions > 0 { self.has_bounded_waits } else { self.bounded_wait_pays && !was_bounded };
            // Finishing wakes callers, which takes a while: the device gets its next requests first.
            if self.take_in() {
                self.ring.enter(RingWait::No)?;
            }
            self.ring.finish();
            self.shared.do_beside(self.ring.elsewhere());
        }
    }

    /// Submits what is prepared and waits for what comes next. Returns whether that was a bounded wait.
    fn submit_and_wait(&mut self) -> io::Result<bool> {
        let enough = (self.ring.in_flight() / BOUNDED_WAIT_SHARE).min(BOUNDED_WAIT_MOST);
        let is_bounded = self.bounded_wait_pays && enough > 1;
        if is_bounded {
            self.ring.enter(RingWait::Several(enough, BOUNDED_WAIT))?;
        } else if self.ring.room() == 0 {
            // Whatever is wanted, something in flight must end first; so no thread needs to wake the worker.
            self.ring.enter(RingWait::One)?;
        } else {
            let may_sleep = self.shared.wake_event.sleeper.may_sleep(|| self.has_news());
            let entered = if may_sleep { self.ring.enter(RingWait::One) } else { Ok(()) };
            self.shared.wake_event.sleeper.wake_up();
            entered?;
        }
        Ok(is_bounded)
    }

    /// Counts what came out as over, prepares what may go now, as far as there is room, and runs errands. Returns whether anything is
    /// prepared.
    fn take_in(&mut self) -> bool {
        let Self { shared, ring, starting, .. } = self;
        let mut inbox = shared.inbox.lock();
        let Inbox { backlog, errands } = &mut *inbox;
        ring.landed().for_each(|operation| backlog.end(operation.file.id, operation.urgency));
        starting.extend(iter::from_fn(|| backlog.next()).take(ring.room()));
        let errands = errands.as_mut().map(mem::take);
        drop(inbox);
        let any = !starting.is_empty();
        starting.drain(..).for_each(|operation| ring.start(operation));
        for errand in errands.into_iter().flatten() {
            match errand {
                Errand::Forget(file) => ring.forget(file),
                // The thread that sent it may have gone meanwhile.
                Errand::SetChunk(number, chunk, done) => drop(done.send(ring.set_chunk(number, chunk))),
            }
        }
        any
    }

    fn has_news(&self) -> bool {
        let Inbox { backlog, errands } = &mut *self.shared.inbox.lock();
        backlog.has_next()
            || errands.as_ref().is_some_and(|errands| !errands.is_empty())
            || self.ring.in_flight() == 0 && backlog.is_finished()
    }
}
