//! The ring as its owner sees it: operations go in, outcomes come out.
//!
//! An operation is one entry of the submission queue, in the form that costs the kernel least, and stays here until its completion has come
//! back. That names the operation's key and the number of the submission: one that comes late or twice is noticed instead of ending
//! another operation. The owner must never sleep anywhere else, or completions would wait for it: so a read of an event counter is posted,
//! the [`WakeEvent`]. How a ring [ends](end), in time or because its calls are refused, is a part of its own.
//!
//! Invariants: one thread owns a ring (it is neither `Send` nor `Sync`); never more is in flight than the completion queue holds; each
//! operation in flight and the wake event have one submission each, so the submission queue never overflows either.

pub(super) mod end;

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsRawFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use io_uring::{
    CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, opcode, squeue,
    types::{Fd, SubmitArgs, Timespec},
};
use rustc_hash::FxHashMap;
use rustix::{
    event::{EventfdFlags, eventfd},
    io::Errno,
};
use slab::Slab;

#[cfg(test)]
use super::tests::refusals;
use super::{
    setup::{Abilities, FILE_SLOTS, to_iovec},
    trouble::{self, Trouble},
};
use crate::{
    id::FileId,
    io::{
        buffers::{self, Direction},
        file::{File, atomic_writes::RWF_ATOMIC},
        method::{Chunk, sleeper::Sleeper},
        operation::{Lease, Operation, Transfer},
        report::Registration,
        transfer::TransferStep,
    },
    observe::{Counter, Counters},
    sync::{Arc, atomic::AtomicU64, callback, thread, time, waking::Wakers},
};

/// Names the completion of the wake event's read. No operation has this key.
const WAKE_EVENT: u64 = u64::MAX;

/// How long calls may fail in a row before the ring is given up.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Copy, Clone, Debug)]
pub(super) enum RingWait {
    One,
    /// Until this many have completed, or a moment has passed.
    Several(usize, Duration),
    No,
}

#[derive(Copy, Clone, Debug)]
struct Forms {
    fixed_buffers: bool,
    vectored_fixed: bool,
}

type FileName = (Fd, squeue::Flags);

/// The files that are registered with a ring, which saves the kernel a lookup for each submission.
struct RegisteredFiles {
    places: FxHashMap<FileId, u32>,
    free: Vec<u32>,
}

impl RegisteredFiles {
    /// Returns how a submission names the file. A new file is registered, if there is a place left.
    fn name(&mut self, submitter: &Submitter<'_>, file: &File) -> FileName {
        let registered = |place: u32| (Fd(place.cast_signed()), squeue::Flags::FIXED_FILE);
        if let Some(&place) = self.places.get(&file.id) {
            return registered(place);
        }
        let fd = file.disk.descriptor().expect("files without a descriptor are not for a ring").as_raw_fd();
        let by_descriptor = (Fd(fd), squeue::Flags::empty());
        let Some(place) = self.free.pop() else { return by_descriptor };
        if submitter.register_files_update(place, &[fd]).is_err() {
            // Not tried again with every operation.
            self.free.clear();
            return by_descriptor;
        }
        self.places.insert(file.id, place);
        registered(place)
    }

    /// Frees the file's place, and with it the ring's hold on the file.
    fn forget(&mut self, submitter: &Submitter<'_>, file: FileId) {
        if let Some(place) = self.places.remove(&file)
            && submitter.register_files_update(place, &[-1]).is_ok()
        {
            self.free.push(place);
        }
    }
}

#[derive(Debug)]
pub(super) struct WakeEvent {
    /// Blocking, because a read of a non-blocking counter would fail at once instead of waiting in the ring.
    counter: OwnedFd,
    /// Where the kernel puts the count, which is never read.
    count: AtomicU64,
    pub(super) sleeper: Sleeper,
}

impl WakeEvent {
    pub(super) fn new() -> io::Result<Self> {
        let counter = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self { counter, count: AtomicU64::new(0), sleeper: Sleeper::default() })
    }

    /// Wakes the worker if it sleeps. Called after the work has been stored.
    pub(super) fn signal(&self) {
        if self.sleeper.must_be_woken() {
            self.signal_anyway();
        }
    }

    /// Makes the posted read complete.
    fn signal_anyway(&self) {
        // Fails only when it would overflow, and then the read completes anyhow; after a signal it is made again.
        let _ = rustix::io::retry_on_intr(|| rustix::io::write(&self.counter, &1_u64.to_ne_bytes()));
    }
}

