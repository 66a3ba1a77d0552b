//! The ring as its owner sees it: requests go in, outcomes come out.
//!
//! Invariants: one thread owns a ring (it is neither `Send` nor `Sync`); never more is in flight than the completion
//! queue holds; each operation in flight and the wake-up have one submission each, so the submission queue never overflows
//! either. An operation stays here from the moment its submission can be seen by the kernel until the completion has come back, which
//! names its key and the number of the submission: one that comes late or twice is noticed instead of ending another operation.
//!
//! A ring may come to be of no use: the system refuses its calls. Then what the kernel has not taken is [taken
//! back](Ring::take_back), what it has taken is [waited for](Ring::drain), as long as that works, and the caller gets the
//! [rest](Ring::into_rest) and must keep it until the kernel is done with it (C5).

use std::{io, marker::PhantomData, rc::Rc, time::Duration};

use io_uring::{
    CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, opcode, squeue,
    types::{Fd, SubmitArgs, Timespec},
};
use rustix::io::Errno;
use slab::Slab;

#[cfg(test)]
use super::refusals;
use super::{
    doorbell::Doorbell,
    registered_files::RegisteredFiles,
    setup::{Abilities, FILE_SLOTS, to_iovec},
    submission::{self, Forms},
    trouble::{self, Remedy, Trouble},
};
use crate::{
    id::FileId,
    io::{
        method::Chunk,
        operation::{Lease, Operation},
        report::Registration,
        transfer::TransferStep,
    },
    observe::{Counter, Counters},
    sync::{Arc, callback, thread, time, waking::Wakers},
};

/// Names the completion of the wake-up. No operation has this key.
const BELL: u64 = u64::MAX;

/// How long calls may fail in a row before the ring is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait.
#[derive(Copy, Clone, Debug)]
pub(super) enum RingWait {
    /// Until anything has completed.
    One,
    /// Until this many have completed, or a moment has passed.
    Several(usize, Duration),
    /// Not at all.
    No,
}

/// What the kernel still has of a ring that cannot be entered any more.
pub(super) struct RingRemains<L: Lease> {
    /// Their results will not be known, and until the kernel is done with them their leases must be kept.
    pub(super) requests: Vec<Operation<L>>,
    /// The doorbell, if its read is posted: the kernel writes to its word.
    pub(super) doorbell: Option<Arc<Doorbell>>,
}

