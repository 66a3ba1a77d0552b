//! The submission worker: one thread that owns the ring and serves everybody.
//!
//! It takes whatever is in the queue, submits it with one call, and finishes whatever has completed. So batches grow with
//! the load by themselves, and a lone request is never held back for others to join it. Under load it may nap: with many
//! requests in flight the next completions are near, so it waits for several, or a moment at most, instead of being woken
//! for each. Nobody rings during a nap. After a nap that brought nothing it sleeps until anything happens, so that a disk
//! that hangs does not hold up requests for another.
//!
//! Invariants: only the worker touches the ring; a request is in exactly one place, the queue or the ring; the worker ends
//! only when both are empty and the queue is closed. Should it panic, the queue is closed, what is in the queue is dropped
//! (which counts as failure), and later requests are transferred by who asks.
//!
//! Lock order: the queue, and the list of forgotten files; leaves, each taken alone.

use std::{
    iter, mem,
    os::fd::{AsRawFd, RawFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    time::Duration,
};

use super::{
    doorbell::Doorbell,
    ring::{Ring, Wait},
    setup::{self, Abilities, Memory, Refusal},
};
use crate::{
    config::{BackgroundDepth, Scheduling, UringOptions},
    id::FileId,
    io::{
        backlog::{Limits, Place},
        file::File,
        inline,
        method::Method,
        queue::Queue,
        request::{Lease, Request},
    },
    stats::Counters,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        thread::{self, JoinHandle},
    },
};

/// Requests that may wait for each that can be in flight.
const QUEUED_PER_SLOT: usize = 4;
/// A nap ends when one in so many of the requests in flight has completed.
const NAP_SHARE: usize = 8;
/// The most completions that a nap waits for: further ones would save next to nothing.
const NAP_MOST: usize = 8;
/// The longest nap.
const NAP: Duration = Duration::from_micros(200);

/// One ring, with the thread that owns it.
pub(super) struct UringWorker<L: Lease> {
    shared: Arc<Shared<L>>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

/// What came of opening a worker.
#[derive(Debug)]
pub(super) struct Opened {
    /// The ring's descriptor, as long as the worker lives.
    pub(super) fd: RawFd,
    pub(super) abilities: Abilities,
}

struct Shared<L> {
    queue: Mutex<Queue<L>>,
    doorbell: Arc<Doorbell>,
    /// Closed files that the ring may still hold.
    forgotten: Mutex<Vec<FileId>>,
    any_forgotten: AtomicBool,
    counters: Arc<Counters>,
}

impl<L: Lease> UringWorker<L> {
    /// Starts the worker and waits until its ring is set up, or refused.
    pub(super) fn open(
        options: &UringOptions,
        memory: &Memory<'_>,
        scheduling: &Scheduling,
        counters: Arc<Counters>,
    ) -> Result<(Self, Opened), Refusal> {
        let refused = |call| move |source| Refusal::Call { call, source };
        let in_flight = options.queue_depth as usize;
        let limits = Limits { waiting: QUEUED_PER_SLOT * in_flight, in_flight, combine: scheduling.combine };
        let mut queue = Queue::new(limits);
        if let BackgroundDepth::AtMost(requests) = scheduling.background {
            queue.backlog.limit_background(requests as usize);
        }
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            doorbell: Arc::new(Doorbell::new().map_err(refused("eventfd"))?),
            forgotten: Mutex::new(Vec::new()),
            any_forgotten: AtomicBool::new(false),
            counters,
        });
        // The ring is not for shuttle, and neither is this channel: it is used once.
        let (report, reported) = mpsc::sync_channel(1);
        let (options, chunks, clone_of) = (options.clone(), memory.chunks.to_vec(), memory.registered_with);
        let handle = thread::spawn("ringpool-uring".into(), {
            let shared = Arc::clone(&shared);
            move || shared.run(&options, &Memory { chunks: &chunks, registered_with: clone_of }, &report)
        })
        .map_err(refused("starting a thread"))?;
        let opened = reported
            .recv()
            .unwrap_or_else(|_| Err(Refusal::Required("the thread that sets up the ring panicked".into())))?;
        Ok((Self { shared, handle: Mutex::new(Some(handle)) }, opened))
    }
}

