//! Warming up: reading the pages that a pool had before a restart, as PostgreSQL's `autoprewarm` does. One read stream over the
//! sorted pages of all files: so requests are as long as may be. When the pool ends, so does the warm-up.

use std::{collections::HashSet, sync::Arc};

use crate::{
    buffer::frame::state::State,
    error::{Error, Result},
    id::PageId,
    read::{options::StreamOptions, stream::ReadStream},
    runtime::shared::Shared,
};

/// The report of a [warm-up](crate::BufferPool::warm_up). Each page counts once, in one of these fields, however often it was asked
/// for.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmUp {
    /// The number of pages that were in the pool at the end.
    pub pages: u64,
    /// The number of pages that could not be read: the page or its file does not exist any more, or the disk refused.
    pub failed: u64,
    /// The number of pages that were left out, since the pool does not have enough frames (these count as often as they were asked
    /// for), or that lost their frames to other pages meanwhile.
    pub left_out: u64,
}

/// The pages that were asked for first, each once, as far as there are frames for them.
pub(crate) struct Wanted {
    pub(crate) pages: Vec<PageId>,
    left_out: u64,
}

impl Wanted {
    /// Keeps the first pages, at most as many as there may be frames.
    pub(crate) fn of(pages: impl Iterator<Item = PageId>, frames: u32) -> Self {
        let mut wanted = Self { pages: Vec::new(), left_out: 0 };
        let mut seen = HashSet::new();
        for page in pages {
            if seen.len() == frames as usize {
                wanted.left_out += u64::from(!seen.contains(&page));
            } else if seen.insert(page) {
                wanted.pages.push(page);
            }
        }
        wanted
    }
}

pub(crate) fn warm_up(shared: &Arc<Shared>, wanted: Wanted) -> Result<WarmUp> {
    shared.check_open()?;
    let Wanted { mut pages, left_out } = wanted;
    let wanted = pages.len() as u64 + left_out;
    pages.truncate(shared.pool.size.frames() as usize);
    pages.sort_unstable();
    let (mut read, mut failed) = (Vec::with_capacity(pages.len()), 0);
    for page in ReadStream::new(Arc::clone(shared), pages.iter().copied(), &StreamOptions::new()) {
        if shared.end.has_begun() {
            return Err(Error::ShutDown);
        }
        match page {
            Ok(page) => read.push(page.id()),
            Err(_) => failed += 1,
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
        sync::pool_end::EndStage,
        testing::{Op, SimDisk},
    };

    #[test]
    fn c5_a_warm_up_ends_where_it_is_when_the_pool_ends() {
        const BLOCKS: u32 = 256;
        let disk = SimDisk::new();
        disk.put("data", vec![1; BLOCKS as usize * 512]);
        let builder = BufferPool::builder().frames(BLOCKS).page_size(512).io_method(IoMethod::Sync);
        let pool = builder.combine_limit_bytes(512).storage(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        pool.shared().end.reach(EndStage::Ending);
        let pages = (0..BLOCKS).map(|block| PageId::new(file, block));
        assert!(matches!(pool.warm_up(pages).wait(), Err(Error::ShutDown)));
        assert!(disk.count(Op::Read) < BLOCKS as usize);
    }
}
