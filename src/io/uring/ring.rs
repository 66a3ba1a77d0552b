//! The ring as its owner sees it: requests go in, outcomes come out.
//!
//! Invariants: one thread owns a ring (it is neither `Send` nor `Sync`); never more is in flight than the completion
//! queue holds; each request in flight and the wake-up have one submission each, so the submission queue never overflows
//! either; a ring that goes away waits for the kernel first (C5).

use std::{
    io,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Duration,
};

use io_uring::{
    CompletionQueue, IoUring, SubmissionQueue, Submitter, opcode, squeue,
    types::{Fd, SubmitArgs, Timespec},
};
use rustix::io::Errno;

use super::{
    doorbell::Doorbell,
    setup::{Abilities, FILE_SLOTS, to_iovec},
    slots::{Forms, Slots, Target},
};
use crate::{
    id::FileId,
    io::{
        backlog::Place,
        by_file::ByFile,
        file::File,
        method::Chunk,
        request::{Lease, Request},
        transfer::Step,
    },
    stats::{Counter, Counters, Registration},
    sync::{Arc, thread, time},
};

/// Names the completion of the wake-up. No slot has this number.
const BELL: u64 = u64::MAX;

/// Calls in a row that may fail before the ring counts as broken.
const FAILURE_LIMIT: u32 = 1000;

/// How long to wait.
#[derive(Copy, Clone, Debug)]
pub(super) enum Wait {
    /// Until anything has completed.
    One,
    /// Until so many have completed, or a moment has passed.
    Several(usize, Duration),
    /// Not at all.
    No,
}

/// What came out of a ring at once.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Reaped {
    pub(super) completions: u64,
    pub(super) bytes: u64,
}

/// A ring with what is in flight in it.
pub(super) struct Ring<'r, L: Lease> {
    submitter: Submitter<'r>,
    submissions: SubmissionQueue<'r>,
    completions: CompletionQueue<'r>,
    slots: Slots<L>,
    forms: Forms,
    /// Where files are in the table of registered ones.
    registered_files: ByFile<u32>,
    /// Places in that table that no file has.
    free_files: Vec<u32>,
    doorbell: Arc<Doorbell>,
    /// The wake-up's read is posted.
    bell_posted: bool,
    counters: Arc<Counters>,
    failures: u32,
    /// Requests that are over, with how they went; their leases are still to be finished.
    done: Vec<(Request<L>, io::Result<usize>)>,
    /// Their places, to be given back.
    places: Vec<Place>,
    _one_thread: PhantomData<Rc<()>>,
}

