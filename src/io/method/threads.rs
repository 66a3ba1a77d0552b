//! Threads that transfer one request each at a time: the `worker` method, and those who serve beside a ring the files that
//! would block it.
//!
//! Invariants: a request is in exactly one place, the queue or a thread's hands; a lease that panics in `finish` costs its
//! own request and those joined to it; after `shutdown` every request that was admitted is finished. While something can be
//! started, somebody is awake to start it: whoever takes a request and leaves another that could go calls one more.
//!
//! Where the system refuses a thread, the next one is tried after a [pause](Pause), and as long as there is none at all, the threads that
//! submit do the work.
//!
//! Lock order: the desk, a leaf: nothing is called with it held.

use std::io;

use crate::{
    id::FileId,
    io::{
        backlog::{BacklogLimits, queue::Queue},
        file::File,
        method::{
            Method, MethodChange, calling_thread,
            worker_counts::{Summons, WorkerCounts},
        },
        operation::{Lease, Operation, Urgency},
        options::Scheduling,
        report::MethodKind,
    },
    observe::{Counter, Counters},
    sync::{
        Arc, Condvar, Mutex, callback,
        pause::Pause,
        thread::{self, ThreadId},
        time::{self, Duration},
    },
};

/// Requests that may wait for each thread.
const QUEUED_PER_THREAD: usize = 32;

/// A pool of threads around [`calling_thread`].
pub(crate) struct Threads<L: Lease>(Arc<WorkersShared<L>>);

struct WorkersShared<L: Lease> {
    desk: Mutex<WorkersState<L>>,
    /// Somebody was called, or the door was closed.
    called: Condvar,
    /// A thread is gone, or did not come.
    gone: Condvar,
    staff: Staff,
    counters: Arc<Counters>,
}

/// What the threads share.
struct WorkersState<L: Lease> {
    queue: Queue<L>,
    crew: WorkerCounts,
    /// The threads that are at work here.
    present: Vec<ThreadId>,
    /// Why the last thread that was wanted could not be had.
    refused: Option<String>,
    /// Before another one is tried.
    pause: Pause,
}

/// Which threads there are.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Staff {
    pub(crate) name: &'static str,
    /// The most at once.
    pub(crate) most: u32,
    /// How long one stays without work; for ever unless set.
    pub(crate) stays: Option<Duration>,
}

impl<L: Lease> Threads<L> {
    /// None to begin with: they are started when there is work.
    pub(crate) fn on_demand(staff: Staff, scheduling: &Scheduling, counters: Arc<Counters>) -> Self {
        let in_flight = staff.most as usize;
        let limits =
            BacklogLimits { waiting: in_flight * QUEUED_PER_THREAD, in_flight, combine: scheduling.combine };
        Self::with_limits(staff, limits, counters)
    }

    fn with_limits(staff: Staff, limits: BacklogLimits, counters: Arc<Counters>) -> Self {
        let (queue, crew) = (Queue::new(limits), WorkerCounts::new(staff.most as usize));
        let desk = WorkersState { queue, crew, present: Vec::new(), refused: None, pause: Pause::default() };
        let desk = Mutex::new(desk);
        Self(Arc::new(WorkersShared { desk, called: Condvar::new(), gone: Condvar::new(), staff, counters }))
    }

    /// Starts `threads` of them, or as many as the system grants; an error if that is none.
    pub(crate) fn open(threads: u32, scheduling: &Scheduling, counters: Arc<Counters>) -> io::Result<Self> {
        let staff = Staff { name: "ringpool-io", most: threads, stays: None };
        let opened = Self::on_demand(staff, scheduling, counters);
        opened.start_all()?;
        Ok(opened)
    }

    fn start_all(&self) -> io::Result<()> {
        let all = self.0.desk.lock().call(self.0.staff.most as usize);
        let refused = self.0.summon(all);
        match refused {
            Some(error) if self.0.desk.lock().crew.serving() == 0 => Err(error),
            // Fewer do the same work.
            _ => Ok(()),
        }
    }
}

impl<L: Lease> WorkersShared<L> {
    /// Takes requests in, up to the first that there is no room for, and has somebody come for them.
    fn admit(self: &Arc<Self>, requests: &mut dyn Iterator<Item = Operation<L>>) -> Option<Operation<L>> {
        let mut desk = self.desk.lock();
        let admitted = desk.queue.admit(requests, &self.counters);
        let summons = desk.call(admitted.queued);
        let none_is_there = admitted.queued > 0 && desk.crew.serving() == 0;
        drop(desk);
        let refused = self.summon(summons).is_some() || none_is_there;
        if refused && !seeded!("work_of_refused_threads_left") {
            self.help_out();
        }
        admitted.refused
    }

