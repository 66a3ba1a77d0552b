//! Threads that transfer one request each at a time: the `worker` method, and those beside a ring that serve the files that would
//! block it.
//!
//! Invariants: a request is in exactly one place, the queue or a thread; a lease that panics in `finish` costs its own request
//! and those joined to it; after `shutdown` every request that was admitted is finished. While the system gives no
//! [thread](ThreadPool) at all, the threads that submit do the work.
//!
//! Lock order: the lock of the pool of threads, a leaf.

use std::{io, marker::PhantomData};

use crate::{
    events,
    io::{
        backlog::{Backlog, BacklogLimits},
        file::File,
        method::{Method, MethodChange, calling_thread},
        operation::{Lease, Operation},
        options::Scheduling,
        report::MethodKind,
    },
    observe::{Counter, Counters},
    sync::{
        Arc, callback,
        thread::ThreadId,
        thread_pool::{ThreadLimits, ThreadPool, Workload},
        time,
        uncontrolled::{AtomicBool, Ordering},
        waking::Wakers,
    },
};

const QUEUED_PER_THREAD: usize = 32;

pub(crate) struct Threads<L: Lease>(ThreadPool<Transfers<L>>);

struct Transfers<L> {
    counters: Arc<Counters>,
    told_of_refusal: AtomicBool,
    lease: PhantomData<fn(L)>,
}

impl<L: Lease> Threads<L> {
    /// Makes a pool without threads: they are started when there is work.
    pub(crate) fn on_demand(limits: ThreadLimits, scheduling: &Scheduling, counters: Arc<Counters>) -> Self {
        let in_flight = limits.most;
        let waiting = in_flight * QUEUED_PER_THREAD;
        let (background, combine) = (usize::MAX, scheduling.combine);
        Self::with_backlog(limits, BacklogLimits { waiting, in_flight, background, combine }, counters)
    }

    fn with_backlog(limits: ThreadLimits, backlog: BacklogLimits, counters: Arc<Counters>) -> Self {
        let transfers = Transfers { counters, told_of_refusal: AtomicBool::new(false), lease: PhantomData };
        Self(ThreadPool::new(limits, transfers, Backlog::new(backlog)))
    }

    /// Starts `threads` of them, or as many as the system grants; an error if it grants none.
    pub(crate) fn open(threads: u32, scheduling: &Scheduling, counters: Arc<Counters>) -> io::Result<Self> {
        let limits = ThreadLimits { name: "ringpool-io", most: threads as usize, idle: None };
        let opened = Self::on_demand(limits, scheduling, counters);
        opened.0.start_all()?;
        Ok(opened)
    }

    fn counters(&self) -> &Counters {
        &self.0.workload().counters
    }

    #[cold]
    fn tell_that_there_is_none(&self) {
        if let Some(reason) = self.0.refusal()
            && !self.0.workload().told_of_refusal.swap(true, Ordering::Relaxed)
        {
            events::no_io_thread(&self.counters().pool, &reason);
        }
    }
}

impl<L: Lease> Workload for Transfers<L> {
    type Queue = Backlog<L>;
    type Work = Operation<L>;

    fn next(&self, backlog: &mut Backlog<L>) -> Option<Self::Work> {
        backlog.next()
    }

    fn has_next(&self, backlog: &mut Backlog<L>) -> bool {
        backlog.has_next()
    }

    fn is_finished(&self, backlog: &Backlog<L>) -> bool {
        backlog.is_finished()
    }

    /// Transfers an operation and finishes it. It stops counting as in flight first, whatever happens: a caller that waits for it
    /// may close the file next.
    fn carry_out(&self, operation: Operation<L>, pool: &ThreadPool<Self>) {
        let (file, urgency) = (operation.file.id, operation.urgency);
        let transferred = callback::contained(|| calling_thread::transfer(&operation, &self.counters));
        let outcome = transferred.unwrap_or_else(|_| Err(io::Error::other("the transfer has panicked")));
        let is_late = seeded!("place_given_back_late");
        if !is_late {
            pool.lock().queue.end(file, urgency);
        }
        operation.finish(outcome, time::now(), &mut Wakers::new());
        if is_late {
            pool.lock().queue.end(file, urgency);
        }
    }
}