impl<'r, L: Lease> Ring<'r, L> {
    pub(super) fn new(
        ring: &'r mut IoUring,
        abilities: &Abilities,
        depth: u32,
        doorbell: Arc<Doorbell>,
        counters: Arc<Counters>,
    ) -> Self {
        let (mut submitter, submissions, completions) = ring.split();
        // Saves the kernel a look-up with every call, where it is known.
        let _ = submitter.register_ring_fd();
        let files = if abilities.fixed_files == Registration::InUse { FILE_SLOTS } else { 0 };
        Self {
            submitter,
            submissions,
            completions,
            slots: Slots::new(depth),
            forms: Forms {
                fixed_buffers: abilities.fixed_buffers == Registration::InUse,
                vectored_fixed: abilities.vectored_fixed,
            },
            registered_files: ByFile::default(),
            free_files: (0..files).rev().collect(),
            doorbell,
            bell_posted: false,
            counters,
            failures: 0,
            done: Vec::with_capacity(depth as usize),
            places: Vec::with_capacity(depth as usize),
            _one_thread: PhantomData,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.slots.in_flight()
    }

    /// How many more requests it takes.
    pub(super) fn room(&self) -> usize {
        self.slots.room()
    }

    /// The places of requests that are over, to be given back.
    pub(super) fn vacated(&mut self) -> impl Iterator<Item = Place> {
        self.places.drain(..)
    }

    /// Prepares a request; [`enter`](Self::enter) submits it. Only while there is room, for a file with a descriptor.
    pub(super) fn start(&mut self, request: Request<L>, place: Place) {
        request.begin();
        let target = self.target(&request.file);
        let index = self.slots.insert(request, place, target);
        self.push_flight(index);
    }

    fn push_flight(&mut self, index: u32) {
        let entry = self.slots.entry(index, self.forms);
        // SAFETY: 1. The memory that the entry names is the lease's, valid until it is finished, and the row of iovecs of
        //    the slot; both stay in the slot, untouched, until the completion is in, see `reap` and `drop`. 2. The file is
        //    kept open by the request, which stays there too. 3. Registered buffers are named by the chunk they lie in.
        #[allow(unsafe_code)]
        unsafe {
            self.push(&entry);
        }
    }

    /// Posts the wake-up's read.
    fn post_bell(&mut self) {
        let entry =
            opcode::Read::new(Fd(self.doorbell.fd()), self.doorbell.count_ptr(), 8).build().user_data(BELL);
        self.bell_posted = true;
        // SAFETY: the doorbell is kept while the read is posted, and its word is read and written atomically only.
        #[allow(unsafe_code)]
        unsafe {
            self.push(&entry);
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
        pushed.expect("the submission queue holds an entry for each slot and the bell");
    }

    /// Submits what is prepared and waits.
    pub(super) fn enter(&mut self, wait: Wait) {
        if !self.bell_posted {
            self.post_bell();
        }
        if let Err(error) = self.enter_once(wait) {
            panic!("io_uring_enter failed {FAILURE_LIMIT} times in a row: {error}");
        }
    }

    fn enter_once(&mut self, wait: Wait) -> io::Result<()> {
        self.counters.add(Counter::RingEnters, 1);
        self.submissions.sync();
        let entered = match wait {
            Wait::One => self.submitter.submit_and_wait(1),
            Wait::No => self.submitter.submit(),
            Wait::Several(want, at_most) => {
                let moment = Timespec::from(at_most);
                self.submitter.submit_with_args(want, &SubmitArgs::new().timespec(&moment))
            }
        };
        self.submissions.sync();
        self.completions.sync();
        match entered {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::TIME) => {
                // Nothing is lost by a call that fails: what was not taken is still queued, what has completed can be
                // reaped, which is the cure for a full completion queue. Signals and lack of memory pass.
                self.failures += 1;
                if self.failures > FAILURE_LIMIT {
                    return Err(error);
                }
                if error.kind() != io::ErrorKind::Interrupted {
                    thread::yield_now();
                }
            }
            _ => self.failures = 0,
        }
        Ok(())
    }

    /// Takes in every completion: a request that is over goes to those that [`finish`](Self::finish) ends, of others the rest
    /// is prepared. Gives what was in.
    pub(super) fn reap(&mut self) -> Reaped {
        let mut reaped = Reaped::default();
        while let Some(completion) = self.completions.next() {
            if completion.user_data() == BELL {
                self.bell_posted = false;
                continue;
            }
            reaped.completions += 1;
            reaped.bytes += u64::try_from(completion.result()).unwrap_or(0);
            let (index, flight) = self.slots.find(completion.user_data());
            match flight.progress.step(to_result(completion.result())) {
                Step::Finished(outcome) => {
                    let (request, place) = self.slots.remove(index);
                    self.done.push((request, outcome));
                    self.places.push(place);
                }
                Step::Resume => {
                    self.counters.add(Counter::Resumed, 1);
                    self.push_flight(index);
                }
            }
        }
        reaped
    }

    /// Finishes the leases of the requests that are over.
    pub(super) fn finish(&mut self) {
        if self.done.is_empty() {
            return;
        }
        let now = time::now();
        for (request, outcome) in self.done.drain(..) {
            // A panic in here has been reported by the hook, and has dropped the lease, which counts as a failure.
            let _ = catch_unwind(AssertUnwindSafe(|| request.finish(outcome, now)));
        }
    }

    /// How a submission names the file. One that is seen for the first time is registered, if there is a place left.
    fn target(&mut self, file: &File) -> Target {
        if let Some(&registered) = self.registered_files.get(&file.id) {
            return Target::Registered(registered);
        }
        let fd = file.disk.raw_fd().expect("files without a descriptor are not for a ring");
        let Some(slot) = self.free_files.pop() else {
            return Target::Descriptor(fd);
        };
        if self.submitter.register_files_update(slot, &[fd]).is_err() {
            // Not tried again with every request.
            self.free_files.clear();
            return Target::Descriptor(fd);
        }
        self.registered_files.insert(file.id, slot);
        Target::Registered(slot)
    }

    /// The registered buffer of this number is another from here on; none, where the chunk has no length. Requests in flight keep
    /// the one that they have.
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

    /// Gives the file's place in the table back, and with it the ring's hold on the file.
    pub(super) fn forget(&mut self, file: FileId) {
        if let Some(slot) = self.registered_files.remove(&file)
            && self.submitter.register_files_update(slot, &[-1]).is_ok()
        {
            self.free_files.push(slot);
        }
    }
}

/// Takes the memory back from the kernel: the bell is rung, and whatever is still in flight (only after a panic) is waited
/// for. Its leases are dropped, which counts as failure.
impl<L: Lease> Drop for Ring<'_, L> {
    fn drop(&mut self) {
        while self.bell_posted || self.in_flight() > 0 {
            if self.bell_posted {
                self.doorbell.ring_anyway();
            }
            if self.enter_once(Wait::One).is_err() {
                // The kernel may still have the memory. Then it is never given back.
                std::mem::forget(Arc::clone(&self.doorbell));
                std::mem::forget(std::mem::replace(&mut self.slots, Slots::new(0)));
                return;
            }
            for completion in self.completions.by_ref() {
                if completion.user_data() == BELL {
                    self.bell_posted = false;
                } else {
                    let (index, _) = self.slots.find(completion.user_data());
                    drop(self.slots.remove(index));
                }
            }
        }
    }
}

fn to_result(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
