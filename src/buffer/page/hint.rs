//! Where a page was last found.

use crate::id::{FrameNo, PageId};

/// The frame in which a page was, from [`PinnedPage::hint`](crate::PinnedPage::hint) or a guard's `hint`.
///
/// Kept beside a reference to the page, it saves the next access the lookup in the page table. It holds nothing: the page may
/// leave the frame, and another page may take its place. Then the page is looked up as if there were no hint. (PostgreSQL's
/// `ReadRecentBuffer`.)
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, OpenOptions, PageId};
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
/// let root = PageId::new(file, 0);
/// let hint = pool.read(root).wait()?.hint();
/// // Later, and as often as the root is wanted:
/// let page = pool.read(root.at(hint)).wait()?;
/// assert_eq!(page.id(), root);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PageHint(pub(crate) FrameNo);

/// A page, and where it was the last time, if that is known. Made from a [`PageId`], or by [`PageId::at`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PageAt {
    pub(crate) page: PageId,
    pub(crate) hint: Option<PageHint>,
}

impl PageId {
    /// Names the page together with the frame in which it was, for an access that looks there first. Example: [`PageHint`].
    #[inline]
    #[must_use]
    pub const fn at(self, hint: PageHint) -> PageAt {
        PageAt { page: self, hint: Some(hint) }
    }
}

impl From<PageId> for PageAt {
    #[inline]
    fn from(page: PageId) -> Self {
        Self { page, hint: None }
    }
}
