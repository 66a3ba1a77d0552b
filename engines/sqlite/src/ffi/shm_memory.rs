//! Memory of the WAL-index: given to SQLite by its address, and used by SQLite alone.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    ptr::NonNull,
};

/// A region of the index.
#[derive(Debug)]
pub struct Region {
    address: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory is owned, and this module does not look into it. SQLite orders its accesses by the locks of the index.
unsafe impl Send for Region {}

impl Region {
    /// Makes a region of so many zeros, at least one.
    ///
    /// # Panics
    /// Panics for more bytes than memory can have.
    #[must_use]
    pub fn zeroed(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes.max(1), 4096).expect("SQLite asks for 32 KiB");
        // SAFETY: the layout is not of zero bytes.
        let address = unsafe { alloc_zeroed(layout) };
        let Some(address) = NonNull::new(address) else { handle_alloc_error(layout) };
        Self { address, layout }
    }

    /// Returns the address of the first byte.
    #[must_use]
    pub fn address(&self) -> *mut u8 {
        self.address.as_ptr()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; the last connection has left.
        unsafe { dealloc(self.address.as_ptr(), self.layout) };
    }
}
