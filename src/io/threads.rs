//! The `worker` method: threads that transfer one request each at a time.
//!
//! Invariants: a request is in exactly one place, the queue or a thread's hands; a lease that panics in `finish` costs
//! its own request and nobody else's; after `shutdown` every request that was submitted is finished. No locks but the
//! queue's, and one for the handles, which no thread of this method ever waits for.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    io::{
        file::File,
        inline,
        method::Method,
        queue::{Queue, Sleepers},
        request::{Lease, Request},
    },
    stats::{Counter, Counters},
    sync::{
        Arc, Mutex,
        thread::{self, JoinHandle},
    },
};

/// Requests that may wait for each thread.
const QUEUED_PER_THREAD: usize = 32;

/// A pool of threads around [`inline`].
pub(crate) struct Threads<L: Lease> {
    shared: Arc<Shared<L>>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared<L> {
    queue: Queue<Request<L>>,
    sleepers: Sleepers,
    counters: Arc<Counters>,
}

impl<L: Lease> Threads<L> {
    /// Starts `threads` of them, or as many as the system grants; an error if that is none.
    pub(crate) fn open(threads: u32, counters: Arc<Counters>) -> io::Result<Self> {
        Self::with_queue(threads, threads as usize * QUEUED_PER_THREAD, counters)
    }

    fn with_queue(threads: u32, capacity: usize, counters: Arc<Counters>) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { queue: Queue::new(capacity), sleepers: Sleepers::default(), counters });
        let mut handles = Vec::with_capacity(threads as usize);
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            match thread::spawn(format!("ringpool-io-{number}"), move || shared.work()) {
                Ok(handle) => handles.push(handle),
                Err(error) if handles.is_empty() => return Err(error),
                // Fewer do the same work.
                Err(_) => break,
            }
        }
        Ok(Self { shared, handles: Mutex::new(handles) })
    }
}

impl<L: Lease> Shared<L> {
    fn work(&self) {
        loop {
            match self.queue.pop() {
                Some(request) => {
                    // A panic in here has been reported by the hook, and has dropped the lease, which counts as a failure.
                    let _ = catch_unwind(AssertUnwindSafe(|| inline::carry_out(request, &self.counters)));
                }
                None if self.queue.is_closed() => return,
                None => self.sleepers.sleep_unless(|| !self.queue.is_empty() || self.queue.is_closed()),
            }
        }
    }

    /// Takes out what nobody else can be counted on to take out.
    fn drain(&self) {
        while let Some(request) = self.queue.pop() {
            inline::run(request, &self.counters);
        }
    }
}

impl<L: Lease> Method<L> for Threads<L> {
    fn submit(&self, batch: &mut Vec<Request<L>>) {
        let Shared { queue, sleepers, counters } = &*self.shared;
        let mut pushed = 0;
        for request in batch.drain(..) {
            let Err(request) = queue.push(request) else {
                pushed += 1;
                continue;
            };
            // Called before this thread is busy with a transfer: the queue is full and somebody may still sleep.
            sleepers.call(pushed);
            counters.add(Counter::HandedOver, pushed as u64);
            pushed = 0;
            inline::run(request, counters);
        }
        sleepers.call(pushed);
        counters.add(Counter::HandedOver, pushed as u64);
        if queue.is_closed() {
            self.shared.drain();
        }
    }

    fn room(&self) -> usize {
        self.shared.queue.room()
    }

    fn forget(&self, _file: &Arc<File>) {}

    fn shutdown(&self) {
        self.shared.queue.close();
        self.shared.sleepers.call(usize::MAX);
        let handles = std::mem::take(&mut *self.handles.lock());
        for handle in handles {
            // The last lease may own the pool, so that this is one of the threads: it ends by itself.
            if handle.thread().id() != thread::current().id() {
                // An error is a panic, and the hook has reported it.
                let _ = handle.join();
            }
        }
        self.shared.drain();
    }
}

impl<L: Lease> Drop for Threads<L> {
    fn drop(&mut self) {
        self.shutdown();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{
        request::Direction,
        testing::{FakeDisk, TestArena, TestLease},
    };

    #[test]
    fn a_full_queue_slows_its_submitters_and_loses_nothing() {
        const REQUESTS: u64 = 10_000;
        let disk = FakeDisk::stamped(64 * 512);
        let file = Arc::new(disk.open_file(512).unwrap());
        let counters = Arc::new(Counters::new());
        let threads = Threads::with_queue(2, 4, Arc::clone(&counters)).unwrap();
        let arena = TestArena::new(16 * 512);
        let mut left = REQUESTS;
        while left > 0 {
            let mut batch: Vec<_> =
                (0..16).map(|n| arena.request(Direction::Read, &file, n * 512, &[512])).collect();
            threads.submit(&mut batch);
            arena.expect_reads(16);
            arena.reuse();
            left = left.saturating_sub(16);
        }
        let (inline, handed) = (counters.get(Counter::Inline), counters.get(Counter::HandedOver));
        assert_eq!(inline + handed, REQUESTS);
        assert!(inline > 0 && handed > 0, "{inline} inline, {handed} handed over");
    }

    #[test]
    fn a_lease_that_panics_costs_only_itself() {
        let disk = FakeDisk::stamped(64 * 512);
        let file = Arc::new(disk.open_file(512).unwrap());
        let threads = Threads::open(1, Arc::new(Counters::new())).unwrap();
        let arena = TestArena::new(16 * 512);
        let mut bad: Request<TestLease> = arena.request(Direction::Read, &file, 0, &[512]);
        bad.lease.panic_in_finish();
        threads.submit(&mut vec![bad, arena.request(Direction::Read, &file, 512, &[512])]);
        arena.expect_dropped(1);
        arena.expect_reads(1);
    }
}
