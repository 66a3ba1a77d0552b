//! All page memory of a pool: one anonymous mapping, from which the I/O method registers its buffers.
//!
//! Faulted in before anything registers it: registering untouched memory faults it in page by page under the ring's lock, and
//! registering small pages takes many times longer than registering huge ones. Registered buffers are at most 1 GiB, so the
//! arena is cut into chunks of that size; page sizes divide it, so no page straddles two.
//!
//! The memory is not inherited by a forked child (direct I/O into copy-on-write memory loses data).

#![allow(unsafe_code)]

use std::ptr::NonNull;

use crate::{error::Result, pool::mapping::Mapping};

/// The largest registered buffer.
pub(crate) const CHUNK: usize = 1 << 30;

/// Who may touch which bytes when is ruled by latches and leases; the arena only computes addresses. It outlives the last pin
/// and the last lease, since those keep the pool.
pub(crate) struct Arena(Mapping);

impl Arena {
    /// Maps and faults in `len` zeroed bytes.
    pub(crate) fn new(len: usize) -> Result<Self> {
        let mapping = Mapping::new(len)?;
        mapping.keep_from_children()?;
        Ok(Self(mapping))
    }

    /// Whether the system was asked for huge pages and did not refuse.
    pub(crate) fn asked_for_huge_pages(&self) -> bool {
        self.0.asked_for_huge_pages()
    }

    /// The address of a byte.
    #[inline]
    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        if offset >= self.0.len() {
            self.is_outside(offset);
        }
        // SAFETY: `base` to `base + len` lies in one mapping, and `offset` is below `len`.
        unsafe { self.0.base().add(offset) }
    }

    /// Apart, so that who asks for an address keeps nothing in memory for this.
    #[cold]
    fn is_outside(&self, offset: usize) -> ! {
        panic!("offset {offset} in an arena of {} bytes", self.0.len());
    }

    /// The chunk in which a byte lies.
    pub(crate) fn chunk_of(offset: usize) -> u16 {
        u16::try_from(offset / CHUNK).expect("an arena has fewer chunks than a ring has buffers")
    }

    /// Address and length of every chunk.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (NonNull<u8>, usize)> {
        let len = self.0.len();
        (0..len).step_by(CHUNK).map(move |start| (self.at(start), CHUNK.min(len - start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::mapping::{HUGE, SMALL};

    #[test]
    fn memory_is_zeroed_aligned_and_cut_into_chunks() {
        let arena = Arena::new(5 << 20).unwrap();
        assert_eq!(arena.at(0).as_ptr() as usize % HUGE, 0);
        let chunks: Vec<_> = arena.chunks().collect();
        assert_eq!(chunks, [(arena.at(0), 5 << 20)]);
        for offset in (0..5 << 20).step_by(SMALL) {
            // SAFETY: nobody else uses this arena.
            assert_eq!(unsafe { arena.at(offset).read() }, 0);
        }
        assert_eq!((Arena::chunk_of(CHUNK - 1), Arena::chunk_of(CHUNK)), (0, 1));
    }
}
