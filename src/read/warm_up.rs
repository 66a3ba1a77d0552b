//! Warming up: reading the pages that a pool had before a restart, as PostgreSQL's `autoprewarm` does.
//!
//! A read stream for each file, over the sorted blocks: so requests are as long as may be, and never more are held in advance
//! than streams may hold. When the pool ends nobody wants them any more, and the warm-up ends too.

use std::{collections::HashSet, sync::Arc};

use crate::{
    config::StreamOptions,
    error::{Error, Result},
    id::PageId,
    pool::state::State,
    read::stream::ReadStream,
    shared::Shared,
};

/// What came of a [warm-up](crate::BufferPool::warm_up): each page that was asked for counts once, as one of these.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmUp {
    /// So many of the pages were in the pool at its end.
    pub pages: u64,
    /// So many could not be read: they, or their files, are not there any more, or the disk refused.
    pub failed: u64,
    /// So many were left out, since the pool has not as many frames; or lost theirs again to other pages meanwhile.
    pub left_out: u64,
}

pub(crate) fn warm_up(shared: &Arc<Shared>, mut pages: Vec<PageId>) -> Result<WarmUp> {
    shared.check_open()?;
    let mut seen = HashSet::with_capacity(pages.len());
    pages.retain(|&page| seen.insert(page));
    let wanted = pages.len() as u64;
    pages.truncate(shared.pool.frame_count() as usize);
    pages.sort_unstable();
    let (mut read, mut failed) = (Vec::with_capacity(pages.len()), 0);
    for of_file in pages.chunk_by(|one, other| one.file == other.file) {
        let blocks = of_file.iter().map(|page| page.block);
        for page in ReadStream::new(Arc::clone(shared), of_file[0].file, blocks, &StreamOptions::new()) {
            if shared.ending.has_begun() {
                return Err(Error::ShutDown);
            }
            match page {
                Ok(page) => read.push(page.id()),
                Err(_) => failed += 1,
            }
        }
    }
    let is_here = |&&page: &&PageId| shared.pool.find(page, State::is_valid).is_some();
    let pages = read.iter().filter(is_here).count() as u64;
    Ok(WarmUp { pages, failed, left_out: wanted - pages - failed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BufferPool, IoMethod, OpenOptions,
        testing::{Op, SimDisk},
    };

    #[test]
    fn c5_a_warm_up_ends_where_it_is_when_the_pool_ends() {
        const BLOCKS: u32 = 256;
        let disk = SimDisk::new();
        disk.put("data", vec![1; BLOCKS as usize * 512]);
        let builder = BufferPool::builder().frames(BLOCKS).page_size(512).io_method(IoMethod::Sync);
        let pool = builder.combine_limit(512).disk(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        pool.shared().ending.begin();
        let pages = (0..BLOCKS).map(|block| PageId::new(file, block));
        assert!(matches!(pool.warm_up(pages).wait(), Err(Error::ShutDown)));
        assert!(disk.count(Op::Read) < BLOCKS as usize);
    }
}