pub(super) struct Ring<'r, L: Lease> {
    submitter: Submitter<'r>,
    submissions: SubmissionQueue<'r>,
    completions: CompletionQueue<'r>,
    /// What is in flight: the kernel may touch its memory. By the key that its completion names.
    flying: Slab<Operation<L>>,
    /// For each key a row of iovecs, which grows to the largest operation that it has had and keeps that size.
    iovecs: Box<[Vec<libc::iovec>]>,
    forms: Forms,
    files: RegisteredFiles,
    wake_event: Arc<WakeEvent>,
    /// The number of the submission that is the wake event's read, where that is posted.
    posted: Option<u32>,
    pushed: u32,
    is_closed: bool,
    counters: Arc<Counters>,
    trouble: Trouble,
    /// Requests for which the kernel had no memory or thread: for plain calls.
    elsewhere: Vec<Operation<L>>,
    /// Operations whose transfers are over, with how they went, still to be finished.
    done: Vec<(Operation<L>, io::Result<usize>)>,
    /// The wakers of those that wait for them, collected while they are finished.
    wakers: Wakers,
    _one_thread: PhantomData<Rc<()>>,
}

impl<'r, L: Lease> Ring<'r, L> {
    pub(super) fn new(
        ring: &'r mut IoUring,
        abilities: &Abilities,
        depth: u32,
        wake_event: Arc<WakeEvent>,
        counters: Arc<Counters>,
    ) -> Self {
        // The descriptor itself is not registered with the thread: that would keep the ring open until the thread ends.
        let (submitter, submissions, completions) = ring.split();
        let files = if abilities.fixed_files == Registration::InUse { FILE_SLOTS } else { 0 };
        Self {
            submitter,
            submissions,
            completions,
            flying: Slab::with_capacity(depth as usize),
            iovecs: (0..depth).map(|_| Vec::new()).collect(),
            forms: Forms {
                fixed_buffers: abilities.fixed_buffers == Registration::InUse,
                vectored_fixed: abilities.vectored_fixed,
            },
            files: RegisteredFiles { places: FxHashMap::default(), free: (0..files).rev().collect() },
            wake_event,
            posted: None,
            pushed: 0,
            is_closed: false,
            counters,
            trouble: Trouble::new(PATIENCE),
            elsewhere: Vec::new(),
            done: Vec::with_capacity(depth as usize),
            wakers: Wakers::new(),
            _one_thread: PhantomData,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flying.len()
    }

    pub(super) fn room(&self) -> usize {
        self.iovecs.len() - self.flying.len()
    }

    /// Returns the operations that have come out and are still to be [finished](Self::finish), or [done
    /// elsewhere](Self::elsewhere).
    pub(super) fn landed(&self) -> impl Iterator<Item = &Operation<L>> {
        self.done.iter().map(|(operation, _)| operation).chain(&self.elsewhere)
    }

    /// Prepares an operation; [`enter`](Self::enter) submits it. Only while there is room, for a file with a descriptor.
    pub(super) fn start(&mut self, operation: Operation<L>) {
        operation.begin();
        let key = self.flying.insert(operation);
        self.push_flying(key);
    }

    fn push_flying(&mut self, key: usize) {
        let (operation, number) = (&mut self.flying[key], self.pushed);
        operation.submission = number;
        let file = self.files.name(&self.submitter, &operation.file);
        let entry = entry(operation, file, self.forms, &mut self.iovecs[key]);
        let entry = entry.user_data(completion_id(key, number));
        // SAFETY: 1. The memory that the entry names is the lease's, valid until it is finished, and the row of iovecs of its key;
        //    both stay here, untouched, until the completion is in, see `reap` and `end`. 2. The file is kept open by the
        //    operation, which stays here too. 3. Registered buffers are named by the chunk they lie in.
        #[allow(unsafe_code)]
        unsafe {
            self.push(&entry);
        }
    }

    fn post_wake_event(&mut self) {
        let WakeEvent { counter, count, .. } = &*self.wake_event;
        let read = opcode::Read::new(Fd(counter.as_raw_fd()), count.as_ptr().cast(), 8);
        self.posted = Some(self.pushed);
        // SAFETY: the wake event is kept while the read is posted, and its word is read and written atomically only.
        #[allow(unsafe_code)]
        unsafe {
            self.push(&read.build().user_data(WAKE_EVENT));
        }
    }

    /// Appends an entry to the submission queue.
    ///
    /// # Safety
    /// What the entry names must be valid until its completion is in.
    #[allow(unsafe_code)]
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller's promise.
        let pushed = unsafe { self.submissions.push(entry) };
        pushed.expect("the submission queue holds an entry for each key and the wake event");
        self.pushed = self.pushed.wrapping_add(1);
    }

