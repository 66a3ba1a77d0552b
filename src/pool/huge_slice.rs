//! A boxed slice on huge pages, for the arrays that every hit looks at.

#![allow(unsafe_code)]

use std::{ops::Deref, ptr, ptr::NonNull, slice};

use crate::{
    error::Result,
    pool::mapping::{Mapping, SMALL},
};

/// Values of `T` one behind the other, all made at the start.
pub(super) struct HugeSlice<T> {
    first: NonNull<T>,
    count: usize,
    /// Unmapped when this is dropped, after the values were.
    _memory: Mapping,
}

// SAFETY: it owns its values, as a box does.
unsafe impl<T: Send> Send for HugeSlice<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for HugeSlice<T> {}

impl<T> HugeSlice<T> {
    /// `count` values, each made by `make`, which must not panic.
    pub(super) fn new(count: usize, mut make: impl FnMut() -> T) -> Result<Self> {
        assert!(align_of::<T>() <= SMALL && size_of::<T>() > 0);
        let memory = Mapping::new(count.saturating_mul(size_of::<T>()).max(1))?;
        let first = memory.base().cast::<T>();
        for index in 0..count {
            // SAFETY: the mapping has room for `count` values.
            let place = unsafe { first.add(index) };
            // SAFETY: the mapping is aligned to a page, and values to no more.
            unsafe { place.write(make()) };
        }
        Ok(Self { first, count, _memory: memory })
    }
}

impl<T> Deref for HugeSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: 1. `count` values were made there; 2. the mapping lives as long as this value; 3. nobody has a `&mut` to any.
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
    fn can_be_empty() {
        assert!(HugeSlice::new(0, || 1_u64).unwrap().is_empty());
    }
}
