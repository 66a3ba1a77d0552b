//! The items of a stream: a page, and any value that is to be returned with it.

use crate::{buffer::page::PinnedPage, id::PageId};

/// An item of the iterator that a [`ReadStream`](super::ReadStream) reads by.
///
/// A [`PageId`] gives its page; a pair of one and any value, as the number of a query, gives the page together with that value. For a
/// type of your own, return which page it wants and what it becomes:
///
/// ```
/// use ringpool::{FileId, PageId, PinnedPage, stream::StreamItem};
///
/// /// An index entry that points to a row.
/// struct Entry { key: u64, table: FileId, block: u32, slot: u16 }
///
/// struct Row { key: u64, page: PinnedPage, slot: u16 }
///
/// impl StreamItem for Entry {
///     type Page = Row;
///
///     fn page(&self) -> PageId {
///         PageId::new(self.table, self.block)
///     }
///
///     fn with_page(self, page: PinnedPage) -> Row {
///         Row { key: self.key, page, slot: self.slot }
///     }
/// }
/// ```
pub trait StreamItem {
    /// What the stream returns for it.
    type Page;

    /// Returns the page that is to be read. Example: [`StreamItem`].
    fn page(&self) -> PageId;

    /// Returns the item, with its page. Example: [`StreamItem`].
    fn with_page(self, page: PinnedPage) -> Self::Page;
}

impl StreamItem for PageId {
    type Page = PinnedPage;

    fn page(&self) -> PageId {
        *self
    }

    fn with_page(self, page: PinnedPage) -> PinnedPage {
        page
    }
}

impl<T> StreamItem for (PageId, T) {
    type Page = (PinnedPage, T);

    fn page(&self) -> PageId {
        self.0
    }

    fn with_page(self, page: PinnedPage) -> (PinnedPage, T) {
        (page, self.1)
    }
}
