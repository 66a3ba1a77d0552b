//! Options of read streams.

use std::time::Duration;

/// How a read stream behaves.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamOptions {
    /// The most pages to hold in advance; as many as 4 MiB have unless set. The stream finds out by itself how many of them
    /// pay. Never more than half of what the pool grants to look-ahead as a whole; and never so many that a page that was used
    /// would lose its frame to them, before pages that were not: a tenth of the frames is always there for those.
    ///
    /// They stay pinned until the stream hands them out or is dropped, also where it is not pulled. What the pool grants to all that look
    /// ahead is three quarters of its frames (and to one file three quarters of these, while others are open): so many of them a [`fetch_many`](crate::BufferPool::fetch_many) or a
    /// [`resize`](crate::BufferPool::resize) may have to do without.
    pub look_ahead_pages: Option<u32>,
    /// The most bytes that one request covers, up to 1 MiB; as the pool was [told](crate::Builder::combine_limit_bytes) unless set. A page is
    /// always allowed.
    pub combine_limit_bytes: Option<usize>,
    /// For a [bulk](Self::bulk) read, the bytes of the frames that it uses over and over, beside those that it looks ahead. `None`: it is no
    /// bulk read.
    pub ring_bytes: Option<usize>,
    /// The most to wait for a frame while all are pinned; the pool's own [limit](crate::Builder::frame_wait) unless set.
    pub frame_wait: Option<Duration>,
}

impl StreamOptions {
    /// The bytes of the ring of a bulk read, as in PostgreSQL.
    const RING: usize = 256 << 10;

    /// As the pool was told, and for pages that may be wanted again.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For a read of much that is not wanted again soon, as a scan of a large table: it keeps to a small ring of frames (an
    /// eighth of the pool at the most), so that the pages which others use stay where they are. Pages that it finds in the
    /// pool are used without being kept there any longer for it.
    ///
    /// A page that is changed leaves the ring: it is written as other dirty pages are, and another frame takes its place. So a scan that
    /// changes its pages leaves those alone that were used more than once, but takes the frames of pages that were used once.
    #[must_use]
    pub fn bulk(self) -> Self {
        self.ring_bytes(Self::RING)
    }

    /// Makes it a [bulk](Self::bulk) read with so many bytes of frames, beside those that are looked ahead: 256 KiB with `bulk`.
    #[must_use]
    pub fn ring_bytes(mut self, bytes: usize) -> Self {
        self.ring_bytes = Some(bytes);
        self
    }

    /// Sets the most pages to hold in advance.
    #[must_use]
    pub fn look_ahead_pages(mut self, pages: u32) -> Self {
        self.look_ahead_pages = Some(pages);
        self
    }

    /// Sets the most bytes of a request.
    #[must_use]
    pub fn combine_limit_bytes(mut self, bytes: usize) -> Self {
        self.combine_limit_bytes = Some(bytes);
        self
    }

    /// Sets the most to wait for a frame while all are pinned.
    #[must_use]
    pub fn frame_wait(mut self, wait: Duration) -> Self {
        self.frame_wait = Some(wait);
        self
    }
}
