//! ringpool, by each of the ways to a resident page that it has.

use std::sync::Arc;

use lab::Result;
use ringpool::{
    BufferPool, CheckpointOptions, FileId, IoMethod, OpenOptions, PageHint, PageId, testing::NullDisk,
};

use super::{Peer, stamp, word_of};

/// Pages that are fetched together.
const TOGETHER: usize = 16;

/// Makes a pool of `frames` frames, with a file of `pages` pages on a disk that does nothing.
pub(crate) fn null_pool(frames: u32, pages: u32, page_size: u32) -> Result<(BufferPool, FileId)> {
    let disk = NullDisk::new(u64::from(pages) * u64::from(page_size));
    let builder = BufferPool::builder().frames(frames).page_size(page_size).io_method(IoMethod::Sync);
    let pool = builder.storage(disk).build()?;
    let file = pool.open_file("pages", OpenOptions::new())?;
    Ok((pool, file))
}

/// A pool that has all pages of its file, clean.
pub(crate) struct Resident {
    pool: BufferPool,
    file: FileId,
    hints: Vec<PageHint>,
}

impl Resident {
    pub(crate) fn new(pages: u32, page_size: u32) -> Result<Arc<Self>> {
        // Some slack, since the table is cut into parts that fill unevenly.
        let (pool, file) = null_pool(pages + pages / 16, pages, page_size)?;
        let mut hints = Vec::with_capacity(pages as usize);
        for block in 0..pages {
            let page = pool.fetch(PageId::new(file, block)).wait()?;
            stamp(&mut page.write()?, block);
            hints.push(page.hint());
        }
        pool.checkpoint(CheckpointOptions::new()).wait()?;
        // As often as uses are counted: pages that are used all the time.
        for _ in 0..4 {
            (0..pages).try_for_each(|block| pool.read(PageId::new(file, block)).wait().map(drop))?;
        }
        let resident = pool.stats().frames.resident;
        if resident != pages {
            return Err(format!("of {pages} pages {resident} are resident").into());
        }
        Ok(Arc::new(Self { pool, file, hints }))
    }

    #[inline]
    fn id(&self, page: u32) -> PageId {
        PageId::new(self.file, page)
    }
}

/// Hits by a pin and latch in one step.
pub(crate) struct View(pub(crate) Arc<Resident>);

impl Peer for View {
    #[inline]
    fn hit(&self, page: u32) -> u64 {
        word_of(&self.0.pool.read(self.0.id(page)).wait().expect("all pages are here"))
    }
}

/// Hits by a pin, then a latch.
pub(crate) struct Fetch(pub(crate) Arc<Resident>);

impl Peer for Fetch {
    #[inline]
    fn hit(&self, page: u32) -> u64 {
        let pinned = self.0.pool.fetch(self.0.id(page)).wait().expect("all pages are here");
        word_of(&pinned.read())
    }
}

/// A view of a page whose frame the caller remembers.
pub(crate) struct Hint(pub(crate) Arc<Resident>);

impl Peer for Hint {
    #[inline]
    fn hit(&self, page: u32) -> u64 {
        let hint = self.0.hints[page as usize];
        word_of(&self.0.pool.read(self.0.id(page).at(hint)).now().expect("no page has moved"))
    }
}

/// Sixteen pages pinned together, then latched one by one.
pub(crate) struct FetchMany(pub(crate) Arc<Resident>);

impl Peer for FetchMany {
    fn hit(&self, page: u32) -> u64 {
        self.hit_all(&[page])
    }

    fn hit_all(&self, order: &[u32]) -> u64 {
        let hit = |group: &[u32]| {
            let mut ids = [self.0.id(0); TOGETHER];
            ids.iter_mut().zip(group).for_each(|(id, &page)| *id = self.0.id(page));
            let pinned = self.0.pool.fetch_many(&ids[..group.len()]).wait().expect("all pages are here");
            pinned.iter().fold(0, |sum, page| sum + word_of(&page.read()))
        };
        order.chunks(TOGETHER).fold(0, |sum, group| sum + hit(group))
    }
}
