//! The submission worker: one thread that owns the ring and serves everybody.
//!
//! It takes whatever is in the queue, submits it with one call, and finishes whatever has completed. So batches grow with
//! the load by themselves, and a lone request is never held back for others to join it. Under load it may nap: with many
//! requests in flight the next completions are near, so it waits for several, or a moment at most, instead of being woken
//! for each. Nobody rings during a nap. After a nap that brought nothing it sleeps until anything happens, so that a disk
//! that hangs does not hold up requests for another.
//!
//! Invariants: only the worker touches the ring; a request is in exactly one place, the queue or the ring; it ends only
//! when both are empty and the queue is closed. Should it panic, the queue is closed, what is in the queue is dropped
//! (which counts as failure), and later requests are transferred by who asks.
//!
//! Lock order: the list of forgotten files, a leaf.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    time::Duration,
};

use super::{
    doorbell::Doorbell,
    ring::{Ring, Wait},
    setup::{self, Abilities, Refusal},
};
use crate::{
    config::UringOptions,
    io::{
        file::File,
        inline,
        method::{Chunk, Method},
        queue::Queue,
        request::{Lease, Request},
    },
    stats::{Counter, Counters},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        thread::{self, JoinHandle},
    },
};

/// A nap ends when one in so many of the requests in flight has completed.
const NAP_SHARE: usize = 8;
/// The most completions that a nap waits for: further ones would save next to nothing.
const NAP_MOST: usize = 8;
/// The longest nap.
const NAP: Duration = Duration::from_micros(200);

/// The io_uring method.
pub(in crate::io) struct UringWorker<L: Lease> {
    shared: Arc<Shared<L>>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

struct Shared<L> {
    queue: Queue<Request<L>>,
    doorbell: Arc<Doorbell>,
    /// Closed files that the ring may still hold.
    forgotten: Mutex<Vec<Arc<File>>>,
    any_forgotten: AtomicBool,
    counters: Arc<Counters>,
}

impl<L: Lease> UringWorker<L> {
    /// Starts the worker and waits until its ring is set up, or refused.
    pub(in crate::io) fn open(
        options: &UringOptions,
        chunks: &[Chunk],
        counters: Arc<Counters>,
    ) -> Result<(Self, Abilities), Refusal> {
        let refused = |call| move |source| Refusal::Call { call, source };
        let shared = Arc::new(Shared {
            queue: Queue::new(options.queue_depth as usize),
            doorbell: Arc::new(Doorbell::new().map_err(refused("eventfd"))?),
            forgotten: Mutex::new(Vec::new()),
            any_forgotten: AtomicBool::new(false),
            counters,
        });
        // The ring is not for shuttle, and neither is this channel: it is used once.
        let (report, reported) = mpsc::sync_channel(1);
        let (options, chunks) = (options.clone(), chunks.to_vec());
        let handle = thread::spawn("ringpool-uring".into(), {
            let shared = Arc::clone(&shared);
            move || shared.run(&options, &chunks, &report)
        })
        .map_err(refused("starting a thread"))?;
        let abilities = reported
            .recv()
            .unwrap_or_else(|_| Err(Refusal::Required("the thread that sets up the ring panicked".into())))?;
        Ok((Self { shared, handle: Mutex::new(Some(handle)) }, abilities))
    }
}

impl<L: Lease> Shared<L> {
    /// The worker thread.
    fn run(
        &self,
        options: &UringOptions,
        chunks: &[Chunk],
        report: &mpsc::SyncSender<Result<Abilities, Refusal>>,
    ) {
        let served = catch_unwind(AssertUnwindSafe(|| {
            let (mut uring, abilities) = match setup::open(options, chunks) {
                Ok(opened) => opened,
                Err(refusal) => return drop(report.send(Err(refusal))),
            };
            let (doorbell, counters) = (Arc::clone(&self.doorbell), Arc::clone(&self.counters));
            let ring = Ring::new(&mut uring, &abilities, options.queue_depth, doorbell, counters);
            if report.send(Ok(abilities.clone())).is_ok() {
                self.serve(ring, abilities.timed_waits);
            }
        }));
        if served.is_err() {
            self.queue.close();
            while let Some(request) = self.queue.pop() {
                drop(request);
            }
        }
    }

