//! The method as other threads see it: the workers, which request goes to which of them, and which to [threads](Threads) beside the rings.
//!
//! Requests for one stretch of a file go to one worker, so that those that touch can be joined there. Those that would block a worker, and
//! those of a ring that is lost, go to the threads.

use std::{io, iter, os::fd::RawFd, sync::mpsc};

use super::{
    setup::{Abilities, refused},
    worker::{Errand, SetupReport, UringWorker},
};
use crate::{
    io::{
        file::File,
        method::{Chunk, Method, MethodChange, calling_thread, threads::Threads},
        operation::{Lease, Operation},
        options::{Scheduling, UringOptions},
        report::{MethodKind, Registration},
    },
    observe::{Counter, Counters},
    sync::{
        Arc,
        thread::{self, ThreadId},
        thread_pool::ThreadLimits,
        time::Duration,
    },
};

/// The threads for files that would block a worker.
const ASIDE: ThreadLimits =
    ThreadLimits { name: "ringpool-aside", most: 8, idle: Some(Duration::from_secs(5)) };

/// Bytes of a file, a power of two, that go to one worker.
const STRETCH: u64 = 4 << 20;

pub(in crate::io) struct Uring<L: Lease> {
    workers: Vec<Arc<UringWorker<L>>>,
    aside: Arc<Threads<L>>,
    counters: Arc<Counters>,
}

impl<L: Lease> Uring<L> {
    /// Starts the workers and waits until their rings are set up, or one is refused.
    pub(in crate::io) fn open(
        options: &UringOptions,
        chunks: &[Chunk],
        scheduling: &Scheduling,
        counters: &Arc<Counters>,
    ) -> Result<(Self, Abilities), String> {
        let aside = Arc::new(Threads::on_demand(ASIDE, scheduling, Arc::clone(counters)));
        let mut opened = Self { workers: Vec::new(), aside, counters: Arc::clone(counters) };
        let (fd, mut abilities) = opened.start_worker(options, chunks, None, scheduling)?;
        let registered_with = (abilities.fixed_buffers == Registration::InUse).then_some(fd);
        for _ in 1..options.workers {
            abilities.settle_for(opened.start_worker(options, chunks, registered_with, scheduling)?.1);
        }
        Ok((opened, abilities))
    }

    /// Starts one more worker and waits until its ring is set up, or refused.
    fn start_worker(
        &mut self,
        options: &UringOptions,
        chunks: &[Chunk],
        registered_with: Option<RawFd>,
        scheduling: &Scheduling,
    ) -> SetupReport {
        let (beside, counters) = (Arc::clone(&self.aside), Arc::clone(&self.counters));
        let worker = UringWorker::new(options, scheduling, beside, counters).map_err(refused("eventfd"))?;
        let worker = Arc::new(worker);
        // The ring is not for shuttle, and neither is this channel: it is used once.
        let (report, reported) = mpsc::sync_channel(1);
        let handle = thread::spawn("ringpool-uring".into(), {
            let (worker, options, chunks) = (Arc::clone(&worker), options.clone(), chunks.to_vec());
            move || worker.run(&options, &chunks, registered_with, &report)
        })
        .map_err(refused("starting a thread"))?;
        let report =
            reported.recv().unwrap_or_else(|_| Err("the thread that sets up the ring panicked".into()))?;
        *worker.handle.lock() = Some(handle);
        self.workers.push(worker);
        Ok(report)
    }

    /// Returns the number of the worker for a request; `None` if that is for the threads beside the rings.
    fn worker_of(&self, request: &Operation<L>) -> Option<usize> {
        // A file with a bound of its own goes to one queue, which keeps that bound.
        let offset = if request.file.max_in_flight.is_some() { 0 } else { request.offset };
        let number = worker_for(request.file.id.0, offset, self.workers.len());
        (request.file.may_block.is_none() && self.workers[number].lost().is_none()).then_some(number)
    }
}

/// Returns the worker of a stretch of a file: consecutive stretches go round, and files begin at different workers.
fn worker_for(file: u32, offset: u64, workers: usize) -> usize {
    (u64::from(file).wrapping_add(offset / STRETCH) % workers as u64) as usize
}

/// Returns how many of `rings` rings are lost, and why each of them, as text.
fn loss(lost: &[&str], rings: usize) -> Option<String> {
    let mut why = lost.to_vec();
    why.sort_unstable();
    why.dedup();
    let why = why.join(", ");
    match lost.len() {
        0 => None,
        all if all == rings => Some(format!("io_uring was given up: {why}")),
        1 => Some(format!("1 of {rings} rings of io_uring was given up: {why}")),
        some => Some(format!("{some} of {rings} rings of io_uring were given up: {why}")),
    }
}

impl<L: Lease> UringWorker<L> {
    /// Returns why the ring is of no use any more, once it is not.
    fn lost(&self) -> Option<&str> {
        self.lost.get().map(String::as_str)
    }

