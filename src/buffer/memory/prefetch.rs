//! Tells the processor which memory is read next, so that cache misses which do not depend on one another overlap.

#![allow(unsafe_code)]

/// Has the processor load the cache line of an address, and returns at once. The address may be any; for the program nothing is
/// read. On processors that have no such instruction in stable Rust it does nothing.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: every x86-64 processor has the instruction, and an address that is not mapped makes it do nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}