impl<L: Lease> Shared<L> {
    /// The worker thread.
    fn run(
        &self,
        options: &UringOptions,
        memory: &Memory<'_>,
        report: &mpsc::SyncSender<Result<Opened, Refusal>>,
    ) {
        let served = catch_unwind(AssertUnwindSafe(|| {
            let (mut uring, abilities) = match setup::open(options, memory) {
                Ok(opened) => opened,
                Err(refusal) => return drop(report.send(Err(refusal))),
            };
            let fd = uring.as_raw_fd();
            let (doorbell, counters) = (Arc::clone(&self.doorbell), Arc::clone(&self.counters));
            let ring = Ring::new(&mut uring, &abilities, options.queue_depth, doorbell, counters);
            let can_nap = abilities.timed_waits;
            if report.send(Ok(Opened { fd, abilities })).is_ok() {
                self.serve(ring, can_nap);
            }
        }));
        if served.is_err() {
            let mut queue = self.queue.lock();
            queue.close();
            let waiting = queue.backlog.take_all();
            drop(queue);
            drop(waiting);
        }
    }

    fn serve(&self, mut ring: Ring<'_, L>, can_nap: bool) {
        let mut may_nap = can_nap;
        let mut starting = Vec::with_capacity(ring.room());
        loop {
            self.start_queued(&mut ring, &mut starting);
            if self.any_forgotten.load(Ordering::Relaxed) {
                self.forget_files(&mut ring);
            }
            let in_flight = ring.in_flight();
            if in_flight == 0 && self.queue.lock().is_finished() {
                return;
            }
            let enough = (in_flight / NAP_SHARE).min(NAP_MOST);
            let naps = may_nap && enough > 1;
            if naps {
                ring.enter(Wait::Several(enough, NAP));
            } else if ring.room() == 0 {
                // Whatever anybody wants, something in flight must end first; so nobody needs to ring.
                ring.enter(Wait::One);
            } else {
                self.doorbell.fall_asleep();
                if !self.has_news(&ring) {
                    ring.enter(Wait::One);
                }
                self.doorbell.wake_up();
            }
            if ring.reap() > 0 {
                may_nap = can_nap;
            } else if naps {
                may_nap = false;
            }
            // Finishing wakes people, which takes a while: the device gets its next requests first.
            if self.start_queued(&mut ring, &mut starting) {
                ring.enter(Wait::No);
            }
            ring.finish();
        }
    }

    /// Gives back the places of what is over, and prepares what can go now, as far as there is room. Gives whether there was
    /// anything. `starting` is empty, before and after.
    fn start_queued(&self, ring: &mut Ring<'_, L>, starting: &mut Vec<(Request<L>, Place)>) -> bool {
        let mut queue = self.queue.lock();
        ring.vacated().for_each(|place| queue.backlog.end(place));
        starting.extend(iter::from_fn(|| queue.backlog.next()).take(ring.room()));
        drop(queue);
        let any = !starting.is_empty();
        starting.drain(..).for_each(|(request, place)| ring.start(request, place));
        any
    }

    /// Whether there is something to do before a sleep.
    fn has_news(&self, ring: &Ring<'_, L>) -> bool {
        let mut queue = self.queue.lock();
        queue.backlog.has_next()
            || self.any_forgotten.load(Ordering::SeqCst)
            || ring.in_flight() == 0 && queue.is_closed()
    }

    fn forget_files(&self, ring: &mut Ring<'_, L>) {
        self.any_forgotten.store(false, Ordering::SeqCst);
        let files = mem::take(&mut *self.forgotten.lock());
        files.into_iter().for_each(|file| ring.forget(file));
    }

    /// Takes requests in, up to the first that there is no room for, and wakes the worker for them.
    fn admit(&self, requests: &mut dyn Iterator<Item = Request<L>>) -> Option<Request<L>> {
        let admitted = self.queue.lock().admit(requests, &self.counters);
        if admitted.queued > 0 {
            self.doorbell.ring();
        }
        admitted.refused
    }
}

impl<L: Lease> Method<L> for UringWorker<L> {
    fn submit_each(&self, requests: &mut dyn Iterator<Item = Request<L>>) {
        while let Some(refused) = self.shared.admit(requests) {
            inline::run(refused, &self.shared.counters);
        }
    }

    fn room(&self, _file: &File) -> usize {
        self.shared.queue.lock().room()
    }

    fn forget(&self, file: &File) {
        let mut queue = self.shared.queue.lock();
        queue.backlog.forget(file.id);
        if queue.is_closed() {
            return;
        }
        drop(queue);
        self.shared.forgotten.lock().push(file.id);
        self.shared.any_forgotten.store(true, Ordering::SeqCst);
        self.shared.doorbell.ring();
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
}

impl<L: Lease> Drop for UringWorker<L> {
    fn drop(&mut self) {
        self.shutdown();
    }
}
