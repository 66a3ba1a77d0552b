//! Requests for asynchronous files: each is handed to its file, which ends it later, and no thread of the pool waits for it.
//!
//! The thread that submits requests starts those that may go by the [`Backlog`](crate::io::backlog::Backlog), and so does the one that ends a
//! request, in its place.
//!
//! Invariants: a thread is in [`start_all`](RequestQueue::start_all) once, however its files end requests within the call that starts
//! them: so neither a row of such requests nor one that is resumed again and again takes a deeper stack. A request counts as in flight for
//! its file until its lease is about to end, and as under way until those that wait for it were woken: the end waits for the latter.
//!
//! Lock order: the queue's lock is a leaf, and held neither when a file is called nor when a request ends.

use std::{io, iter};

use smallvec::SmallVec;

use crate::{
    io::{
        backlog::{Backlog, BacklogLimits},
        buffers::{self, Direction},
        file::File,
        method::{Chunk, Method, MethodChange, calling_thread},
        operation::{Lease, Operation, Urgency},
        options::Scheduling,
        storage::request::{Ending, Piece, ReadRequest, Request, WriteRequest},
        transfer::TransferStep,
    },
    observe::{Counter, Counters},
    sync::{
        Arc, Condvar, Mutex, callback,
        thread::{self, ThreadId},
        time,
        waking::Wakers,
    },
};

/// Requests of all such files together that are in flight at most; those of a file have a bound of their own.
const IN_FLIGHT: usize = 4096;

/// A method with a queue of asynchronous files beside it: requests of those go there, all others by the method.
pub(crate) struct WithAsynchronousFiles<L: Lease> {
    method: Arc<dyn Method<L>>,
    queue: Arc<RequestQueue<L>>,
}

struct RequestQueue<L: Lease> {
    state: Mutex<QueueState<L>>,
    /// Told when nothing is under way any more.
    idle: Condvar,
    counters: Arc<Counters>,
}

struct QueueState<L: Lease> {
    backlog: Backlog<L>,
    /// Requests that came back short, and go again.
    resumed: Vec<Operation<L>>,
    /// Requests that were started, and whose waiters were not all woken yet.
    under_way: usize,
    starters: SmallVec<[ThreadId; 8]>,
    /// Threads that end requests, once for each.
    enders: SmallVec<[ThreadId; 8]>,
}

impl<L: Lease> WithAsynchronousFiles<L> {
    pub(crate) fn new(method: Arc<dyn Method<L>>, scheduling: &Scheduling, counters: Arc<Counters>) -> Self {
        let (waiting, in_flight, background) = (IN_FLIGHT, IN_FLIGHT, usize::MAX);
        let limits = BacklogLimits { waiting, in_flight, background, combine: scheduling.combine };
        let state = QueueState {
            backlog: Backlog::new(limits),
            resumed: Vec::new(),
            under_way: 0,
            starters: SmallVec::new(),
            enders: SmallVec::new(),
        };
        let state = Mutex::new(state);
        Self { method, queue: Arc::new(RequestQueue { state, idle: Condvar::new(), counters }) }
    }
}

impl<L: Lease> RequestQueue<L> {
    /// Starts what may go, unless this thread does so already, further up its stack.
    fn start_all(self: &Arc<Self>) {
        let me = thread::current().id();
        let mut state = self.state.lock();
        if state.starters.contains(&me) && !seeded!("asynchronous_starts_nest") {
            return;
        }
        state.starters.push(me);
        while let Some(operation) = state.next() {
            drop(state);
            self.start(operation);
            state = self.state.lock();
        }
        state.starters.retain(|other| *other != me);
    }

    /// Hands a request to its file, from where it has come.
    fn start(self: &Arc<Self>, operation: Operation<L>) {
        operation.begin();
        let file = Arc::clone(&operation.file);
        let done = operation.progress.next();
        let pieces: SmallVec<[Piece; 16]> = buffers::from(operation.lease.buffers(), done).collect();
        let (direction, offset) = (operation.direction, operation.offset + done as u64);
        let is_awaited = operation.urgency == Urgency::Demand;
        let queue = Arc::clone(self);
        let ending: Ending = Box::new(move |outcome| queue.end(operation, outcome));
        // SAFETY: 1. The buffers of a lease are valid, initialised memory as long as it is not finished, they do not overlap, and the
        //    operation, which has the lease, moves into `ending`. 2. The thread that has the lease has the sole right to them: for a read
        //    all of it, for a write that no thread changes them.
        #[allow(unsafe_code)]
        let request = unsafe { Request::new(offset, pieces.into_iter(), is_awaited, ending) };
        let stored = file.asynchronous.as_deref().expect("only asynchronous files are queued here");
        match direction {
            Direction::Read => stored.read(ReadRequest(request)),
            Direction::Write => stored.write(WriteRequest(request)),
        }
    }

