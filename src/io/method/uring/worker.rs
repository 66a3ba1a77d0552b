//! The submission worker: one thread that owns a ring, and what other threads do with it.
//!
//! Invariants: only the worker touches the ring; a request is in exactly one place, the queue or the ring; the worker ends
//! only when both are empty and the queue is closed.
//!
//! **A ring may be lost**: its calls are refused for good, or its worker panics. Then the queue is closed, and what was in it,
//! what the kernel has not taken and all that comes later is done by the threads beside the ring. What the kernel has taken is
//! waited for; where the ring does not tell any more how that went, it is closed, and once the kernel is [done](super::witness)
//! with it the same transfers are made again. A read may be repeated, and so may a write whose bytes are lent all the while. So
//! only the statistics tell that there was a ring.
//!
//! Anything else that is to be done to a ring is an [errand](Errand) for its worker. An errand that comes too late finds the ring
//! gone, and with it all that it had registered.
//!
//! Lock order: the queue, and the list of errands; leaves, each taken alone.

use std::{
    io, mem,
    os::fd::{AsRawFd, RawFd},
    sync::{OnceLock, mpsc},
};

use super::{
    doorbell::Doorbell,
    ring::{Ring, RingRemains},
    run_loop::RunLoop,
    setup::{self, Abilities, OpenedRing, Refusal, RingMemory},
};
use crate::{
    error::Result,
    events,
    id::FileId,
    io::{
        backlog::{BacklogLimits, queue::Queue},
        file::File,
        method::{Chunk, Method, calling_thread, threads::Threads},
        operation::{Lease, Operation},
        options::{Scheduling, UringOptions},
    },
    observe::{Counter, Counters},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        callback,
        thread::{self, JoinHandle, ThreadId},
        time::Duration,
    },
};

/// How many requests may wait for each that can be in flight.
const QUEUED_PER_SLOT: usize = 4;

/// How long to wait for the end of a lost ring with nothing in flight, so that its doorbell can be freed.
const DOORBELL_PATIENCE: Duration = Duration::from_secs(1);

/// One ring, with the thread that owns it.
pub(super) struct UringWorker<L: Lease> {
    shared: Arc<RingShared<L>>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

/// The ring's descriptor, as long as the worker lives, and what the ring can do.
type SetupReport = Result<(RawFd, Abilities), Refusal>;

pub(super) struct RingShared<L: Lease> {
    pub(super) queue: Mutex<Queue<L>>,
    pub(super) doorbell: Arc<Doorbell>,
    /// What the worker is to do to its ring; `None` when that is gone.
    errands: Mutex<Option<Vec<Errand>>>,
    any_errands: AtomicBool,
    /// Why the ring can no longer be used, once that is so.
    lost: OnceLock<String>,
    /// Does by plain calls what a ring cannot.
    beside: Arc<Threads<L>>,
    counters: Arc<Counters>,
}

/// What the worker is to do to its ring beside requests.
pub(super) enum Errand {
    /// The file is closed: the ring is to release it.
    Forget(FileId),
    /// The registered buffer of this number is another from here on; the thread that waits is told what came of it.
    SetChunk(u16, Chunk, mpsc::SyncSender<io::Result<()>>),
}

impl<L: Lease> UringWorker<L> {
    /// Starts the worker and waits until its ring is set up, or refused.
    pub(super) fn open(
        options: &UringOptions,
        memory: &RingMemory<'_>,
        scheduling: &Scheduling,
        beside: &Arc<Threads<L>>,
        counters: Arc<Counters>,
    ) -> Result<(Self, RawFd, Abilities), Refusal> {
        let refused = |call| move |source| Refusal::Call { call, source };
        let in_flight = options.queue_depth as usize;
        let limits =
            BacklogLimits { waiting: QUEUED_PER_SLOT * in_flight, in_flight, combine: scheduling.combine };
        let shared = Arc::new(RingShared {
            queue: Mutex::new(Queue::new(limits)),
            doorbell: Arc::new(Doorbell::new().map_err(refused("eventfd"))?),
            errands: Mutex::new(Some(Vec::new())),
            any_errands: AtomicBool::new(false),
            lost: OnceLock::new(),
            beside: Arc::clone(beside),
            counters,
        });
        // The ring is not for shuttle, and neither is this channel: it is used once.
        let (report, reported) = mpsc::sync_channel(1);
        let handle = thread::spawn("ringpool-uring".into(), {
            let (shared, options, scheduling) = (Arc::clone(&shared), options.clone(), *scheduling);
            let (chunks, registered_with) = (memory.chunks.to_vec(), memory.registered_with);
            move || {
                shared.run(&options, &RingMemory { chunks: &chunks, registered_with }, &scheduling, &report);
            }
        })
        .map_err(refused("starting a thread"))?;
        let (fd, abilities) = reported
            .recv()
            .unwrap_or_else(|_| Err(Refusal::Required("the thread that sets up the ring panicked".into())))?;
        Ok((Self { shared, handle: Mutex::new(Some(handle)) }, fd, abilities))
    }