impl<L: Lease> Method<L> for Threads<L> {
    fn submit_each(&self, requests: &mut dyn Iterator<Item = Operation<L>>) {
        loop {
            let mut state = self.0.lock();
            let (queued, refused) = state.queue.admit(requests, self.counters());
            let is_served = queued == 0 || self.0.call(&mut state, queued);
            drop(state);
            if !is_served && !seeded!("work_of_refused_threads_left") {
                self.tell_that_there_is_none();
                self.0.help_out(|| self.counters().add(Counter::Inline, 1));
            }
            let Some(refused) = refused else { return };
            calling_thread::run(refused, self.counters());
        }
    }

    fn room(&self, _file: &File) -> usize {
        self.0.lock().queue.room()
    }

    fn forget(&self, file: &File) {
        self.0.lock().queue.forget(file.id);
    }

    fn shutdown(&self) {
        self.0.lock().queue.close();
        self.0.wake_all();
        // The last lease may own the pool, so that this is one of the threads: it ends by itself.
        self.0.wait_until_gone();
    }

    fn has(&self, thread: ThreadId) -> bool {
        self.0.has(thread)
    }

    fn change(&self) -> Option<MethodChange> {
        self.0.refusal().map(|reason| MethodChange { in_use: MethodKind::Sync, reason })
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
    use crate::sync::thread;
    use crate::{
        id::{FileId, PageSize},
        io::{
            buffers::Direction,
            file::open_options::OpenOptions,
            operation::Urgency,
            tests::support::{FakeDisk, SCHEDULING, TestArena, TestLease, TransferReport, set_urgency},
        },
        testing::{Op, SimDisk},
    };
    use std::{path::Path, sync::mpsc};

    fn threads_of(most: usize, waiting: usize, counters: Arc<Counters>) -> Threads<TestLease> {
        let limits = ThreadLimits { name: "ringpool-test", most, idle: None };
        let backlog = BacklogLimits { waiting, in_flight: most, background: usize::MAX, combine: 0 };
        Threads::with_backlog(limits, backlog, counters)
    }

    #[test]
    fn a_full_queue_slows_its_submitters_and_loses_nothing() {
        const REQUESTS: u64 = 10_000;
        let disk = FakeDisk::stamped(64 * 512);
        let file = Arc::new(disk.open_file(512).unwrap());
        let counters = Arc::new(Counters::new());
        let threads = threads_of(2, 4, Arc::clone(&counters));
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
        let threads = Threads::open(1, &SCHEDULING, Arc::new(Counters::new())).unwrap();
        let arena = TestArena::new(16 * 512);
        let mut bad = arena.request(Direction::Read, &file, 0, &[512]);
        bad.lease.panic_in_finish();
        threads.submit(&mut vec![bad, arena.request(Direction::Read, &file, 512, &[512])]);
        arena.expect_dropped(1);
        arena.expect_reads(1);
    }

    #[test]
    fn a_thread_that_leaves_something_that_could_go_calls_one_more() {
        let disk = SimDisk::new();
        let open = |n: u32| {
            let path = n.to_string();
            disk.put(&path, vec![0; 64 * 512]);
            let (size, options) = (PageSize::new(512).unwrap(), OpenOptions::new());
            Arc::new(File::open(&disk, FileId(n), Path::new(&path), &options, size).unwrap())
        };
        let files = [0, 1, 2].map(open);
        let threads = threads_of(8, 64, Arc::new(Counters::new()));
        let arena = TestArena::new(64 * 512);
        let ahead = |file: usize, block| {
            let mut request = arena.request(Direction::Read, &files[file], block * 512, &[512]);
            let awaited = set_urgency(&mut request, Urgency::Background);
            threads.submit_one(request);
            awaited
        };
        let gate = disk.hold(Op::Read);
        // As many reads ahead as may be in flight, and two more.
        for n in 0..6 {
            ahead(n % 2, 2 * n as u64);
        }
        gate.wait_for(6);
        let awaited = [ahead(0, 40), ahead(1, 40)];
        // The threads that were called for these have found nothing to do, and sleep.
        while threads.0.awake() > 6 {
            thread::yield_now();
        }
        awaited.iter().for_each(|awaited| awaited.store(true, Ordering::SeqCst));
        // The thread that comes for this one finds that the two have become demands. It takes one of the three, and calls another thread.
        threads.submit_one(arena.request(Direction::Read, &files[2], 0, &[512]));
        gate.wait_for(8);
        gate.open();
        (0..9).for_each(|_| {
            assert!(matches!(arena.next_report(), TransferReport::Finished { outcome: Ok(512), .. }));
        });
    }

    #[test]
    #[cfg(not(any(loom, shuttle)))]
    fn c7_where_no_thread_can_be_had_the_caller_transfers() {
        let disk = FakeDisk::stamped(64 * 512);
        let file = Arc::new(disk.open_file(512).unwrap());
        let counters = Arc::new(Counters::new());
        let threads = threads_of(4, 64, Arc::clone(&counters));
        let arena = TestArena::new(64 * 512);
        let submit = |blocks: std::ops::Range<u64>| {
            let read = |block| arena.request(Direction::Read, &file, block * 512, &[512]);
            threads.submit(&mut blocks.map(read).collect());
        };
        thread::refused(0, u64::MAX, || submit(0..6));
        assert_eq!(counters.get(Counter::Inline), 6);
        let change = threads.change().expect("no thread is there");
        assert!(change.in_use == MethodKind::Sync && change.reason.contains("ringpool-test"), "{change:?}");
        arena.expect_reads(6);
        // The pool tries again after pauses of 2, 4, 8 and then 16 ms. Then one thread is started, and the next is not: the
        // caller does what that would have done.
        let begun = time::now();
        thread::refused(0, 9, || {
            while threads.change().is_some() {
                submit(0..1);
                arena.expect_reads(1);
                arena.reuse();
            }
        });
        let took = begun.elapsed();
        assert!(took >= time::Duration::from_millis(2 + 4 + 8 + 6 * 16), "nine refusals in {took:?}");
        thread::refused(0, u64::MAX, || submit(6..12));
        arena.expect_reads(6);
        assert_eq!(threads.change(), None);
    }

    /// A thread that waits for a request may close its file next, and then nothing of the file must be left here.
    #[test]
    fn a_place_is_given_back_before_its_request_ends() {
        let disk = FakeDisk::stamped(64 * 512);
        let threads = threads_of(1, 64, Arc::new(Counters::new()));
        let arena = TestArena::new(64 * 512);
        let file = Arc::new(disk.open_file(512).unwrap());
        let (ending, is_ending) = mpsc::channel();
        let (looked, was_looked_at) = mpsc::channel();
        let mut request = arena.request(Direction::Read, &file, 0, &[512]);
        request.lease.before_finish(move || {
            ending.send(()).unwrap();
            was_looked_at.recv().unwrap();
        });
        threads.submit_one(request);
        // The worker thread stands at the beginning of the request's end.
        is_ending.recv().unwrap();
        threads.forget(&file);
        let knows = threads.0.lock().queue.knows(file.id);
        looked.send(()).unwrap();
        arena.expect_reads(1);
        assert!(!knows, "the place was held until after the request's end");
    }

    #[test]
    fn c10_a_storage_that_panics_costs_one_request() {
        let disk = FakeDisk::stamped(64 * 512);
        let file = Arc::new(disk.open_file(512).unwrap());
        let threads = threads_of(1, 64, Arc::new(Counters::new()));
        let arena = TestArena::new(64 * 512);
        for _ in 0..3 {
            disk.panic_once();
            threads.submit_one(arena.request(Direction::Read, &file, 0, &[512]));
            assert_eq!(arena.expect_error().kind(), io::ErrorKind::Other);
            threads.forget(&file);
            assert!(!threads.0.lock().queue.knows(file.id), "a line of a closed file is left");
            threads.submit_one(arena.request(Direction::Read, &file, 0, &[512]));
            arena.expect_reads(1);
        }
    }
}