    /// Takes the outcome of a request: it goes again if it was short, else it is over. Starts what may go then.
    fn end(self: &Arc<Self>, mut operation: Operation<L>, outcome: io::Result<usize>) {
        match operation.progress.step(outcome) {
            TransferStep::Resume => {
                self.counters.add(Counter::Resumed, 1);
                self.state.lock().resumed.push(operation);
            }
            TransferStep::Finished(outcome) => self.finish(operation, outcome),
        }
        self.start_all();
    }

    fn finish(&self, operation: Operation<L>, outcome: io::Result<usize>) {
        let me = thread::current().id();
        let mut state = self.state.lock();
        // Not in flight any more: a caller that waits for it may close the file next.
        if !seeded!("asynchronous_place_given_back_late") {
            state.backlog.end(operation.file.id, operation.urgency);
        }
        state.enders.push(me);
        drop(state);
        // The hook has reported a panic in here, which has dropped the lease; that counts as a failure.
        let _ = callback::contained(|| operation.finish(outcome, time::now(), &mut Wakers::new()));
        let mut state = self.state.lock();
        let at = state.enders.iter().position(|other| *other == me).expect("it was put there");
        state.enders.swap_remove(at);
        state.under_way -= 1;
        if state.under_way == 0 {
            self.idle.notify_all();
        }
    }
}

impl<L: Lease> QueueState<L> {
    /// Takes out what goes next, and counts it as under way.
    fn next(&mut self) -> Option<Operation<L>> {
        // One that is resumed has been counted.
        self.resumed.pop().or_else(|| self.backlog.next().inspect(|_| self.under_way += 1))
    }
}

impl<L: Lease> RequestQueue<L> {
    fn submit_each(self: &Arc<Self>, requests: &mut dyn Iterator<Item = Operation<L>>) {
        loop {
            let (_, refused) = self.state.lock().backlog.admit(requests, &self.counters);
            self.start_all();
            let Some(refused) = refused else { return };
            calling_thread::run(refused, &self.counters);
        }
    }

    fn shutdown(&self) {
        let me = thread::current().id();
        let mut state = self.state.lock();
        state.backlog.close();
        // The last lease may own the pool, so that this thread ends the last request.
        while !(seeded!("asynchronous_requests_left_at_the_end")
            || state.enders.contains(&me)
            || state.under_way == 0 && state.backlog.is_empty())
        {
            state = self.idle.wait(state);
        }
    }
}

impl<L: Lease> Method<L> for WithAsynchronousFiles<L> {
    fn submit_each(&self, requests: &mut dyn Iterator<Item = Operation<L>>) {
        let mut requests = requests.peekable();
        while let Some(first) = requests.peek() {
            let kind = first.file.asynchronous.is_some();
            let alike = |next: &Operation<L>| next.file.asynchronous.is_some() == kind;
            let mut alike = iter::from_fn(|| requests.next_if(alike));
            if kind { self.queue.submit_each(&mut alike) } else { self.method.submit_each(&mut alike) }
        }
    }

    fn room(&self, file: &File) -> usize {
        match file.asynchronous {
            Some(_) => self.queue.state.lock().backlog.room(),
            None => self.method.room(file),
        }
    }

    fn forget(&self, file: &File) {
        match file.asynchronous {
            Some(_) => self.queue.state.lock().backlog.forget(file.id),
            None => self.method.forget(file),
        }
    }

    fn set_chunk(&self, number: u16, chunk: Chunk) -> io::Result<()> {
        self.method.set_chunk(number, chunk)
    }

    fn shutdown(&self) {
        self.method.shutdown();
        self.queue.shutdown();
    }

    fn has(&self, thread: ThreadId) -> bool {
        self.method.has(thread) || self.queue.state.lock().enders.contains(&thread)
    }

    fn change(&self) -> Option<MethodChange> {
        self.method.change()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::VecDeque, path::Path, time::Duration};

    use super::*;
    use crate::{
        id::{FileId, PageSize},
        io::{
            file::open_options::OpenOptions,
            storage::{Opened, Storage, StorageFile, capabilities::Capabilities, request::SyncRequest},
            tests::support::{SCHEDULING, TestArena, TestLease, stamped},
        },
    };

    thread_local! {
        /// How deep this thread is in calls of the file.
        static DEPTH: Cell<usize> = const { Cell::new(0) };
    }

    /// A file of stamped bytes. It ends requests within the call, some bytes at a time, or keeps them.
    #[derive(Clone, Debug)]
    struct Answers {
        /// The bytes that each read gets; 0 to keep the requests.
        at_once: usize,
        kept: Arc<Mutex<VecDeque<ReadRequest>>>,
        deepest: Arc<Mutex<usize>>,
    }

