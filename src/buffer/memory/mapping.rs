//! Anonymous memory on huge pages: the arena, the frame headers and the page table are made of it.
//!
//! On small pages each of the three places that a hit reads is a TLB miss too, which costs more than the miss of the data cache. The
//! order of the calls matters: map, ask for huge pages, and only then fault in.

#![allow(unsafe_code)]

use std::{fs, ops::Range, ptr::NonNull};

#[cfg(target_os = "linux")]
use rustix::mm::Advice;
use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};

use crate::error::{ConfigError, Error, Result};

/// The huge page to align to, and the size from which asking for huge pages is worth it.
pub(crate) const HUGE: usize = 2 << 20;

/// The small page: the alignment of small mappings, and the step of faulting in by hand.
pub(crate) const SMALL: usize = 4096;

/// Bytes behind a mapping that can be read as well. Code in C, to which a page is lent, may load a few bytes behind it before it finds
/// that it does not need them: so what is reserved can be read as well, as zeros.
pub(crate) const READABLE_BEHIND: usize = SMALL;

const LEN_MAX: usize = 16_383 << 30;

pub(crate) struct Mapping {
    mapped: NonNull<u8>,
    mapped_len: usize,
    pub(super) base: NonNull<u8>,
    /// A multiple of the small page.
    pub(super) len: usize,
    /// Whether the system was asked for huge pages and did not refuse.
    pub(super) huge_pages: bool,
}

// SAFETY: a mapping is memory without an owner thread; it only computes addresses.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps and faults in `len` zeroed bytes.
    pub(crate) fn new(len: usize) -> Result<Self> {
        Self::partly(len, len)
    }

    /// Reserves address space for `len` bytes. None can be changed, or counts as memory, before it is [taken](Self::take).
    pub(crate) fn reserve(len: usize) -> Result<Self> {
        Self::map(len, ProtFlags::READ, MapFlags::PRIVATE | MapFlags::NORESERVE)
    }

    /// Maps `len` zeroed bytes and faults in the first `present` of them. The others come when they are touched.
    pub(crate) fn partly(len: usize, present: usize) -> Result<Self> {
        check_fits(present)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let mapping = Self::map(len, protection, MapFlags::PRIVATE | MapFlags::NORESERVE)?;
        mapping.fault_in(0..present.next_multiple_of(SMALL).min(mapping.len))?;
        Ok(mapping)
    }

    fn map(len: usize, protection: ProtFlags, flags: MapFlags) -> Result<Self> {
        if len > LEN_MAX {
            let advice = format!("a pool has at most {} GiB of memory: choose fewer frames", LEN_MAX >> 30);
            return Err(ConfigError::unset("frames", advice).into());
        }
        let align = if len >= HUGE { HUGE } else { SMALL };
        let len = len.next_multiple_of(SMALL);
        let mapped_len = len + align - SMALL + READABLE_BEHIND;
        // Miri's memory can be touched from the start, and none is reserved.
        let (protection, flags) = if cfg!(miri) {
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        } else {
            (protection, flags)
        };
        // SAFETY: 1. the address is the kernel's choice, so no existing mapping is touched;
        // 2. the mapping is anonymous and private, so nothing else can change its bytes.
        let mapped = unsafe { mm::mmap_anonymous(std::ptr::null_mut(), mapped_len, protection, flags) };
        let mapped = mapped.map_err(|errno| out_of_memory(len, errno))?.cast::<u8>();
        let mapped = NonNull::new(mapped).expect("a mapping is never at address zero");
        // SAFETY: the offset is below `align`, and the mapping is longer than `len` by that and `READABLE_BEHIND`.
        let base = unsafe { mapped.add(mapped.align_offset(align)) };
        let mut mapping = Self { mapped, mapped_len, base, len, huge_pages: false };
        mapping.huge_pages = len >= HUGE && mapping.ask_for_huge_pages().is_ok();
        Ok(mapping)
    }

    /// Makes zeroed memory of a part of what was reserved, faulted in: all of it, or none.
    pub(crate) fn take(&self, part: Range<usize>) -> Result<()> {
        self.protect(part.clone(), MprotectFlags::READ | MprotectFlags::WRITE)
            .map_err(|errno| out_of_memory(part.len(), errno))?;
        self.fault_in(part.clone()).inspect_err(|_| self.give_back(part))
    }

    /// Releases the memory of a part to the system. No thread has an address in there any more, nor does the kernel.
    pub(crate) fn give_back(&self, part: Range<usize>) {
        // If the system refuses, that costs memory until the mapping goes, and nothing else.
        let _ = self.discard(part.clone());
        let _ = self.protect(part, MprotectFlags::READ);
    }

    fn protect(&self, part: Range<usize>, protection: MprotectFlags) -> rustix::io::Result<()> {
        // Miri's memory can be touched from the start.
        if cfg!(miri) {
            return Ok(());
        }
        let first = self.first_of(&part);
        // SAFETY: the part is this value's own mapping. Made accessible, it harms no code; made read-only, by the code that gives it
        // back, it is not changed.
        unsafe { mm::mprotect(first.as_ptr().cast(), part.len(), protection) }
    }

    fn first_of(&self, part: &Range<usize>) -> NonNull<u8> {
        assert!(part.start <= part.end && part.end <= self.len, "{part:?} of {} bytes", self.len);
        // SAFETY: it lies in the mapping, or at its end.
        unsafe { self.base.add(part.start) }
    }
}

