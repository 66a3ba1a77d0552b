//! Anonymous memory on huge pages, faulted in: what the arena and the frame headers and the page table are made of.
//!
//! A hit looks at three places of a large pool. On small pages each of them is a miss of the processor's address cache too,
//! which costs more than the miss of its data cache, most of all in a virtual machine.
//!
//! Made in an order that matters: map, ask for huge pages, and only then fault in.

#![allow(unsafe_code)]

use std::{fs, ptr::NonNull};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

use crate::error::{Error, Result};

/// The huge page to align to, and the size from which asking for huge pages is worth it.
pub(super) const HUGE: usize = 2 << 20;

/// The small page: the alignment of small mappings, and the step of faulting in by hand.
pub(super) const SMALL: usize = 4096;

/// The most that one mapping can be.
const LEN_MAX: usize = 16_383 << 30;

pub(super) struct Mapping {
    mapped: NonNull<u8>,
    mapped_len: usize,
    base: NonNull<u8>,
    len: usize,
    huge_pages: bool,
}

// SAFETY: a mapping is memory without an owner thread; it only computes addresses.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps and faults in `len` zeroed bytes.
    pub(super) fn new(len: usize) -> Result<Self> {
        check_fits(len)?;
        let align = if len >= HUGE { HUGE } else { SMALL };
        let len = len.next_multiple_of(SMALL);
        let mapped_len = len + align - SMALL;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: 1. the address is the kernel's choice, so no existing mapping is touched;
        // 2. the mapping is anonymous and private, so nobody else can change its bytes.
        let mapped =
            unsafe { mm::mmap_anonymous(std::ptr::null_mut(), mapped_len, protection, MapFlags::PRIVATE) };
        let mapped = mapped.map_err(|errno| out_of_memory(len, errno))?.cast::<u8>();
        let mapped = NonNull::new(mapped).expect("a mapping is never at address zero");
        // SAFETY: the offset is below `align`, and the mapping is that much longer than `len`.
        let base = unsafe { mapped.add(mapped.align_offset(align)) };
        let mut mapping = Self { mapped, mapped_len, base, len, huge_pages: false };
        mapping.huge_pages = len >= HUGE && mapping.advise(Advice::LinuxHugepage).is_ok();
        mapping.fault_in()?;
        Ok(mapping)
    }

    /// Keeps a forked child from inheriting the memory.
    pub(super) fn keep_from_children(&self) -> Result<()> {
        self.advise(Advice::LinuxDontFork).map_err(|errno| out_of_memory(self.len, errno))
    }

    /// The first byte.
    #[inline]
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// How many bytes; a multiple of the small page.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether the system was asked for huge pages and did not refuse.
    pub(super) fn asked_for_huge_pages(&self) -> bool {
        self.huge_pages
    }

    fn advise(&self, advice: Advice) -> rustix::io::Result<()> {
        // Miri takes no advice; its memory is there from the start, and it does not fork.
        if cfg!(miri) {
            return Ok(());
        }
        // SAFETY: the range is this value's own mapping; the advice used here (huge pages, no inheritance, fault in)
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
                    // SAFETY: `offset` is below the length.
                    let byte = unsafe { self.base.add(offset) };
                    // SAFETY: nobody else knows the memory yet.
                    unsafe { byte.write_volatile(0) };
                }
                Ok(())
            }
            Err(errno) => Err(out_of_memory(self.len, errno)),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: 1. exactly what `new` mapped; 2. who owns the mapping drops it after all that points into it.
        let unmapped = unsafe { mm::munmap(self.mapped.as_ptr().cast(), self.mapped_len) };
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
        _ if len > LEN_MAX => {
            Err(Error::config(format!("a pool has at most {} GiB: choose fewer frames", LEN_MAX >> 30)))
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
    fn more_than_there_is_gets_an_error_with_advice_at_once() {
        let error = Mapping::new(1 << 50).err().unwrap().to_string();
        assert!(error.contains("choose fewer frames"), "{error}");
    }
}
