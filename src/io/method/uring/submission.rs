//! What the kernel is told of an operation: one entry of the submission queue, in the form that costs it least, and the number by
//! which its completion is known.

use io_uring::{opcode, squeue, types::Fd};
use slab::Slab;

use crate::io::{
    buffers::{self, Direction},
    file::atomic_writes::RWF_ATOMIC,
    operation::{Lease, Operation, Transfer},
};

/// The file as a submission names it.
#[derive(Copy, Clone, Debug)]
pub(super) enum FileName {
    Descriptor(i32),
    Registered(u32),
}

/// Which forms of a transfer the ring takes.
#[derive(Copy, Clone, Debug)]
pub(super) struct Forms {
    pub(super) fixed_buffers: bool,
    pub(super) vectored_fixed: bool,
}

/// Makes the submission for the part of the operation that is left. Its buffers, where there are several, are described in
/// `iovecs`, which the kernel reads while it takes the submission in.
pub(super) fn entry<L: Lease>(
    operation: &Operation<L>,
    file: FileName,
    forms: Forms,
    iovecs: &mut Vec<libc::iovec>,
) -> squeue::Entry {
    let Transfer { direction, progress, lease, .. } = &**operation;
    let offset = operation.offset + progress.next() as u64;
    let reads = *direction == Direction::Read;
    let rw_flags = if operation.file.atomic_pages.is_ok() { RWF_ATOMIC.cast_signed() } else { 0 };
    let (fd, flags) = match file {
        FileName::Descriptor(fd) => (Fd(fd), squeue::Flags::empty()),
        FileName::Registered(slot) => (Fd(slot.cast_signed()), squeue::Flags::FIXED_FILE),
    };

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
pub(super) fn id(key: usize, number: u32) -> u64 {
    u64::from(number) << 32 | key as u64
}

/// Returns whether the submission of this number is one of the `last` submissions of the `pushed` ones so far. Numbers wrap
/// around, and a submission that hangs may be older by any number of them.
pub(super) fn is_of_the_last(last: u32, pushed: u32, number: u32) -> bool {
    pushed.wrapping_sub(number).wrapping_sub(1) < last
}

/// Returns the key of the operation whose submission has completed.
pub(super) fn find<L: Lease>(flying: &Slab<Operation<L>>, id: u64) -> usize {
    let (key, number) = (id as u32 as usize, (id >> 32) as u32);
    let is_last = |it: &Operation<L>| it.submission == number || seeded!("stale_completion_accepted");
    assert!(flying.get(key).is_some_and(is_last), "a completion for an operation that is not in flight");
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        io::tests::support::{FakeDisk, TestArena},
        sync::Arc,
    };

    #[test]
    fn what_the_kernel_has_not_taken_is_told_from_what_hangs_since_long_ago() {
        for pushed in [7, 1, 0, u32::MAX] {
            let of_the_last_three = |before: u32| is_of_the_last(3, pushed, pushed.wrapping_sub(before));
            assert_eq!([1, 2, 3].map(of_the_last_three), [true; 3], "{pushed}");
            let older = [4, 5, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, (1 << 31) + 9, u32::MAX];
            assert_eq!(older.map(of_the_last_three), [false; 7], "{pushed}");
            assert!(!is_of_the_last(0, pushed, pushed.wrapping_sub(1)), "all were taken");
        }
    }

    #[test]
    #[should_panic(expected = "a completion for an operation that is not in flight")]
    fn a_completion_that_comes_twice_does_not_end_the_next_operation_with_its_key() {
        let arena = TestArena::new(1 << 16);
        let file = Arc::new(FakeDisk::stamped(0).open_file(512).unwrap());
        let mut flying = Slab::with_capacity(1);
        let submit = |flying: &mut Slab<_>, number| {
            let mut operation = arena.request(Direction::Read, &file, 0, &[512]);
            operation.submission = number;
            id(flying.insert(operation), number)
        };
        let first = submit(&mut flying, 7);
        let key = find(&flying, first);
        drop(flying.remove(key));
        submit(&mut flying, 8);
        find(&flying, first);
    }
}
