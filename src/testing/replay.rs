//! What a pool would miss: its own replacement, without files.

use crate::{
    Result,
    buffer::{
        frame::{frames::Frames, size::Size},
        residency::{Mapped, Residency},
    },
    id::{PageId, PageSize},
    observe::Counters,
    sync::Arc,
};

/// A replay of accesses to pages, one after another: the pool's own page table, frames and replacement, without files and I/O. To
/// find out how many frames an engine needs, record which pages it uses, and replay that for some sizes.
///
/// ```
/// use ringpool::{PageId, testing::Replay};
///
/// # let heap = ringpool::BufferPool::builder().frames(1).storage(ringpool::testing::NullDisk::new(8192)).build()?
/// #     .open_file("heap", ringpool::OpenOptions::new())?;
/// let mut replay = Replay::new(100)?;
/// let accesses = (0..50).chain(0..50).map(|block| PageId::new(heap, block));
/// let misses = accesses.filter(|&page| !replay.access(page)).count();
/// assert_eq!(misses, 50);
/// # Ok::<(), ringpool::Error>(())
/// ```
pub struct Replay(Residency);

impl Replay {
    /// Makes an empty pool of `frames` frames, one at least. Example: [`Replay`].
    ///
    /// # Errors
    /// As of [`Builder::build`](crate::Builder::build), where the system has no memory for it: some 600 bytes a frame.
    pub fn new(frames: u32) -> Result<Self> {
        let counters = Arc::new(Counters::new());
        let size = Size::new(frames.max(1), frames.max(1));
        Ok(Self(Residency::new(Frames::new(size, PageSize::MIN, 1, counters)?)?))
    }

    /// Uses the page. Returns whether it was resident; it is from now on. Example: [`Replay`].
    pub fn access(&mut self, page: PageId) -> bool {
        if self.0.lookup(page).is_ok() {
            return true;
        }
        let claimed = self.0.take_clean().expect("no other thread uses a frame");
        let Mapped { reading, own: _own } =
            self.0.map(claimed, page, true).expect("no other thread maps the page");
        self.0.end_read(reading, &Ok(()), true);
        false
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("frames", &self.0.size.frames()).finish()
    }
}