/// A ring with what is in flight in it.
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
    doorbell: Arc<Doorbell>,
    /// The number of the submission that is the wake-up's read, where that is posted.
    bell: Option<u32>,
    /// How many submissions there were.
    pushed: u32,
    /// Nothing is submitted any more.
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
        doorbell: Arc<Doorbell>,
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
            files: RegisteredFiles::new(files),
            doorbell,
            bell: None,
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

    /// Returns how many more requests it takes.
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
        let entry = submission::entry(operation, file, self.forms, &mut self.iovecs[key]);
        let entry = entry.user_data(submission::id(key, number));
        // SAFETY: 1. The memory that the entry names is the lease's, valid until it is finished, and the row of iovecs of its key;
        //    both stay here, untouched, until the completion is in, see `reap` and `into_rest`. 2. The file is kept open by the
        //    operation, which stays here too. 3. Registered buffers are named by the chunk they lie in.
        #[allow(unsafe_code)]
        unsafe {
            self.push(&entry);
        }
    }

    /// Posts the wake-up's read.
    fn post_bell(&mut self) {
        let entry =
            opcode::Read::new(Fd(self.doorbell.fd()), self.doorbell.count_ptr(), 8).build().user_data(BELL);
        self.bell = Some(self.pushed);
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
        pushed.expect("the submission queue holds an entry for each key and the bell");
        self.pushed = self.pushed.wrapping_add(1);
    }

    /// Submits what is prepared and waits. Returns early where a signal came, or after a pause where the call failed; what was
    /// not submitted then is submitted with the next call.
    ///
    /// # Errors
    /// The call is refused for good.
    pub(super) fn enter(&mut self, wait: RingWait) -> io::Result<()> {
        if self.bell.is_none() {
            self.post_bell();
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
        match self.trouble.remedy(&error, time::now()) {
            Remedy::Repeat => Ok(()),
            Remedy::Rest(rest) => {
                thread::park_timeout(rest);
                // A call that cannot submit does not look for completions either, and those may be the cure.
                let _ = self.look(0);
                Ok(())
            }
            Remedy::GiveUp => Err(error),
        }
    }

    /// Takes in every completion: a request that is over goes to those that [`finish`](Self::finish) ends; for others the next
    /// attempt is prepared. Returns how many completions there were.
    pub(super) fn reap(&mut self) -> usize {
        let mut completions = 0;
        while let Some(completion) = self.completions.next() {
            if completion.user_data() == BELL {
                self.bell = None;
                continue;
            }
            completions += 1;
            let key = submission::find(&self.flying, completion.user_data());
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

    /// Finishes the leases of the requests that are over.
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

    /// Frees the file's place in the table, and with it the ring's hold on the file.
    pub(super) fn forget(&mut self, file: FileId) {
        self.files.forget(&self.submitter, file);
    }
}

/// The end of a ring.
impl<L: Lease> Ring<'_, L> {
    /// Closes the ring for submissions. Returns the requests that the kernel has not taken: it looks for submissions only in
    /// calls that have some to submit, and there are none from here on.
    pub(super) fn take_back(&mut self) -> Vec<Operation<L>> {
        self.is_closed = true;
        self.submissions.sync();
        let (pushed, untaken) = (self.pushed, self.submissions.len() as u32);
        let is_untaken = |number| submission::is_of_the_last(untaken, pushed, number);
        self.bell = self.bell.filter(|&number| !is_untaken(number));
        self.take(is_untaken)
    }

    /// Takes out the operations whose last submissions have such a number.
    fn take(&mut self, which: impl Fn(u32) -> bool) -> Vec<Operation<L>> {
        let meant = self.flying.iter().filter(|(_, operation)| which(operation.submission));
        let keys: Vec<_> = meant.map(|(key, _)| key).collect();
        keys.into_iter().map(|key| self.flying.remove(key)).collect()
    }

    /// Waits until the kernel is done with all that it has taken, as long as it can be asked; `elsewhere` gets what is to be done
    /// by plain calls.
    pub(super) fn drain(&mut self, mut elsewhere: impl FnMut(&mut Vec<Operation<L>>)) {
        if self.bell.is_some() {
            self.doorbell.ring_anyway();
        }
        loop {
            self.completions.sync();
            self.reap();
            self.finish();
            elsewhere(&mut self.elsewhere);
            if self.bell.is_none() && self.in_flight() == 0 {
                return;
            }
            let waited = self.look(1);
            if self.bear(waited).is_err() {
                return;
            }
        }
    }

    /// Lets go of the memory. Returns what the kernel still has.
    pub(super) fn into_rest(mut self) -> RingRemains<L> {
        if self.in_flight() == 0 && self.forms.fixed_buffers {
            // The kernel closes a ring down asynchronously, and what was registered counts as locked until then.
            let _ = self.submitter.unregister_buffers();
        }
        let doorbell = self.bell.take().map(|_| Arc::clone(&self.doorbell));
        RingRemains { requests: self.take(|_| true), doorbell }
    }
}

/// Keeps for ever what the kernel may still have.
impl<L: Lease> Drop for Ring<'_, L> {
    fn drop(&mut self) {
        if self.bell.is_some() {
            std::mem::forget(Arc::clone(&self.doorbell));
        }
        if self.in_flight() > 0 {
            std::mem::forget(std::mem::take(&mut self.flying));
            std::mem::forget(std::mem::take(&mut self.iovecs));
        }
    }
}

fn to_result(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