    /// Returns why the ring is of no use any more, once it is not.
    pub(super) fn lost(&self) -> Option<&str> {
        self.shared.lost.get().map(String::as_str)
    }
}

impl<L: Lease> RingShared<L> {
    /// Runs the worker thread.
    fn run(
        &self,
        options: &UringOptions,
        memory: &RingMemory<'_>,
        scheduling: &Scheduling,
        report: &mpsc::SyncSender<SetupReport>,
    ) {
        let OpenedRing { mut uring, witness, abilities } = match setup::open(options, memory) {
            Ok(opened) => opened,
            Err(refusal) => return drop(report.send(Err(refusal))),
        };
        let fd = uring.as_raw_fd();
        let (doorbell, counters) = (Arc::clone(&self.doorbell), Arc::clone(&self.counters));
        let mut ring = Ring::new(&mut uring, &abilities, options.queue_depth, doorbell, counters);
        let can_nap = abilities.timed_waits;
        if report.send(Ok((fd, abilities))).is_ok() {
            let service = RunLoop::new(self, &mut ring, can_nap, scheduling.background);
            self.end(callback::contained(|| service.run()));
        }
        let mut untaken = ring.take_back();
        if seeded!("untaken_requests_forgotten") {
            untaken.clear();
        }
        self.do_beside(&mut untaken);
        ring.drain(|elsewhere| self.do_beside(elsewhere));
        let RingRemains { mut requests, doorbell } = ring.into_rest();
        drop(uring);
        if !requests.is_empty() {
            witness.wait();
            self.do_beside(&mut requests);
        } else if let Some(doorbell) = doorbell
            && !witness.ends_within(DOORBELL_PATIENCE)
        {
            // A forked process has the ring open, too: its end is not waited for.
            mem::forget(doorbell);
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
            // From here on no request comes any more; one that was on the way finds the queue closed.
            let _ = self.lost.set(reason);
        }
        let mut queue = self.queue.lock();
        queue.close();
        let mut waiting = queue.backlog.take_all();
        drop(queue);
        self.do_beside(&mut waiting);
        // The threads that wait for one are told by its end.
        let late = self.errands.lock().take();
        drop(late);
    }

    /// Has these requests done by plain calls.
    pub(super) fn do_beside(&self, requests: &mut Vec<Operation<L>>) {
        if !requests.is_empty() {
            self.counters.add(Counter::Aside, requests.len() as u64);
            self.beside.submit(requests);
        }
    }

    /// Returns whether there are errands to be [run](Self::take_errands).
    pub(super) fn has_errands(&self) -> bool {
        self.any_errands.load(Ordering::SeqCst)
    }

    /// Takes the errands that came since this was last asked.
    pub(super) fn take_errands(&self) -> Vec<Errand> {
        self.any_errands.store(false, Ordering::SeqCst);
        self.errands.lock().as_mut().map(mem::take).unwrap_or_default()
    }

    /// Has the worker run an errand, unless its ring is gone.
    fn send(&self, errand: Errand) {
        if let Some(errands) = self.errands.lock().as_mut() {
            errands.push(errand);
        }
        self.any_errands.store(true, Ordering::SeqCst);
        self.doorbell.ring();
    }

    /// Takes requests in, up to the first that there is no room for, and wakes the worker for them.
    fn admit(&self, requests: &mut dyn Iterator<Item = Operation<L>>) -> Option<Operation<L>> {
        let mut queue = self.queue.lock();
        let admitted = queue.admit(requests, &self.counters);
        // A request that cannot go now can go when something in flight is over, and that wakes the worker anyhow.
        let wake = admitted.queued > 0 && queue.backlog.has_next();
        drop(queue);
        if wake {
            self.doorbell.ring();
        }
        admitted.refused
    }
}

impl<L: Lease> Method<L> for UringWorker<L> {
    fn submit_each(&self, requests: &mut dyn Iterator<Item = Operation<L>>) {
        while let Some(refused) = self.shared.admit(requests) {
            calling_thread::run(refused, &self.shared.counters);
        }
    }

    fn room(&self, _file: &File) -> usize {
        self.shared.queue.lock().room()
    }

    fn forget(&self, file: &File) {
        self.shared.queue.lock().backlog.forget(file.id);
        self.shared.send(Errand::Forget(file.id));
    }

    fn set_chunk(&self, number: u16, chunk: Chunk) -> io::Result<()> {
        let (done, outcome) = mpsc::sync_channel(1);
        self.shared.send(Errand::SetChunk(number, chunk, done));
        // A ring that is gone has nothing registered any more.
        outcome.recv().unwrap_or(Ok(()))
    }

    fn shutdown(&self) {
        self.shared.queue.lock().close();
        self.shared.doorbell.ring();
        let handle = self.handle.lock().take();
        if let Some(handle) = handle {
            // The last lease may own the pool, so that this is the worker: it ends by itself.
            if handle.thread().id() != thread::current().id() {
                // An error is a panic, and the hook has reported it.
                let _ = handle.join();
            }
        }
    }

    fn has(&self, thread: ThreadId) -> bool {
        self.handle.lock().as_ref().is_some_and(|handle| handle.thread().id() == thread)
    }
}

impl<L: Lease> Drop for UringWorker<L> {
    fn drop(&mut self) {
        self.shutdown();
    }
}