    fn serve(&self, mut ring: Ring<'_, L>, can_nap: bool) {
        let mut may_nap = can_nap;
        loop {
            self.start_queued(&mut ring);
            if self.any_forgotten.load(Ordering::Relaxed) {
                self.forget_files(&mut ring);
            }
            let in_flight = ring.in_flight();
            if in_flight == 0 && self.queue.is_closed() && self.queue.is_empty() {
                return;
            }
            let enough = (in_flight / NAP_SHARE).min(NAP_MOST);
            let naps = may_nap && enough > 1;
            if naps {
                ring.enter(Wait::Several(enough, NAP));
            } else if !ring.has_room() {
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
            if self.start_queued(&mut ring) {
                ring.enter(Wait::No);
            }
            ring.finish();
        }
    }

    /// Prepares what is in the queue, as far as there is room. Gives whether there was anything.
    fn start_queued(&self, ring: &mut Ring<'_, L>) -> bool {
        let mut any = false;
        while ring.has_room()
            && let Some(request) = self.queue.pop()
        {
            ring.start(request);
            any = true;
        }
        any
    }

    /// Whether there is something to do before a sleep.
    fn has_news(&self, ring: &Ring<'_, L>) -> bool {
        !self.queue.is_empty()
            || self.any_forgotten.load(Ordering::SeqCst)
            || ring.in_flight() == 0 && self.queue.is_closed()
    }

    fn forget_files(&self, ring: &mut Ring<'_, L>) {
        self.any_forgotten.store(false, Ordering::SeqCst);
        let files = mem::take(&mut *self.forgotten.lock());
        files.iter().for_each(|file| ring.forget(file));
    }

    /// Takes out what nobody else can be counted on to take out.
    fn drain(&self) {
        while let Some(request) = self.queue.pop() {
            inline::run(request, &self.counters);
        }
    }

    fn hand_over(&self, count: u64) {
        if count > 0 {
            self.counters.add(Counter::HandedOver, count);
            self.doorbell.ring();
        }
    }
}

impl<L: Lease> Method<L> for UringWorker<L> {
    fn submit(&self, batch: &mut Vec<Request<L>>) {
        let shared = &*self.shared;
        let mut pushed = 0;
        for request in batch.drain(..) {
            let refused = match request.file.disk.raw_fd() {
                Some(_) => shared.queue.push(request).err(),
                None => Some(request),
            };
            let Some(request) = refused else {
                pushed += 1;
                continue;
            };
            // Rung before this thread is busy with a transfer.
            shared.hand_over(mem::take(&mut pushed));
            inline::run(request, &shared.counters);
        }
        shared.hand_over(pushed);
        if shared.queue.is_closed() {
            shared.drain();
        }
    }

    fn room(&self) -> usize {
        self.shared.queue.room()
    }

    fn forget(&self, file: &Arc<File>) {
        if file.ring_slot() == File::NO_SLOT || self.shared.queue.is_closed() {
            return;
        }
        self.shared.forgotten.lock().push(Arc::clone(file));
        self.shared.any_forgotten.store(true, Ordering::SeqCst);
        self.shared.doorbell.ring();
    }

    fn shutdown(&self) {
        self.shared.queue.close();
        self.shared.doorbell.ring();
        let handle = self.handle.lock().take();
        if let Some(handle) = handle {
            // The last lease may own the pool, so that this is the worker: it ends by itself.
            if handle.thread().id() != thread::current().id() {
                // An error is a panic, and the hook has reported it.
                let _ = handle.join();
            }
        }
        self.shared.drain();
        // The ring is gone, and with it its hold on files.
        self.shared.forgotten.lock().clear();
    }
}

impl<L: Lease> Drop for UringWorker<L> {
    fn drop(&mut self) {
        self.shutdown();
    }
}
