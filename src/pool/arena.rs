//! All page memory of a pool: one anonymous mapping.
//!
//! Made in an order that matters: map, ask for huge pages, fault in, and only then let an I/O method register it.
//! Registering untouched memory faults it in page by page under the ring's lock, and registering 4 KiB pages takes many
//! times longer than registering huge ones. Registered buffers are at most 1 GiB, so the mapping is cut into chunks of
//! that size; page sizes divide it, so no page straddles two.
//!
//! The mapping is not inherited by a forked child (direct I/O into copy-on-write memory loses data).

#![allow(unsafe_code)]

use std::{fs, ptr::NonNull};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

use crate::error::{Error, Result};

/// The largest registered buffer.
pub(crate) const CHUNK: usize = 1 << 30;

/// The huge page to align to, and the size from which asking for huge pages is worth it.
const HUGE: usize = 2 << 20;

/// The small page: the alignment of small arenas, and the step of faulting in by hand.
const SMALL: usize = 4096;

pub(crate) struct Arena {
    mapping: NonNull<u8>,
    mapping_len: usize,
    base: NonNull<u8>,
    len: usize,
    huge_pages: bool,
}

// SAFETY: the arena is memory without an owner thread. Who may touch which bytes when is ruled by latches and leases.
unsafe impl Send for Arena {}
// SAFETY: as above; the arena itself only computes addresses.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps and faults in `len` zeroed bytes.
    pub(crate) fn new(len: usize) -> Result<Self> {
        check_fits(len)?;
        let align = if len >= HUGE { HUGE } else { SMALL };
        let len = len.next_multiple_of(SMALL);
        let mapping_len = len + align - SMALL;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: 1. the address is the kernel's choice, so no existing mapping is touched;
        // 2. the mapping is anonymous and private, so nobody else can change its bytes.
        let mapping =
            unsafe { mm::mmap_anonymous(std::ptr::null_mut(), mapping_len, protection, MapFlags::PRIVATE) };
        let mapping = mapping.map_err(|errno| out_of_memory(len, errno))?.cast::<u8>();
        let mapping = NonNull::new(mapping).expect("a mapping is never at address zero");
        // SAFETY: the offset is below `align`, and the mapping is that much longer than `len`.
        let base = unsafe { mapping.add(mapping.align_offset(align)) };
        let mut arena = Self { mapping, mapping_len, base, len, huge_pages: false };
        arena.huge_pages = len >= HUGE && arena.advise(Advice::LinuxHugepage).is_ok();
        arena.advise(Advice::LinuxDontFork).map_err(|errno| out_of_memory(len, errno))?;
        arena.fault_in()?;
        Ok(arena)
    }

    /// Whether the system was asked for huge pages and did not refuse.
    pub(crate) fn asked_for_huge_pages(&self) -> bool {
        self.huge_pages
    }

    /// The address of a byte.
    #[inline]
    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset < self.len, "offset {offset} in an arena of {} bytes", self.len);
        // SAFETY: `base` to `base + len` lies in one mapping, and `offset` is below `len`.
        unsafe { self.base.add(offset) }
    }

    /// The chunk in which a byte lies.
    pub(crate) fn chunk_of(offset: usize) -> u16 {
        u16::try_from(offset / CHUNK).expect("an arena has fewer chunks than a ring has buffers")
    }

    /// Address and length of every chunk.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (NonNull<u8>, usize)> {
        (0..self.len).step_by(CHUNK).map(|start| (self.at(start), CHUNK.min(self.len - start)))
    }

    fn advise(&self, advice: Advice) -> rustix::io::Result<()> {
        // SAFETY: the range is this arena's own mapping; the advice used here (huge pages, no inheritance, fault in)
        // does not change its contents.
        unsafe { mm::madvise(self.base.as_ptr().cast(), self.len, advice) }
    }

    /// Gives every page its memory now: a fault later would hit a reader, or the kernel in the middle of registration.
    fn fault_in(&self) -> Result<()> {
        match self.advise(Advice::LinuxPopulateWrite) {
            Ok(()) => Ok(()),
            // Before Linux 5.14: touch every page.
            Err(rustix::io::Errno::INVAL) => {
                for offset in (0..self.len).step_by(SMALL) {
                    // SAFETY: nobody else knows the arena yet; `at` checks the bounds.
                    unsafe { self.at(offset).write_volatile(0) };
                }
                Ok(())
            }
            Err(errno) => Err(out_of_memory(self.len, errno)),
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: 1. exactly what `new` mapped; 2. the pool drops its arena after the last pin and lease are gone, so
        // no reference and no I/O into it exists.
        let unmapped = unsafe { mm::munmap(self.mapping.as_ptr().cast(), self.mapping_len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Refuses at once what would end in the system killing the process while memory is faulted in.
fn check_fits(len: usize) -> Result<()> {
    match available_memory() {
        Some(available) if len as u64 > available => Err(Error::config(format!(
            "the pool needs {} MiB, but only {} MiB of memory are available: choose fewer frames",
            len >> 20,
            available >> 20
        ))),
        _ if len > CHUNK * usize::from(u16::MAX >> 2) => {
            Err(Error::config("a pool has at most 16383 GiB: choose fewer frames".to_owned()))
        }
        _ => Ok(()),
    }
}

/// What the kernel believes can be had without swapping, in bytes.
fn available_memory() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn out_of_memory(len: usize, errno: rustix::io::Errno) -> Error {
    Error::config(format!("{} MiB of memory could not be had ({errno}): choose fewer frames", len >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn more_than_there_is_gets_an_error_with_advice_at_once() {
        let error = Arena::new(1 << 50).err().unwrap().to_string();
        assert!(error.contains("choose fewer frames"), "{error}");
    }
}
