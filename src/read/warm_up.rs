//! Warming up: reading the pages that a pool had before a restart, as PostgreSQL's `autoprewarm` does.
//!
//! A read stream for each file, over the sorted blocks: so requests are as long as may be, and never more are held in advance
//! than streams may hold. When the pool ends nobody wants them any more, and the warm-up ends too.

use std::sync::Arc;

use crate::{
    config::StreamOptions,
    error::{Error, Result},
    id::PageId,
    read::stream::ReadStream,
    shared::Shared,
};

/// What came of a [warm-up](crate::BufferPool::warm_up).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmUp {
    /// So many of the pages are in the pool, or were on the way to the others.
    pub pages: u64,
    /// So many could not be read: they, or their files, are not there any more, or the disk refused.
    pub failed: u64,
    /// So many were left out, since the pool has not as many frames.
    pub left_out: u64,
}

pub(crate) fn warm_up(shared: &Arc<Shared>, mut pages: Vec<PageId>) -> Result<WarmUp> {
    shared.check_open()?;
    let wanted = pages.len();
    pages.truncate(shared.pool.frame_count() as usize);
    let mut outcome = WarmUp { left_out: (wanted - pages.len()) as u64, ..WarmUp::default() };
    pages.sort_unstable();
    pages.dedup();
    for of_file in pages.chunk_by(|one, other| one.file == other.file) {
        let blocks = of_file.iter().map(|page| page.block);
        for page in ReadStream::new(Arc::clone(shared), of_file[0].file, blocks, &StreamOptions::new()) {
            if shared.ending.has_begun() {
                return Err(Error::ShutDown);
            }
            *(if page.is_ok() { &mut outcome.pages } else { &mut outcome.failed }) += 1;
        }
    }
    Ok(outcome)
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