#[cfg(target_os = "linux")]
impl Mapping {
    fn advise(&self, part: Range<usize>, advice: Advice) -> rustix::io::Result<()> {
        // Miri takes no advice; its memory is there from the start, and it does not fork.
        if cfg!(miri) {
            return Ok(());
        }
        let first = self.first_of(&part);
        // SAFETY: the part is this value's own mapping; the advice used here (huge pages, no inheritance, fault in) does not
        // change its contents, but for giving it back, of which the contents mean nothing any more.
        unsafe { mm::madvise(first.as_ptr().cast(), part.len(), advice) }
    }

    fn ask_for_huge_pages(&self) -> rustix::io::Result<()> {
        self.advise(0..self.len, Advice::LinuxHugepage)
    }

    fn discard(&self, part: Range<usize>) -> rustix::io::Result<()> {
        self.advise(part, Advice::LinuxDontNeed)
    }

    /// Keeps the contents from [processes that are forked](super::process), which find zeros here. Where the kernel does not know how
    /// (before Linux 4.14), they get a copy.
    pub(crate) fn keep_from_children(&self) {
        let _ = self.advise(0..self.len, Advice::LinuxWipeOnFork);
    }

    /// Faults in every page now: a later fault would hit a reader, or the kernel in the middle of registration.
    fn fault_in(&self, part: Range<usize>) -> Result<()> {
        match self.advise(part.clone(), Advice::LinuxPopulateWrite) {
            Ok(()) => Ok(()),
            // Before Linux 5.14.
            Err(rustix::io::Errno::INVAL) => {
                self.touch(part);
                Ok(())
            }
            Err(errno) => Err(out_of_memory(part.len(), errno)),
        }
    }
}

#[cfg(target_os = "macos")]
impl Mapping {
    /// Refuses: this system decides by itself.
    fn ask_for_huge_pages(&self) -> rustix::io::Result<()> {
        Err(rustix::io::Errno::NOTSUP)
    }

    /// Releases the memory of a part, by mapping it anew: advice alone would leave the old bytes there for a while.
    fn discard(&self, part: Range<usize>) -> rustix::io::Result<()> {
        let first = self.first_of(&part);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: 1. the part is this value's own mapping, and what is put in its place is as long; 2. the code that gives it back knows that
        // no reference into it is left.
        unsafe { mm::mmap_anonymous(first.as_ptr().cast(), part.len(), ProtFlags::READ, flags) }.map(drop)
    }

    /// Does nothing: here a forked process is known [by its number](super::process).
    #[allow(clippy::unused_self)]
    pub(crate) fn keep_from_children(&self) {}

    fn fault_in(&self, part: Range<usize>) -> Result<()> {
        self.touch(part);
        Ok(())
    }
}