    /// Submits what is prepared and waits. Returns early where a signal came, or after a pause where the call failed; what was
    /// not submitted then is submitted with the next call.
    ///
    /// # Errors
    /// The call is refused for good.
    pub(super) fn enter(&mut self, wait: RingWait) -> io::Result<()> {
        if self.posted.is_none() {
            self.post_wake_event();
        }
        self.counters.add(Counter::RingEnters, 1);
        let entered = self.call(|submitter| match wait {
            RingWait::One => submitter.submit_and_wait(1),
            RingWait::No => submitter.submit(),
            RingWait::Several(want, at_most) => {
                let moment = Timespec::from(at_most);
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&moment))
            }
        });
        self.bear(entered)
    }

    /// Makes a call with both queues as they are.
    fn call(&mut self, call: impl FnOnce(&Submitter<'r>) -> io::Result<usize>) -> io::Result<usize> {
        self.submissions.sync();
        #[cfg(test)]
        if let Some(errno) = refusals::next(&self.counters, refusals::Of::Calls) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let outcome = call(&self.submitter);
        self.submissions.sync();
        self.completions.sync();
        outcome
    }

    /// Has the kernel post what is over, and waits for `wait_for` completions, without submitting anything.
    fn look(&mut self, wait_for: u32) -> io::Result<usize> {
        let flags = EnterFlags::GETEVENTS.bits();
        self.call(|submitter| {
            // SAFETY: it takes no submission, and no argument.
            #[allow(unsafe_code)]
            unsafe {
                submitter.enter::<()>(0, wait_for, flags, None)
            }
        })
    }

    /// Takes what came of a call, and pauses where it failed for a while. An error is for good.
    fn bear(&mut self, outcome: io::Result<usize>) -> io::Result<()> {
        let error = match outcome {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::TIME) => error,
            _ => {
                self.trouble.end();
                return Ok(());
            }
        };
        let Some(pause) = self.trouble.pause_after(&error, time::now()) else { return Err(error) };
        if !pause.is_zero() {
            thread::park_timeout(pause);
            // A call that cannot submit does not look for completions either, and those may be the cure.
            let _ = self.look(0);
        }
        Ok(())
    }

    /// Takes in every completion: a request that is over goes to those that [`finish`](Self::finish) ends; for others the next
    /// attempt is prepared. Returns how many completions there were.
    pub(super) fn reap(&mut self) -> usize {
        let mut completions = 0;
        while let Some(completion) = self.completions.next() {
            if completion.user_data() == WAKE_EVENT {
                self.posted = None;
                continue;
            }
            completions += 1;
            let key = find(&self.flying, completion.user_data());
            let result = to_result(completion.result());
            #[cfg(test)]
            let result = refusals::next(&self.counters, refusals::Of::Completions)
                .map_or(result, |errno| Err(io::Error::from_raw_os_error(errno)));
            if result.as_ref().is_err_and(trouble::says_nothing_of_the_file) {
                self.elsewhere.push(self.flying.remove(key));
                continue;
            }
            match self.flying[key].progress.step(result) {
                TransferStep::Finished(outcome) => self.done.push((self.flying.remove(key), outcome)),
                TransferStep::Resume if self.is_closed => self.elsewhere.push(self.flying.remove(key)),
                TransferStep::Resume => {
                    self.counters.add(Counter::Resumed, 1);
                    self.push_flying(key);
                }
            }
        }
        completions
    }

    /// Returns the requests that are to be done by plain calls, from where they have come to.
    pub(super) fn elsewhere(&mut self) -> &mut Vec<Operation<L>> {
        &mut self.elsewhere
    }

    pub(super) fn finish(&mut self) {
        if self.done.is_empty() {
            return;
        }
        let now = time::now();
        for (operation, outcome) in self.done.drain(..) {
            // The hook has reported a panic in here, which has dropped the lease; that counts as a failure.
            let _ = callback::contained(|| operation.finish(outcome, now, &mut self.wakers));
        }
        self.wakers.call();
    }

    /// Changes the registered buffer of this number; none, where the chunk has no length. Requests in flight keep the one that
    /// they have.
    pub(super) fn set_chunk(&mut self, number: u16, chunk: Chunk) -> io::Result<()> {
        if !self.forms.fixed_buffers {
            return Ok(());
        }
        // SAFETY: as where all of them are registered (`setup`).
        #[allow(unsafe_code)]
        unsafe {
            self.submitter.register_buffers_update(number.into(), &[to_iovec(&chunk)], None)
        }
    }

    pub(super) fn forget(&mut self, file: FileId) {
        self.files.forget(&self.submitter, file);
    }
}