    fn submit_each(&self, requests: &mut dyn Iterator<Item = Operation<L>>) {
        loop {
            let mut inbox = self.inbox.lock();
            let (queued, refused) = inbox.backlog.admit(requests, &self.counters);
            // A request that cannot go now can go when something in flight is over, and that wakes the worker anyhow.
            let wake = queued > 0 && inbox.backlog.has_next();
            drop(inbox);
            if wake {
                self.wake_event.signal();
            }
            let Some(refused) = refused else { return };
            calling_thread::run(refused, &self.counters);
        }
    }

    fn forget(&self, file: &File) {
        self.inbox.lock().backlog.forget(file.id);
        self.send(Errand::Forget(file.id));
    }

    fn set_chunk(&self, number: u16, chunk: Chunk) -> io::Result<()> {
        let (done, outcome) = mpsc::sync_channel(1);
        self.send(Errand::SetChunk(number, chunk, done));
        // A ring that is gone has nothing registered any more.
        outcome.recv().unwrap_or(Ok(()))
    }

    fn shutdown(&self) {
        self.inbox.lock().backlog.close();
        self.wake_event.signal();
        let handle = self.handle.lock().take();
        if let Some(handle) = handle {
            // The last lease may own the pool, so that this is the worker: it ends by itself.
            if handle.thread().id() != thread::current().id() {
                // An error is a panic, and the hook has reported it.
                let _ = handle.join();
            }
        }
    }

    fn is(&self, thread: ThreadId) -> bool {
        self.handle.lock().as_ref().is_some_and(|handle| handle.thread().id() == thread)
    }
}

impl<L: Lease> Drop for Uring<L> {
    fn drop(&mut self) {
        self.workers.iter().for_each(|worker| worker.shutdown());
    }
}

impl<L: Lease> Method<L> for Uring<L> {
    fn submit_each(&self, requests: &mut dyn Iterator<Item = Operation<L>>) {
        let mut requests = requests.peekable();
        while let Some(worker) = requests.peek().map(|request| self.worker_of(request)) {
            let mut same_way =
                iter::from_fn(|| requests.next_if(|request| self.worker_of(request) == worker));
            match worker {
                Some(number) => self.workers[number].submit_each(&mut same_way),
                None => {
                    let count = || self.counters.add(Counter::Aside, 1);
                    self.aside.submit_each(&mut same_way.inspect(|_| count()));
                }
            }
        }
    }

    fn room(&self, file: &File) -> usize {
        let of_worker = |worker: &Arc<UringWorker<L>>| match worker.lost() {
            None if file.may_block.is_none() => worker.inbox.lock().backlog.room(),
            _ => self.aside.room(file),
        };
        self.workers.iter().map(of_worker).min().unwrap_or(0)
    }

    fn forget(&self, file: &File) {
        self.workers.iter().for_each(|worker| worker.forget(file));
        self.aside.forget(file);
    }

    fn set_chunk(&self, number: u16, chunk: Chunk) -> io::Result<()> {
        // Every ring registers it by itself: cloning it from another ring would need that other ring to be there still.
        self.workers.iter().try_for_each(|worker| worker.set_chunk(number, chunk))
    }

    fn shutdown(&self) {
        self.workers.iter().for_each(|worker| worker.shutdown());
        self.aside.shutdown();
    }

    fn change(&self) -> Option<MethodChange> {
        let lost: Vec<_> = self.workers.iter().filter_map(|worker| worker.lost()).collect();
        let aside = self.aside.change();
        let in_use = match &aside {
            _ if lost.len() < self.workers.len() => MethodKind::Uring,
            None => MethodKind::Worker,
            Some(aside) => aside.in_use,
        };
        let reasons = [loss(&lost, self.workers.len()), aside.map(|aside| aside.reason)];
        let reasons: Vec<_> = reasons.into_iter().flatten().collect();
        let reason = reasons.join("; ");
        (!reasons.is_empty() && !seeded!("lost_ring_not_told")).then_some(MethodChange { in_use, reason })
    }

    fn has(&self, thread: ThreadId) -> bool {
        self.workers.iter().any(|worker| worker.is(thread)) || self.aside.has(thread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rings_that_are_lost_are_counted_and_each_reason_is_told_once() {
        let told = |lost: &[&str], rings| loss(lost, rings).unwrap_or_default();
        assert_eq!(loss(&[], 4), None);
        assert_eq!(told(&["no"], 1), "io_uring was given up: no");
        assert_eq!(told(&["no"], 4), "1 of 4 rings of io_uring was given up: no");
        assert_eq!(told(&["no", "never", "no"], 4), "3 of 4 rings of io_uring were given up: never, no");
        assert_eq!(told(&["no"; 4], 4), "io_uring was given up: no");
    }

    #[test]
    fn neighbours_meet_and_stretches_are_spread() {
        for workers in 1..5 {
            let at = |file, stretch: u64| worker_for(file, stretch * STRETCH, workers);
            assert_eq!(at(3, 7), worker_for(3, 8 * STRETCH - 1, workers));
            let counts = (0..workers).map(|worker| (0..60).filter(|&n| at(3, n) == worker).count());
            assert!(counts.into_iter().all(|count| count == 60 / workers));
            let files = (0..workers).map(|worker| (0..60).filter(|&file| at(file, 0) == worker).count());
            assert!(files.into_iter().all(|count| count == 60 / workers));
        }
    }
}