    /// Wakes and starts threads. Gives the system's reason where one cannot be started.
    fn summon(self: &Arc<Self>, Summons { wake, hire }: Summons) -> Option<io::Error> {
        (0..wake).for_each(|_| self.called.notify_one());
        for to_come in (1..=hire).rev() {
            let shared = Arc::clone(self);
            let started = thread::spawn(self.staff.name.to_owned(), move || shared.work());
            let mut desk = self.desk.lock();
            if let Err(error) = started {
                // The others would be refused as well, and a try takes its time.
                desk.crew.refuse(to_come);
                desk.refused = Some(error.to_string());
                desk.pause.lengthen(time::now());
                self.gone.notify_all();
                return Some(error);
            }
            desk.crew.start();
            desk.refused = None;
            desk.pause.end();
        }
        None
    }

    /// Does the work of threads that cannot be had, where there is none at all.
    fn help_out(&self) {
        loop {
            let mut desk = self.desk.lock();
            if desk.crew.serving() > 0 {
                return;
            }
            let Some(operation) = desk.queue.backlog.next() else { return };
            drop(desk);
            self.counters.add(Counter::Inline, 1);
            self.carry_out(operation);
        }
    }

    fn work(self: &Arc<Self>) {
        self.desk.lock().present.push(thread::current().id());
        while let Some(operation) = self.next() {
            self.carry_out(operation);
        }
    }

    /// Transfers an operation and finishes it. It stops counting as in flight first, whatever happens: a caller that waits for it may
    /// close the file next.
    fn carry_out(&self, operation: Operation<L>) {
        // A panic in here has been reported by the hook, and has dropped the operation, which counts as a failure.
        let _ = callback::contained(|| {
            let counted =
                CountedInFlight { desk: &self.desk, file: operation.file.id, urgency: operation.urgency };
            let outcome = calling_thread::transfer(&operation, &self.counters);
            let _late = seeded!("place_given_back_late").then_some(counted);
            operation.finish(outcome, time::now());
        });
    }

    /// Waits for the next request. `None`: the thread is to go, and does not count any more.
    fn next(self: &Arc<Self>) -> Option<Operation<L>> {
        let mut desk = self.desk.lock();
        loop {
            if let Some(next) = desk.queue.backlog.next() {
                let summons = if desk.queue.backlog.has_next() { desk.call(1) } else { Summons::default() };
                drop(desk);
                // Where nobody can be started, this thread takes the next one itself.
                let _ = self.summon(summons);
                return Some(next);
            }
            let until = self.staff.stays.map(|stays| time::now() + stays);
            desk.crew.fall_asleep();
            loop {
                if desk.crew.answer() {
                    break;
                }
                if desk.queue.is_finished() || until.is_some_and(|until| time::now() >= until) {
                    desk.crew.get_up();
                    desk.leave();
                    self.called.notify_all();
                    self.gone.notify_all();
                    return None;
                }
                desk = match until {
                    Some(until) => self.called.wait_until(desk, until),
                    None => self.called.wait(desk),
                };
            }
        }
    }
}

/// An operation of this file and urgency that counts as in flight until this is dropped.
struct CountedInFlight<'s, L: Lease> {
    desk: &'s Mutex<WorkersState<L>>,
    file: FileId,
    urgency: Urgency,
}

impl<L: Lease> Drop for CountedInFlight<'_, L> {
    fn drop(&mut self) {
        self.desk.lock().queue.backlog.end(self.file, self.urgency);
    }
}

impl<L: Lease> WorkersState<L> {
    /// Calls a thread for each of so many requests. After a refusal none is started during the pause.
    fn call(&mut self, requests: usize) -> Summons {
        let pause = &mut self.pause;
        self.crew.call(requests, || pause.is_over(time::now()))
    }

    fn leave(&mut self) {
        self.crew.leave();
        let own = thread::current().id();
        self.present.retain(|&id| id != own);
        if self.crew.serving() == 0 {
            // Threads could be had, and the last goes for want of work. Whether one can be had again is not known.
            self.refused = None;
        }
    }
}

impl<L: Lease> Method<L> for Threads<L> {
    fn submit_each(&self, requests: &mut dyn Iterator<Item = Operation<L>>) {
        while let Some(refused) = self.0.admit(requests) {
            calling_thread::run(refused, &self.0.counters);
        }
    }

    fn room(&self, _file: &File) -> usize {
        self.0.desk.lock().queue.room()
    }

    fn forget(&self, file: &File) {
        self.0.desk.lock().queue.backlog.forget(file.id);
    }

    fn shutdown(&self) {
        let mut desk = self.0.desk.lock();
        desk.queue.close();
        self.0.called.notify_all();
        // The last lease may own the pool, so that this is one of the threads: it goes by itself.
        let own = usize::from(desk.present.contains(&thread::current().id()));
        while desk.crew.serving() > own {
            desk = self.0.gone.wait(desk);
        }
    }

    fn has(&self, thread: ThreadId) -> bool {
        self.0.desk.lock().present.contains(&thread)
    }