    impl Answers {
        fn new(at_once: usize) -> Self {
            Self { at_once, kept: Arc::default(), deepest: Arc::default() }
        }

        fn answer(request: ReadRequest, at_most: usize) {
            let all = stamped(64 << 10);
            let rest = &all[request.offset() as usize..];
            request.fill(&rest[..rest.len().min(at_most)]);
        }
    }

    impl StorageFile for Answers {
        fn read(&self, request: ReadRequest) {
            let depth = DEPTH.get() + 1;
            DEPTH.set(depth);
            let mut deepest = self.deepest.lock();
            *deepest = depth.max(*deepest);
            drop(deepest);
            if self.at_once == 0 {
                self.kept.lock().push_back(request);
            } else {
                Self::answer(request, self.at_once);
            }
            DEPTH.set(depth - 1);
        }

        fn write(&self, request: WriteRequest) {
            drop(request);
        }

        fn sync(&self, request: SyncRequest) {
            request.finish(Ok(()));
        }

        fn len(&self) -> io::Result<u64> {
            Ok(64 << 10)
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }

    impl Storage for Answers {
        fn open(&self, _: &Path, _: &OpenOptions, _: PageSize) -> io::Result<Opened> {
            let opened = Opened::asynchronous(Arc::new(self.clone()), (0, 1))?;
            Ok(opened.capabilities(Capabilities::new().in_flight(2)))
        }
    }

    fn open(storage: &Answers) -> Arc<File> {
        let (path, options) = (Path::new("stored"), OpenOptions::new());
        Arc::new(File::open(storage, FileId(7), path, &options, PageSize::new(512).unwrap()).unwrap())
    }

    fn queue() -> WithAsynchronousFiles<TestLease> {
        let counters = Arc::new(Counters::new());
        let method = Arc::new(calling_thread::Inline(Arc::clone(&counters)));
        WithAsynchronousFiles::new(method, &SCHEDULING, counters)
    }

    #[test]
    fn requests_that_end_within_the_call_piece_by_piece_take_no_deeper_stack() {
        let (storage, queue, arena) = (Answers::new(64), queue(), TestArena::new(64 << 10));
        let file = open(&storage);
        let mut requests: Vec<_> =
            (0..20).map(|block| arena.request(Direction::Read, &file, block * 512, &[512])).collect();
        queue.submit(&mut requests);
        arena.expect_reads(20);
        assert_eq!(*storage.deepest.lock(), 1);
    }

    #[test]
    fn c6_no_more_requests_are_under_way_than_the_storage_has_said() {
        let (storage, queue, arena) = (Answers::new(0), queue(), TestArena::new(64 << 10));
        let file = open(&storage);
        let mut requests: Vec<_> =
            (0..9).map(|block| arena.request(Direction::Read, &file, block * 512, &[512])).collect();
        queue.submit(&mut requests);
        for _ in 0..9 {
            assert!((1..=2).contains(&storage.kept.lock().len()));
            let next = storage.kept.lock().pop_front().unwrap();
            Answers::answer(next, 512);
        }
        assert!(storage.kept.lock().is_empty());
    }

    #[test]
    fn c5_the_end_waits_for_requests_that_the_storage_has() {
        let (storage, queue, arena) = (Answers::new(0), Arc::new(queue()), TestArena::new(64 << 10));
        let file = open(&storage);
        queue.submit_one(arena.request(Direction::Read, &file, 0, &[512]));
        let ending = Arc::clone(&queue);
        let ending = std::thread::spawn(move || ending.shutdown());
        std::thread::sleep(Duration::from_millis(50));
        assert!(!ending.is_finished(), "the frames would be gone under the request");
        let kept = storage.kept.lock().pop_front().unwrap();
        Answers::answer(kept, 512);
        ending.join().unwrap();
        arena.expect_reads(1);
    }

    #[test]
    fn a_file_can_be_forgotten_as_soon_as_its_last_request_is_about_to_end() {
        let (storage, queue, arena) = (Answers::new(0), Arc::new(queue()), TestArena::new(64 << 10));
        let file = open(&storage);
        let mut request = arena.request(Direction::Read, &file, 0, &[512]);
        let (at_the_end, of) = (Arc::clone(&queue), Arc::clone(&file));
        // Those that wait are woken next, and may close the file.
        request.lease.before_finish(move || {
            at_the_end.forget(&of);
            assert!(!at_the_end.queue.state.lock().backlog.knows(of.id), "its line is left for ever");
        });
        queue.submit_one(request);
        queue.forget(&file);
        assert!(queue.queue.state.lock().backlog.knows(file.id), "it has a request");
        let kept = storage.kept.lock().pop_front().unwrap();
        Answers::answer(kept, 512);
        arena.expect_reads(1);
    }
}
