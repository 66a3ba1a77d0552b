//! All page memory of a pool: one anonymous mapping, from which the I/O method registers its buffers.
//!
//! It is faulted in, on huge pages, before anything registers it: else registering takes many times longer, under the ring's lock.
//! Registered buffers are at most 1 GiB, so the arena is cut into chunks of that size; page sizes divide it, so no page straddles two.
//! The arena of a pool that can be resized is address space for all that there may be, whose memory comes and goes by smaller chunks,
//! last in and first out. A forked child does not inherit it: direct I/O into copy-on-write memory loses data.

#![allow(unsafe_code)]

use std::{ops::Range, ptr::NonNull};

use crate::{
    buffer::{
        frame::copy_room::COPIES_MAX,
        memory::mapping::{Mapping, check_fits},
    },
    error::Result,
    id::PageSize,
    sync::atomic::{AtomicUsize, Ordering},
};

const CHUNK_MAX: usize = 1 << 30;

/// The steps by which memory comes and goes, for small pools and for large ones. All copies are in the first: a run is one buffer.
const STEP: [usize; 2] = [16 << 20, 64 << 20];
const _: () = assert!(COPIES_MAX * PageSize::MAX.bytes() <= STEP[0]);

/// Steps in which a small pool grows from nothing to the most that it can be.
const STEPS: usize = 16;

const CHUNKS_MAX: usize = 1 << 14;

/// Only computes addresses: latches and leases rule which thread may touch which bytes. They keep the pool, and so this.
pub(crate) struct Arena {
    mapping: Mapping,
    len: usize,
    /// The chunks' size, as a power of two.
    chunk_bits: u32,
    /// How many chunks, the first ones, have memory. Changed by one thread at a time, the one that resizes the pool.
    present: AtomicUsize,
}

impl Arena {
    /// Maps `most` bytes, of which the first `len` are zeroed and faulted in, with the rest of their chunk.
    pub(crate) fn new(len: usize, most: usize) -> Result<Self> {
        let (mapping, chunk) =
            if len == most { (Mapping::new(len)?, CHUNK_MAX) } else { (Mapping::reserve(most)?, step(most)) };
        mapping.keep_from_children();
        let chunk_bits = chunk.trailing_zeros();
        let arena = Self { mapping, len: most, chunk_bits, present: AtomicUsize::new(0) };
        if len == most {
            arena.present.store(arena.chunk_count(), Ordering::Relaxed);
        } else {
            arena.check_fits(0..arena.chunks_for(len))?;
            (0..arena.chunks_for(len)).try_for_each(|number| arena.take(number))?;
        }
        Ok(arena)
    }

    pub(crate) fn asked_for_huge_pages(&self) -> bool {
        self.mapping.huge_pages
    }

    #[inline]
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.mapping.base
    }

    #[inline]
    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset < self.mapping.len, "offset {offset} in an arena of {} bytes", self.mapping.len);
        // SAFETY: `base` to `base + len` lies in one mapping, and `offset` is below `len`.
        unsafe { self.mapping.base.add(offset) }
    }

    pub(crate) fn chunk_of(&self, offset: usize) -> u16 {
        u16::try_from(offset >> self.chunk_bits).expect("an arena has fewer chunks than a ring has buffers")
    }

    /// Returns how many chunks there are, with memory or without.
    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks_for(self.len)
    }

    pub(crate) fn chunks_for(&self, len: usize) -> usize {
        len.div_ceil(1 << self.chunk_bits)
    }

    pub(crate) fn present(&self) -> usize {
        self.present.load(Ordering::Relaxed)
    }

    pub(crate) fn present_bytes(&self) -> usize {
        (self.present() << self.chunk_bits).min(self.len)
    }

    pub(crate) fn chunk(&self, number: usize) -> (NonNull<u8>, usize) {
        let start = number << self.chunk_bits;
        (self.at(start), (self.len - start).min(1 << self.chunk_bits))
    }

    pub(crate) fn check_fits(&self, chunks: Range<usize>) -> Result<()> {
        check_fits(chunks.len() << self.chunk_bits)
    }

    /// Takes zeroed memory, faulted in, for the first chunk that has none.
    pub(crate) fn take(&self, number: usize) -> Result<()> {
        debug_assert_eq!(number, self.present());
        self.mapping.take(self.pages_of(number))?;
        self.present.store(number + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Releases the memory of the last chunk that has some. No frame in it has a page, and no ring has it registered.
    pub(crate) fn give_back(&self, number: usize) {
        debug_assert_eq!(number + 1, self.present());
        self.present.store(number, Ordering::Relaxed);
        self.mapping.give_back(self.pages_of(number));
    }

    /// Returns the range of the chunk's bytes, up to the end of their page.
    fn pages_of(&self, number: usize) -> Range<usize> {
        let start = number << self.chunk_bits;
        start..(start + (1 << self.chunk_bits)).min(self.mapping.len)
    }
}

/// Returns the size of the chunks of an arena that does not have all of its memory: small enough to give it back in useful steps.
fn step(most: usize) -> usize {
    let useful = (most / STEPS).next_power_of_two().clamp(STEP[0], STEP[1]);
    useful.max(most.div_ceil(CHUNKS_MAX).next_power_of_two())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::memory::mapping::{HUGE, SMALL};

    #[test]
    fn memory_is_zeroed_aligned_and_cut_into_chunks() {
        let arena = Arena::new(5 << 20, 5 << 20).unwrap();
        assert_eq!(arena.at(0).as_ptr() as usize % HUGE, 0);
        assert_eq!((arena.present(), arena.chunk_count()), (1, 1));
        assert_eq!(arena.chunk(0), (arena.at(0), 5 << 20));
        for offset in (0..5 << 20).step_by(SMALL) {
            // SAFETY: no other thread uses this arena.
            assert_eq!(unsafe { arena.at(offset).read() }, 0);
        }
        assert_eq!((arena.chunk_of(CHUNK_MAX - 1), arena.chunk_of(CHUNK_MAX)), (0, 1));
    }

    #[test]
    fn the_memory_of_an_arena_that_grows_comes_and_goes_by_the_chunk() {
        const CHUNK: usize = STEP[0];
        const MOST: usize = 4 * CHUNK + 512;
        let arena = Arena::new(CHUNK + 1, MOST).unwrap();
        assert_eq!((arena.present(), arena.chunk_count()), (2, 5));
        for number in 2..5 {
            arena.take(number).unwrap();
            let last = arena.chunk(number).1 - 1;
            let byte = arena.at(number * CHUNK + last);
            // SAFETY: no other thread uses this arena.
            unsafe { byte.write(1) };
        }
        assert_eq!(arena.present_bytes(), MOST);
        (2..5).rev().for_each(|number| arena.give_back(number));
        assert_eq!(arena.present_bytes(), 2 * CHUNK);
        arena.take(2).unwrap();
        // SAFETY: no other thread uses this arena.
        assert_eq!(unsafe { arena.at(3 * CHUNK - 1).read() }, 0, "what was in it is gone");
    }

    #[test]
    fn steps_are_useful_and_never_too_many() {
        for (most, expected) in [
            (1, 16 << 20),
            (256 << 20, 16 << 20),
            (1 << 30, 64 << 20),
            (512 << 30, 64 << 20),
            (1 << 40, 64 << 20),
            (1_usize << 42, 256 << 20),
            (16_383 << 30, CHUNK_MAX),
        ] {
            assert_eq!(step(most), expected, "{most}");
            assert!(most.div_ceil(step(most)) <= CHUNKS_MAX);
        }
    }
}