fn to_result(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// Makes the submission for the part of the operation that is left. Its buffers, where there are several, are described in
/// `iovecs`, which the kernel reads while it takes the submission in.
fn entry<L: Lease>(
    operation: &Operation<L>,
    (fd, flags): FileName,
    forms: Forms,
    iovecs: &mut Vec<libc::iovec>,
) -> squeue::Entry {
    let Transfer { direction, progress, lease, .. } = &**operation;
    let offset = operation.offset + progress.next() as u64;
    let reads = *direction == Direction::Read;
    let rw_flags = if operation.file.atomic_pages.is_ok() { RWF_ATOMIC.cast_signed() } else { 0 };

    let mut pieces = buffers::from(lease.buffers(), progress.next());
    let chunk = lease.buffer(0).chunk;
    let entry = if lease.buffer_count() == 1 {
        let (ptr, len) = pieces.next().expect("a transfer that is not over");
        let (ptr, len) = (ptr.as_ptr(), len as u32);
        match (reads, forms.fixed_buffers) {
            (true, true) => opcode::ReadFixed::new(fd, ptr, len, chunk).offset(offset).build(),
            (true, false) => opcode::Read::new(fd, ptr, len).offset(offset).build(),
            (false, true) => {
                opcode::WriteFixed::new(fd, ptr, len, chunk).offset(offset).rw_flags(rw_flags).build()
            }
            (false, false) => opcode::Write::new(fd, ptr, len).offset(offset).rw_flags(rw_flags).build(),
        }
    } else {
        iovecs.clear();
        iovecs.extend(pieces.map(|(ptr, len)| libc::iovec { iov_base: ptr.as_ptr().cast(), iov_len: len }));
        let (row, count) = (iovecs.as_ptr(), iovecs.len() as u32);
        let fixed =
            forms.vectored_fixed && forms.fixed_buffers && lease.buffers().all(|buf| buf.chunk == chunk);
        match (reads, fixed) {
            (true, true) => opcode::ReadvFixed::new(fd, row, count, chunk).offset(offset).build(),
            (true, false) => opcode::Readv::new(fd, row, count).offset(offset).build(),
            (false, true) => {
                opcode::WritevFixed::new(fd, row, count, chunk).offset(offset).rw_flags(rw_flags).build()
            }
            (false, false) => opcode::Writev::new(fd, row, count).offset(offset).rw_flags(rw_flags).build(),
        }
    };
    entry.flags(flags)
}

/// Returns what the completion names: the operation's key among those in flight, and the number of the submission.
fn completion_id(key: usize, number: u32) -> u64 {
    u64::from(number) << 32 | key as u64
}

fn find<L: Lease>(flying: &Slab<Operation<L>>, id: u64) -> usize {
    let (key, number) = (id as u32 as usize, (id >> 32) as u32);
    let is_last = |it: &Operation<L>| it.submission == number || seeded!("stale_completion_accepted");
    assert!(flying.get(key).is_some_and(is_last), "a completion for an operation that is not in flight");
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tests::support::{FakeDisk, TestArena};

    #[test]
    #[should_panic(expected = "a completion for an operation that is not in flight")]
    fn a_completion_that_comes_twice_does_not_end_the_next_operation_with_its_key() {
        let arena = TestArena::new(1 << 16);
        let file = Arc::new(FakeDisk::stamped(0).open_file(512).unwrap());
        let mut flying = Slab::with_capacity(1);
        let submit = |flying: &mut Slab<_>, number| {
            let mut operation = arena.request(Direction::Read, &file, 0, &[512]);
            operation.submission = number;
            completion_id(flying.insert(operation), number)
        };
        let first = submit(&mut flying, 7);
        let key = find(&flying, first);
        drop(flying.remove(key));
        submit(&mut flying, 8);
        find(&flying, first);
    }
}