    fn change(&self) -> Option<MethodChange> {
        let desk = self.0.desk.lock();
        let refused = desk.refused.as_ref().filter(|_| !desk.crew.has_any())?;
        let reason = format!("no {} thread can be started: {refused}", self.0.staff.name);
        Some(MethodChange { in_use: MethodKind::Sync, reason })
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
    use crate::{
        id::PageSize,
        io::{
            buffers::Direction,
            file::open_options::OpenOptions,
            tests::support::{FakeDisk, SCHEDULING, TestArena, TestLease, TransferReport, set_urgency},
        },
        testing::{Op, SimDisk},
    };
    use std::{path::Path, sync::mpsc};

    fn staff_of(most: u32, waiting: usize, counters: Arc<Counters>) -> Threads<TestLease> {
        let staff = Staff { name: "ringpool-test", most, stays: None };
        Threads::with_limits(staff, BacklogLimits { waiting, in_flight: most as usize, combine: 0 }, counters)
    }

    #[test]
    fn a_full_queue_slows_its_submitters_and_loses_nothing() {
        const REQUESTS: u64 = 10_000;
        let disk = FakeDisk::stamped(64 * 512);
        let file = Arc::new(disk.open_file(512).unwrap());
        let counters = Arc::new(Counters::new());
        let threads = staff_of(2, 4, Arc::clone(&counters));
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
    fn whoever_leaves_something_that_could_go_calls_one_more() {
        let disk = SimDisk::new();
        let open = |n: u32| {
            let path = n.to_string();
            disk.put(&path, vec![0; 64 * 512]);
            let (size, options) = (PageSize::new(512).unwrap(), OpenOptions::new());
            Arc::new(File::open(&disk, FileId(n), Path::new(&path), &options, size).unwrap())
        };
        let files = [0, 1, 2].map(open);
        let threads = staff_of(8, 64, Arc::new(Counters::new()));
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
        // Who was called for these has found nothing to do, and sleeps.
        while threads.0.desk.lock().crew.awake() > 6 {
            thread::yield_now();
        }
        awaited.iter().for_each(|awaited| awaited.store(true, std::sync::atomic::Ordering::SeqCst));
        // Who comes for this one finds that the two have become demands. He has hands for one of the three, and a colleague.
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
        let threads = staff_of(4, 64, Arc::clone(&counters));
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
        // The pool tries again after pauses of 2, 4, 8 and then 16 ms. Then one comes, and the next does not: the caller does what that
        // would have done.
        let begun = time::now();
        thread::refused(0, 9, || {
            while threads.change().is_some() {
                submit(0..1);
                arena.expect_reads(1);
                arena.reuse();
            }
        });
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(2 + 4 + 8 + 6 * 16), "nine refusals in {took:?}");
        thread::refused(0, u64::MAX, || submit(6..12));
        arena.expect_reads(6);
        assert_eq!(threads.change(), None);
    }

    /// A thread that is being started counts as one to wait for, and does not come.
    #[test]
    #[cfg(not(any(loom, shuttle)))]
    fn c7_a_shutdown_does_not_wait_for_a_thread_that_is_refused() {
        let threads = staff_of(1, 64, Arc::new(Counters::new()));
        let hiring = threads.0.desk.lock().call(1);
        std::thread::scope(|scope| {
            let ended = scope.spawn(|| threads.shutdown());
            // The door is closed and the wait begun in one hold of the desk.
            while !threads.0.desk.lock().queue.is_closed() {
                thread::yield_now();
            }
            assert!(thread::refused(0, 1, || threads.0.summon(hiring)).is_some());
            ended.join().unwrap();
        });
    }

    /// Who waits for a request may close its file next, and then nothing of the file must be left here.
    #[test]
    fn a_place_is_given_back_before_its_request_ends() {
        let disk = FakeDisk::stamped(64 * 512);
        let threads = staff_of(1, 64, Arc::new(Counters::new()));
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
        let knows = threads.0.desk.lock().queue.backlog.knows(file.id);
        looked.send(()).unwrap();
        arena.expect_reads(1);
        assert!(!knows, "the place was held until after the request's end");
    }

    /// A disk that says that it has read more than it was asked for.
    #[test]
    fn a_panic_in_a_transfer_gives_the_place_back() {
        let disk = FakeDisk::stamped(64 * 512);
        let file = Arc::new(disk.open_file(512).unwrap());
        let threads = staff_of(1, 64, Arc::new(Counters::new()));
        let arena = TestArena::new(64 * 512);
        for _ in 0..3 {
            disk.claim_more();
            threads.submit_one(arena.request(Direction::Read, &file, 0, &[512]));
            arena.expect_dropped(1);
            threads.forget(&file);
            assert!(!threads.0.desk.lock().queue.backlog.knows(file.id), "a line of a closed file is left");
            threads.submit_one(arena.request(Direction::Read, &file, 0, &[512]));
            arena.expect_reads(1);
        }
    }
}
