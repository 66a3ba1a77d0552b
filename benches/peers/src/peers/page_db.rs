//! page-db's pool: of the peers the only one that has pins, latches and dirty pages.

use lab::Result;
use page_db::{BufferPool, Page, PageId, PageResult, PageSize, PageStore};

use super::{Peer, stamp, word_of};

/// The smallest page size that it supports.
pub(crate) const PAGE_SIZE: u32 = 4096;

/// A store that is neither read nor written: the pool has room for all pages.
struct Blank(PageSize);

impl PageStore for Blank {
    fn page_size(&self) -> usize {
        self.0.get()
    }

    fn allocate_page(&self) -> Page {
        Page::new(self.0)
    }

    fn read_into(&self, id: PageId, _: &mut Page) -> PageResult<()> {
        unreachable!("page {id:?} was evicted")
    }

    fn write_page(&self, id: PageId, _: &mut Page) -> PageResult<()> {
        unreachable!("page {id:?} was written")
    }

    fn sync(&self) -> PageResult<()> {
        Ok(())
    }
}

pub(crate) struct PageDb(BufferPool<Blank>);

impl PageDb {
    pub(crate) fn new(pages: u32) -> Result<Self> {
        let pool = BufferPool::new(Blank(PageSize::new(PAGE_SIZE as usize)?), pages as usize);
        for page in 0..pages {
            stamp(pool.new_page(PageId::new(page.into()))?.write().payload_mut(), page);
        }
        Ok(Self(pool))
    }
}

impl Peer for PageDb {
    #[inline]
    fn hit(&self, page: u32) -> u64 {
        let pinned = self.0.fetch(PageId::new(page.into())).expect("all pages are here");
        word_of(pinned.read().payload())
    }
}
