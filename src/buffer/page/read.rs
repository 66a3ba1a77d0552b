//! Guards of a page that is read: a share latch, which borrows its pin or owns it.

#![allow(unsafe_code)]

use std::{mem::ManuallyDrop, ops::Deref, slice};

use super::{PageHint, PinnedPage, bytes_of};
use crate::{
    buffer::frame::pin::Pin,
    id::{Lsn, PageId},
};

/// The bytes of a [`PinnedPage`], which no thread changes meanwhile.
#[derive(Debug)]
pub struct PageRead<'a> {
    pin: &'a Pin,
}

impl<'a> PageRead<'a> {
    #[inline]
    pub(super) const fn of_latched(pin: &'a Pin) -> Self {
        Self { pin }
    }

    /// Returns which page it is. Example: [`PageWrite`](crate::PageWrite).
    #[must_use]
    pub fn id(&self) -> PageId {
        self.pin.frame().page()
    }

    /// Returns where the last record of the page ends: one that was [stated](crate::PageWrite::set_lsn) since the page was read
    /// from disk, or, in a pool that knows [where pages keep it](crate::PageLsn), the one in its bytes.
    /// Example: [`PageWrite`](crate::PageWrite).
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.pin.frame().page_lsn()
    }
}

impl Deref for PageRead<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the guard holds a share latch.
        unsafe { bytes_of(self.pin) }
    }
}

impl Drop for PageRead<'_> {
    #[inline]
    fn drop(&mut self) {
        self.pin.unlatch_shared();
    }
}

/// A page that is pinned and latched for reading, as one value, from [`BufferPool::read`](crate::BufferPool::read).
///
/// It borrows nothing: a function can return it, and a struct can keep it. It costs less than a [`PinnedPage`] and its
/// [`PageRead`], since pin and latch are taken and released in one step. A thread that wants to change the page waits for it.
///
/// # Pages that are lent to code in C
/// The page's address stays the same as long as the guard lives. In a pool that [keeps its size](crate::Builder::frames_at_most), the
/// 4,096 bytes behind each page can be read without a fault. They are no bytes of the page, and may change at any time. C code that
/// loads a word across the end of a page, and does not use the rest of it, may have the address.
///
/// # Examples
/// A walk down a tree, whose leaf is returned with its latch:
/// ```
/// # use ringpool::{BufferPool, OwnedPageRead, PageId, Result};
/// # fn child_of(node: &[u8]) -> Option<PageId> { None }
/// fn leaf(pool: &BufferPool, root: PageId) -> Result<OwnedPageRead> {
///     let mut node = pool.read(root).wait()?;
///     while let Some(child) = child_of(&node) {
///         drop(node); // The child may have to be read, and no latch is held that long.
///         node = pool.read(child).wait()?;
///     }
///     Ok(node)
/// }
/// ```
#[derive(Debug)]
pub struct OwnedPageRead {
    /// Taken when it is dropped.
    pin: ManuallyDrop<Pin>,
}

impl OwnedPageRead {
    /// Makes a guard of a pin that comes with a share latch.
    #[inline]
    pub(crate) fn new(pin: Pin) -> Self {
        debug_assert!(pin.frame().state.load().is_valid(), "handed out before it was read: {pin:?}");
        Self { pin: ManuallyDrop::new(pin) }
    }

    /// Makes a guard of a share latch that was taken after the pin, and perhaps elsewhere.
    pub(crate) fn of_latched(pin: Pin) -> Self {
        Self::new(pin.into_one_place())
    }

    /// Returns which page it is. Example: [`PageHint`].
    #[must_use]
    pub fn id(&self) -> PageId {
        self.pin.frame().page()
    }

    /// Returns where the last record of the page ends, as [`PageRead::lsn`] does. Example: [`PageLsn`](crate::PageLsn).
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.pin.frame().page_lsn()
    }

    /// Returns where the page is, for [`PageId::at`] another time. Example: [`PageHint`].
    #[must_use]
    pub fn hint(&self) -> PageHint {
        PageHint(self.pin.frame_no())
    }

    /// Releases the latch, so that other threads can change the page, and keeps the pin.
    ///
    /// # Examples
    /// ```
    /// # use ringpool::{BufferPool, OpenOptions, PageId};
    /// # let folder = tempfile::tempdir()?;
    /// # let pool = BufferPool::builder().frames(16).build()?;
    /// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
    /// let page = pool.read(PageId::new(file, 0)).wait()?.unlatch();
    /// assert_eq!(page.id(), PageId::new(file, 0));
    /// page.write()?[0] = 1; // with the latch in hand this would wait for itself
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn unlatch(self) -> PinnedPage {
        let mut guard = ManuallyDrop::new(self);
        // SAFETY: the guard is not dropped, so the pin is taken here only.
        let pin = unsafe { ManuallyDrop::take(&mut guard.pin) };
        pin.unlatch_shared();
        PinnedPage::new(pin)
    }
}

impl Deref for OwnedPageRead {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let page_size = self.pin.frames().page_size.bytes();
        // SAFETY: as in `bytes_of`: the value holds a share latch, in one place with its pin.
        unsafe { slice::from_raw_parts(self.pin.address_in_one_place().as_ptr(), page_size) }
    }
}

impl AsRef<[u8]> for OwnedPageRead {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for OwnedPageRead {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: taken here only: `unlatch` drops no guard.
        unsafe { ManuallyDrop::take(&mut self.pin) }.unlatch_and_unpin();
    }
}
