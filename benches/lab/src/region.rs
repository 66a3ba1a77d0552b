//! Memory for the baselines: one anonymous mapping, on huge pages where the system gives them, faulted in before any clock
//! starts.
//!
//! One of the two modules with `unsafe` (the other is `baseline::kernel`).

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// The size of a huge page on the machines we know; elsewhere this is only an alignment.
const HUGE: usize = 2 << 20;

/// Zeroed, resident memory, aligned to 2 MiB.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    len: usize,
    mapping: NonNull<c_void>,
    mapped: usize,
}

// SAFETY: the mapping belongs to this value alone and has no tie to a thread.
unsafe impl Send for Region {}
// SAFETY: a shared `Region` gives out shared slices and raw pointers only.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `len` bytes and faults them all in.
    ///
    /// # Errors
    ///
    /// If the system has not that much memory.
    pub fn new(len: usize) -> io::Result<Self> {
        let len = len.next_multiple_of(HUGE);
        let mapped = len + HUGE;
        // SAFETY: a new private mapping at an address of the kernel's choice touches no memory that exists.
        let mapping = unsafe {
            mmap_anonymous(ptr::null_mut(), mapped, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?
        };
        let skip = mapping.cast::<u8>().align_offset(HUGE);
        let start = mapping.cast::<u8>().wrapping_add(skip);
        let present = |pointer: *mut c_void| NonNull::new(pointer).ok_or(io::ErrorKind::OutOfMemory);
        let region = Self { start: present(start.cast())?.cast(), len, mapping: present(mapping)?, mapped };
        region.fault_in()?;
        Ok(region)
    }

    fn fault_in(&self) -> io::Result<()> {
        let start = self.start.as_ptr().cast();
        // Huge pages are optional: a system without them uses small ones.
        // SAFETY: the range lies inside our mapping and the advice changes no contents.
        let _ = unsafe { madvise(start, self.len, Advice::LinuxHugepage) };
        // SAFETY: the range lies inside our mapping, and faulting in fresh anonymous memory leaves it zero.
        match unsafe { madvise(start, self.len, Advice::LinuxPopulateWrite) } {
            Err(rustix::io::Errno::INVAL) => self.touch(),
            answer => answer.map_err(io::Error::from)?,
        }
        Ok(())
    }

    /// Faults the memory in by writes, for kernels before 5.14, which have no `MADV_POPULATE_WRITE`.
    fn touch(&self) {
        for at in (0..self.len).step_by(4096) {
            // SAFETY: `at` is inside the mapping, and nothing else refers to it yet.
            unsafe { self.start.as_ptr().wrapping_add(at).write_volatile(0) };
        }
    }

    /// Returns its size in bytes: what was asked for, rounded up to 2 MiB.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns a pointer to its first byte. Code that writes through it must make sure that nothing reads meanwhile.
    #[must_use]
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Returns all of it as bytes, for a single owner to fill.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the region is mapped and initialized (zeros), and the exclusive borrow excludes all other access, except through
        // the pointer from `start`, whose holder must not use it meanwhile.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Returns all of it as words that threads may share. A relaxed load of one costs what a plain load does.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the region is mapped, initialized (zeros), aligned and a multiple of the word; code that writes through `start`
        // must not do so while this slice is in use.
        unsafe { slice::from_raw_parts(self.start.as_ptr().cast(), self.len / size_of::<AtomicU64>()) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was mapped, and no borrow of it outlives `self`.
        // Failure leaves the memory mapped, which does no harm.
        let _ = unsafe { munmap(self.mapping.as_ptr(), self.mapped) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn a_region_is_zeroed_aligned_and_large_enough() {
        let region = Region::new(3 << 20).unwrap();
        assert_eq!(region.len(), 4 << 20);
        assert_eq!(region.start().as_ptr().align_offset(HUGE), 0);
        assert!(region.words().iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }
}