impl Mapping {
    /// Writes to every page of a part that no other thread knows yet.
    fn touch(&self, part: Range<usize>) {
        for offset in part.step_by(SMALL) {
            // SAFETY: `offset` is below the length.
            let byte = unsafe { self.base.add(offset) };
            // SAFETY: no other thread knows the memory yet.
            unsafe { byte.write_volatile(0) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: 1. exactly what `new` mapped; 2. the owner of the mapping drops it after all that points into it.
        let unmapped = unsafe { mm::munmap(self.mapped.as_ptr().cast(), self.mapped_len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Refuses at once a size at which the system would kill the process while memory is faulted in.
pub(crate) fn check_fits(len: usize) -> Result<()> {
    let Some(available) = available_memory().filter(|&available| len as u64 > available) else {
        return Ok(());
    };
    let (needed, available) = (len >> 20, available >> 20);
    let advice = format!(
        "the pool needs {needed} MiB, but only {available} MiB of memory are available: choose fewer frames"
    );
    Err(ConfigError::unset("frames", advice).into())
}

/// Returns how much memory the kernel can give without swapping, in bytes; `None` where it does not say (macOS).
fn available_memory() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn out_of_memory(len: usize, errno: rustix::io::Errno) -> Error {
    let advice = format!("{} MiB of memory could not be had ({errno}): choose fewer frames", len >> 20);
    ConfigError::unset("frames", advice).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_gets_an_error_with_advice_at_once() {
        for refused in [Mapping::new(1 << 50), Mapping::reserve(1 << 50), Mapping::partly(1 << 43, 1 << 42)] {
            let error = refused.err().unwrap().to_string();
            assert!(error.contains("choose fewer frames"), "{error}");
        }
    }

    /// Counts the mapping's pages that have memory.
    #[cfg(all(feature = "uring", not(miri)))]
    fn present(mapping: &Mapping) -> usize {
        let mut pages = vec![0_u8; mapping.len / SMALL];
        // SAFETY: the range is mapped, and there is a byte for each of its pages.
        let asked = unsafe { libc::mincore(mapping.base.as_ptr().cast(), mapping.len, pages.as_mut_ptr()) };
        assert_eq!(asked, 0);
        pages.into_iter().filter(|page| page & 1 == 1).count()
    }

    #[test]
    #[cfg(all(feature = "uring", not(miri)))]
    fn what_is_reserved_takes_memory_only_while_it_is_taken() {
        let mapping = Mapping::reserve(8 << 20).unwrap();
        assert_eq!(present(&mapping), 0);
        for _ in 0..2 {
            mapping.take(2 << 20..4 << 20).unwrap();
            assert_eq!(present(&mapping), (2 << 20) / SMALL);
            // SAFETY: it was taken just now, and no other thread knows it.
            let byte = unsafe { mapping.base.add(3 << 20) };
            // SAFETY: as above.
            unsafe { byte.write(1) };
            mapping.give_back(2 << 20..4 << 20);
            assert_eq!(present(&mapping), 0);
        }
    }

    #[test]
    fn bytes_behind_what_has_memory_can_be_read() {
        let check = |mapping: &Mapping, at: usize| {
            let before = mapping.base.as_ptr().addr() - mapping.mapped.as_ptr().addr();
            assert!(before + at < mapping.mapped_len, "{at} of {} bytes", mapping.mapped_len);
            // SAFETY: it lies in what was mapped.
            let byte = unsafe { mapping.base.add(at) };
            // SAFETY: no other thread knows it.
            assert_eq!(unsafe { byte.read() }, 0);
        };
        for len in [1, SMALL, 64 * SMALL, HUGE, HUGE + SMALL] {
            let mapping = Mapping::new(len).unwrap();
            check(&mapping, mapping.len + READABLE_BEHIND - 1);
            let mapping = Mapping::reserve(len + HUGE).unwrap();
            mapping.take(0..HUGE).unwrap();
            check(&mapping, HUGE);
            check(&mapping, mapping.len + READABLE_BEHIND - 1);
            mapping.give_back(0..HUGE);
            check(&mapping, HUGE - 1);
        }
    }

    #[test]
    #[cfg(all(feature = "uring", not(miri)))]
    fn what_is_not_faulted_in_comes_when_it_is_touched() {
        let mapping = Mapping::partly(64 * SMALL, SMALL + 1).unwrap();
        assert_eq!(present(&mapping), 2);
        // SAFETY: it lies in the mapping.
        let byte = unsafe { mapping.base.add(9 * SMALL) };
        // SAFETY: no other thread knows it.
        unsafe { byte.write(1) };
        assert_eq!(present(&mapping), 3);
    }
}
