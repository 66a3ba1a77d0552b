//! A boxed slice on huge pages, for the arrays that every hit reads.

#![allow(unsafe_code)]

use std::{ops::Deref, ptr, ptr::NonNull, slice};

use crate::{
    buffer::memory::mapping::{Mapping, SMALL},
    error::Result,
    sync::atomic::{AtomicPtr, AtomicU64},
};

/// Values whose default is all zero bytes: fresh memory of the system holds them already.
///
/// # Safety
/// Zero bytes are a valid value, and the same as the default. (A model checker's atomics are not: there the values are made.)
pub(crate) unsafe trait Zeroed: Default {}

// SAFETY: an atomic has the bytes of its integer.
unsafe impl Zeroed for AtomicU64 {}

// SAFETY: an atomic has the bytes of its pointer, and those of a null pointer are zero.
unsafe impl<T> Zeroed for AtomicPtr<T> {}

/// Values of `T` one behind the other, all there from the start.
pub(crate) struct HugeSlice<T> {
    first: NonNull<T>,
    count: usize,
    /// Unmapped when this is dropped, after the values were.
    memory: Mapping,
}

// SAFETY: it owns its values, as a box does.
unsafe impl<T: Send> Send for HugeSlice<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for HugeSlice<T> {}

impl<T> HugeSlice<T> {
    /// Makes `count` values, each by `make`, which must not panic.
    pub(crate) fn new(count: usize, make: impl FnMut() -> T) -> Result<Self> {
        Ok(Self::over(Mapping::new(Self::bytes(count))?, count).filled(make))
    }

    /// Makes `count` values in their first state, of which the first `present` have their memory from the start; the others get
    /// it when they are first touched.
    pub(crate) fn zeroed(count: usize, present: usize) -> Result<Self>
    where
        T: Zeroed,
    {
        let slice = Self::over(Mapping::partly(Self::bytes(count), Self::bytes(present))?, count);
        // Zero bytes are no atomics of a model checker.
        Ok(if cfg!(any(loom, shuttle)) { slice.filled(T::default) } else { slice })
    }

    /// Makes [processes that are forked](super::process) find zero bytes in place of the values, which must be values too.
    pub(crate) fn keep_from_children(&self) {
        self.memory.keep_from_children();
    }

    fn bytes(count: usize) -> usize {
        count.saturating_mul(size_of::<T>()).max(1)
    }

    fn over(memory: Mapping, count: usize) -> Self {
        assert!(align_of::<T>() <= SMALL && size_of::<T>() > 0);
        Self { first: memory.base.cast(), count, memory }
    }

    fn filled(self, mut make: impl FnMut() -> T) -> Self {
        for index in 0..self.count {
            // SAFETY: the mapping has room for `count` values.
            let place = unsafe { self.first.add(index) };
            // SAFETY: the mapping is aligned to a page, and values to no more; no reference to it exists yet.
            unsafe { place.write(make()) };
        }
        self
    }
}

impl<T> Deref for HugeSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: 1. `count` values were made there; 2. the mapping lives as long as this value; 3. there is no `&mut` to any.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }
}

impl<T> Drop for HugeSlice<T> {
    fn drop(&mut self) {
        // SAFETY: the values were made by `new`, and are dropped here only.
        unsafe { ptr::drop_in_place(ptr::slice_from_raw_parts_mut(self.first.as_ptr(), self.count)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Arc;

    #[test]
    fn holds_what_was_made_and_drops_it_once() {
        let shared = Arc::new(());
        let slice = HugeSlice::new(1000, || Arc::clone(&shared)).unwrap();
        assert_eq!((slice.len(), Arc::strong_count(&shared)), (1000, 1001));
        drop(slice);
        assert_eq!(Arc::strong_count(&shared), 1);
    }

    #[test]
    fn values_that_fresh_memory_holds_are_the_same_as_those_that_are_made() {
        use crate::buffer::frame::header::FrameHeader;
        let slice = HugeSlice::<AtomicU64>::zeroed(10_000, 10).unwrap();
        assert!(slice.iter().all(|word| word.load(crate::sync::atomic::Ordering::Relaxed) == 0));
        let made = HugeSlice::new(1, FrameHeader::default).unwrap();
        let fresh = HugeSlice::<FrameHeader>::zeroed(100, 1).unwrap();
        assert_eq!(format!("{:?}", fresh[99]), format!("{:?}", made[0]));
    }

    #[test]
    fn can_be_empty() {
        assert!(HugeSlice::new(0, || 1_u64).unwrap().is_empty());
    }
}
