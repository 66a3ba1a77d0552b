//! What a stream is asked for: a block, and whatever is to come back with its page.

use crate::{buffer::page::PinnedPage, id::BlockNo};

/// An item of the iterator that a [`ReadStream`](super::ReadStream) reads by.
///
/// A block number gives its page; a pair of a block number and anything else gives the page together with that. For a type
/// of your own, say which block it wants and what it becomes:
///
/// ```
/// use ringpool::{BlockNo, PinnedPage, StreamItem};
///
/// /// An index entry that points to a row.
/// struct Entry { key: u64, block: u32, slot: u16 }
///
/// struct Row { key: u64, page: PinnedPage, slot: u16 }
///
/// impl StreamItem for Entry {
///     type Page = Row;
///
///     fn block(&self) -> BlockNo {
///         BlockNo(self.block)
///     }
///
///     fn with_page(self, page: PinnedPage) -> Row {
///         Row { key: self.key, page, slot: self.slot }
///     }
/// }
/// ```
pub trait StreamItem {
    /// What the stream gives for it.
    type Page;

    /// The block that is to be read.
    fn block(&self) -> BlockNo;

    /// The item, with its page.
    fn with_page(self, page: PinnedPage) -> Self::Page;
}

impl StreamItem for BlockNo {
    type Page = PinnedPage;

    fn block(&self) -> BlockNo {
        *self
    }

    fn with_page(self, page: PinnedPage) -> PinnedPage {
        page
    }
}

impl StreamItem for u32 {
    type Page = PinnedPage;

    fn block(&self) -> BlockNo {
        BlockNo(*self)
    }

    fn with_page(self, page: PinnedPage) -> PinnedPage {
        page
    }
}

impl<B: Copy + Into<BlockNo>, T> StreamItem for (B, T) {
    type Page = (PinnedPage, T);

    fn block(&self) -> BlockNo {
        self.0.into()
    }

    fn with_page(self, page: PinnedPage) -> (PinnedPage, T) {
        (page, self.1)
    }
}
