//! Transfers by the calling thread: the `sync` method, what worker threads do, and the fallback of every method whose queue is
//! full.
//!
//! The only place that turns a lease's buffers into slices.

use std::{
    io::{self, IoSlice, IoSliceMut},
    slice,
};

use smallvec::SmallVec;

use crate::{
    error::Error,
    io::{
        buffers::{self, Direction},
        file::File,
        method::Method,
        operation::{Lease, Operation, Transfer},
        transfer,
    },
    observe::{Counter, Counters},
    sync::{Arc, thread::ThreadId, time, waking::Wakers},
};

/// Buffers whose descriptions fit on the stack; a larger request costs an allocation.
const ON_STACK: usize = 16;

/// Carries out the transfer of an operation, and returns what to finish it with.
pub(crate) fn transfer<L: Lease>(operation: &Operation<L>, counters: &Counters) -> io::Result<usize> {
    operation.begin();
    let Transfer { direction, file, offset, progress, lease, .. } = &**operation;
    transfer::drive(*progress, Some(counters), |done| {
        let rest = buffers::from(lease.buffers(), done);
        let offset = if seeded!("resumed_where_it_began") { *offset } else { offset + done as u64 };
        match direction {
            Direction::Read => {
                let mut slices = SmallVec::<[IoSliceMut<'_>; ON_STACK]>::new();
                for (ptr, len) in rest {
                    // SAFETY: 1. The buffers of a lease are valid, initialised memory as long as it is not finished, and it is
                    //    borrowed here. 2. No other thread touches them meanwhile: the one that has the lease has the sole right to, and
                    //    the buffers of one lease do not overlap. 3. The slices die with this attempt.
                    #[allow(unsafe_code)]
                    slices.push(IoSliceMut::new(unsafe { slice::from_raw_parts_mut(ptr.as_ptr(), len) }));
                }
                file.disk.read_at(&mut slices, offset)
            }
            Direction::Write => {
                let mut slices = SmallVec::<[IoSlice<'_>; ON_STACK]>::new();
                for (ptr, len) in rest {
                    // SAFETY: as above, and no thread writes to them meanwhile.
                    #[allow(unsafe_code)]
                    slices.push(IoSlice::new(unsafe { slice::from_raw_parts(ptr.as_ptr(), len) }));
                }
                if file.atomic_pages.is_ok() {
                    file.disk.write_atomically_at(&slices, offset)
                } else {
                    file.disk.write_at(&slices, offset)
                }
            }
        }
    })
}

/// Transfers and finishes an operation in the thread that asked for it. If its file has a bound of its own, it waits for its
/// turn. Returns the error of a lone page, for which that thread would otherwise have to wait in line.
pub(crate) fn run<L: Lease>(operation: Operation<L>, counters: &Counters) -> Option<Error> {
    counters.add(Counter::Inline, 1);
    let turn = operation.file.take_turn();
    let outcome = transfer(&operation, counters);
    drop(turn);
    operation.finish(outcome, time::now(), &mut Wakers::new())
}

/// The `sync` method: the thread that submits transfers.
pub(crate) struct Inline(pub(crate) Arc<Counters>);

impl<L: Lease> Method<L> for Inline {
    fn submit_each(&self, requests: &mut dyn Iterator<Item = Operation<L>>) {
        requests.for_each(|operation| drop(run(operation, &self.0)));
    }

    fn room(&self, _file: &File) -> usize {
        usize::MAX
    }

    fn forget(&self, _file: &File) {}

    fn shutdown(&self) {}

    fn has(&self, _thread: ThreadId) -> bool {
        false
    }
}
