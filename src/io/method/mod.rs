//! The interface of an I/O method.
//!
//! A method gets requests in batches and owes the lease of each exactly one `finish`, from any thread. There are three: the
//! ring's submission worker (`uring`), worker [`threads`], and the [`calling_thread`]. A caller sees no other difference between
//! them (C7). [`choice`] finds the best that the system allows, for `IoMethod::Auto`.

pub(crate) mod asynchronous;
pub(crate) mod calling_thread;
pub(crate) mod choice;
pub(crate) mod sleeper;
pub(crate) mod threads;
#[cfg(all(feature = "uring", target_os = "linux", not(any(loom, shuttle))))]
pub(crate) mod uring;

use std::{io, iter, ptr::NonNull};

use crate::{
    io::{
        file::File,
        operation::{Lease, Operation},
        report::MethodKind,
    },
    sync::thread::ThreadId,
};

pub(crate) trait Method<L: Lease>: Send + Sync + 'static {
    /// Takes all these requests. Never waits for room: a request that finds the queue full is transferred by the calling thread,
    /// which slows exactly the threads that submit too fast. A request of a file with a [bound](File::max_in_flight) of its own
    /// always finds room; where there is no queue, it waits for its turn.
    fn submit_each(&self, requests: &mut dyn Iterator<Item = Operation<L>>);

    /// Hands over what is in `batch`, as [`submit_each`](Self::submit_each) does; the batch is empty afterwards.
    fn submit(&self, batch: &mut Vec<Operation<L>>) {
        self.submit_each(&mut batch.drain(..));
    }

    /// Hands over one request, as [`submit_each`](Self::submit_each) does.
    fn submit_one(&self, request: Operation<L>) {
        self.submit_each(&mut iter::once(request));
    }

    /// Returns how many requests for this file that no caller waits for the queue would take now. `prefetch` goes by it, since it
    /// must not end up transferring inline. `usize::MAX` for a method that always transfers inline.
    fn room(&self, file: &File) -> usize;

    /// Drops what the method keeps for this file beyond its requests (a registered descriptor). Called once, at close,
    /// when no request for the file is left.
    fn forget(&self, file: &File);

    /// Changes the memory of this number: there is some where there was none, or none any more. There is no request for it.
    /// Returns when the kernel knows it, on behalf of every thread of the method; a method that registers nothing has nothing to
    /// do.
    ///
    /// # Errors
    /// The system refuses it. Some of the threads may have it all the same, until it is set anew.
    fn set_chunk(&self, _number: u16, _chunk: Chunk) -> io::Result<()> {
        Ok(())
    }

    /// Finishes all requests that were submitted and ends the method's threads. Later submissions are transferred
    /// inline. Idempotent. Must not be called from one of the method's own threads.
    fn shutdown(&self);

    /// Returns whether this is one of the method's own threads: an I/O waited for there may need that very thread.
    fn has(&self, thread: ThreadId) -> bool;

    /// Returns what is in use now where the system has taken away what was opened, or a part of it.
    fn change(&self) -> Option<MethodChange> {
        None
    }
}

/// What a method uses after the system took something away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MethodChange {
    pub(crate) in_use: MethodKind,
    pub(crate) reason: String,
}

/// A piece of the memory from which all buffers come: at most 1 GiB, one registered buffer. Its length is 0 while there is no
/// memory.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) ptr: NonNull<u8>,
    pub(crate) len: usize,
}

// SAFETY: an address and a length; it is read by the kernel at registration only.
#[allow(unsafe_code)]
unsafe impl Send for Chunk {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Chunk {}
