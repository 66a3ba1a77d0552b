//! Walking the buffers of a transfer from some byte on.

use std::ptr::NonNull;

use crate::io::request::IoBuf;

/// The most pieces that one system call takes. A transfer of more comes back short and is resumed.
pub(crate) const MOST_PIECES: usize = 1024;

/// The bytes of all buffers.
pub(crate) fn total(buffers: impl Iterator<Item = IoBuf>) -> usize {
    buffers.map(|buf| buf.len as usize).sum()
}

/// The pieces of memory that are left when the first `skip` bytes are left out, as many as one call takes.
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
        assert_eq!(total(buffers.into_iter()), addresses.len());
        for skip in 0..=addresses.len() {
            let rest: Vec<usize> = from(buffers.into_iter(), skip)
                .flat_map(|(ptr, len)| (0..len).map(move |at| ptr.as_ptr().addr() - base.addr() + at))
                .collect();
            assert_eq!(rest, addresses[skip..], "from byte {skip} on");
        }
    }
}
