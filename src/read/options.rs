//! Options of read streams.

use std::time::Duration;

/// How a read stream behaves.
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, OpenOptions, StreamOptions};
/// use std::time::Duration;
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
///
/// // A scan of a large table, which leaves the pages of other callers in the pool.
/// let scan = StreamOptions::new().bulk().look_ahead_pages(4).combine_limit_bytes(64 << 10);
/// assert_eq!(pool.read_stream(file.pages(0..8_u32), scan).count(), 8);
///
/// // With a larger ring, and less patience.
/// let scan = StreamOptions::new().ring_bytes(1 << 20).frame_wait(Duration::from_millis(100));
/// assert_eq!(pool.read_stream(file.pages(0..8_u32), scan).count(), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamOptions {
    /// The most pages to hold in advance. Default: as many as 4 MiB have. The stream finds out by itself how many of them are
    /// useful. It never holds more than half of the pool's read-ahead quota (three quarters of its frames, and for one file three
    /// quarters of these, while others are open), and never so many that a page that was used would lose its frame to them before
    /// pages that were not: a tenth of the frames is always left for unused pages.
    ///
    /// These pages stay pinned until the stream hands them out or is dropped, even if it is not pulled: a
    /// [`fetch_many`](crate::BufferPool::fetch_many) or a [`resize`](crate::BufferPool::resize) may miss their frames.
    pub look_ahead_pages: Option<u32>,
    /// The most bytes that one request covers, up to 1 MiB. Default: the pool's [limit](crate::Builder::combine_limit_bytes). A
    /// request of one page is always allowed.
    pub combine_limit_bytes: Option<usize>,
    /// For a [bulk](Self::bulk) read, the bytes of the frames that it uses over and over, beside those for look-ahead. `None`: it
    /// is no bulk read.
    pub ring_bytes: Option<usize>,
    /// The most to wait for a frame while all are pinned. Default: the pool's [limit](crate::Builder::frame_wait).
    pub frame_wait: Option<Duration>,
}

impl StreamOptions {
    /// The bytes of the ring of a bulk read, as in PostgreSQL.
    const RING: usize = 256 << 10;

    /// Makes options with the pool's limits, for pages that may be wanted again. Example: [`StreamOptions`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes it a bulk read, for many pages that are not wanted again soon, as in a scan of a large table. It uses a small ring of
    /// frames (at most an eighth of the pool), so that the pages which other callers use stay resident. Pages that it finds in the
    /// pool do not stay there any longer because of it. It begins with two requests of full size, where another stream begins with
    /// a page.
    ///
    /// A page that is changed leaves the ring, and another frame takes its place. So a scan that changes its pages spares the pages
    /// that were used more than once, but takes the frames of pages that were used once.
    ///
    /// Example: [`StreamOptions`].
    #[must_use]
    pub fn bulk(self) -> Self {
        self.ring_bytes(Self::RING)
    }

    /// Makes it a [bulk](Self::bulk) read with a ring of this size in bytes, beside the frames for look-ahead. `bulk` sets 256 KiB.
    /// Example: [`StreamOptions`].
    #[must_use]
    pub fn ring_bytes(mut self, bytes: usize) -> Self {
        self.ring_bytes = Some(bytes);
        self
    }

    /// Sets the most pages to hold in advance. Example: [`StreamOptions`].
    #[must_use]
    pub fn look_ahead_pages(mut self, pages: u32) -> Self {
        self.look_ahead_pages = Some(pages);
        self
    }

    /// Sets the most bytes of a request. Example: [`StreamOptions`].
    #[must_use]
    pub fn combine_limit_bytes(mut self, bytes: usize) -> Self {
        self.combine_limit_bytes = Some(bytes);
        self
    }

    /// Sets the most to wait for a frame while all are pinned. Example: [`StreamOptions`].
    #[must_use]
    pub fn frame_wait(mut self, wait: Duration) -> Self {
        self.frame_wait = Some(wait);
        self
    }
}
