//! The memory of a transfer: buffers that a lease lends, and the part of them from some byte on.

use std::ptr::NonNull;

use crate::error::IoOp;

/// Memory that a lease lends to a transfer. Plain data: it borrows nothing, and is valid until the lease is finished.
#[derive(Copy, Clone, Debug)]
pub(crate) struct IoBuf {
    /// The first byte. Aligned for direct I/O.
    pub(crate) ptr: NonNull<u8>,
    pub(crate) len: u32,
    /// The arena's chunk it lies in, which is the index of the registered buffer where chunks are registered.
    pub(crate) chunk: u16,
}

// SAFETY: an IoBuf is an address; the lease it comes from guarantees that no other thread touches the bytes until `finish`.
#[allow(unsafe_code)]
unsafe impl Send for IoBuf {}

/// The direction of a transfer, as seen from memory.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    pub(super) fn op(self) -> IoOp {
        match self {
            Self::Read => IoOp::Read,
            Self::Write => IoOp::Write,
        }
    }
}

/// The most pieces that one system call takes. A transfer of more comes back short and is resumed.
pub(crate) const MOST_PIECES: usize = 1024;

/// Returns the pieces of memory that are left when the first `skip` bytes are left out, as many as one call takes.
pub(crate) fn from(
    buffers: impl Iterator<Item = IoBuf>,
    mut skip: usize,
) -> impl Iterator<Item = (NonNull<u8>, usize)> {
    buffers
        .filter_map(move |buf| {
            let len = buf.len as usize;
            let skipped = skip.min(len);
            skip -= skipped;
            let start = buf.ptr.as_ptr().wrapping_add(skipped);
            // Never null: at most one past the end of the buffer, and then it is left out.
            NonNull::new(start).filter(|_| skipped < len).map(|start| (start, len - skipped))
        })
        .take(MOST_PIECES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_from_any_byte_on_are_the_rest() {
        let mut memory = [0_u8; 60];
        let base = memory.as_mut_ptr();
        let buf =
            |at: usize, len: u32| IoBuf { ptr: NonNull::new(base.wrapping_add(at)).unwrap(), len, chunk: 0 };
        // In the order of the file, not of the memory.
        let buffers = [buf(40, 10), buf(0, 20), buf(30, 5)];
        let addresses: Vec<usize> = (40..50).chain(0..20).chain(30..35).collect();
        for skip in 0..=addresses.len() {
            let rest: Vec<usize> = from(buffers.into_iter(), skip)
                .flat_map(|(ptr, len)| (0..len).map(move |at| ptr.as_ptr().addr() - base.addr() + at))
                .collect();
            assert_eq!(rest, addresses[skip..], "from byte {skip} on");
        }
    }
}
