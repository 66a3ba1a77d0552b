//! Which frames have the pages of one file.
//!
//! A range of few blocks is looked up in the page table, a cluster of them at a time. For a range of many blocks all frames are
//! looked at. So the cost follows the number of blocks, and is never more than that of a look at all frames.

use std::ops::Range;

use crate::{
    buffer::{frame::state::Phase, page_table::PageTable, residency::Residency},
    id::{FileId, FrameNo, PageId},
};

/// How many frames are looked at in the time of one look-up, which takes a lock and waits for memory: in a pool of 2 Mi frames a look
/// takes 6 ns, a look-up 90 to 300 ns. In loom's models, whose pools have one frame, a single cluster is looked up.
const FRAMES_A_LOOKUP: u32 = if cfg!(loom) { 1 } else { 32 };

impl Residency {
    /// Lists the frames that have a page of these blocks, free frames left out, in the order of their numbers.
    ///
    /// A page that comes into a frame or leaves it meanwhile may be listed or not. A caller that needs all of them first
    /// publishes that no page of these blocks may come any more, and then has a full fence.
    pub(crate) fn pages_of(&self, file: FileId, blocks: Range<u32>) -> Vec<(FrameNo, PageId)> {
        let are_few = PageTable::clusters_of(&blocks) <= (self.size.extent() / FRAMES_A_LOOKUP) as usize;
        if are_few && !seeded!("all_frames_looked_at_for_a_file") {
            self.table.list(file, blocks)
        } else {
            self.seen_in_frames(file, &blocks)
        }
    }

    fn seen_in_frames(&self, file: FileId, blocks: &Range<u32>) -> Vec<(FrameNo, PageId)> {
        // Each page is read once: at a second look the frame may have the page of another file.
        let pages = self.frames.iter().map(|(no, frame)| (no, frame, frame.page()));
        let wanted = pages.filter(|(_, _, page)| page.file == file && blocks.contains(&page.block.0));
        let in_use = wanted.filter(|(_, frame, _)| frame.state.load().phase() != Phase::Free);
        in_use.map(|(no, _, page)| (no, page)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BufferPool, IoMethod, OpenOptions, options::BackgroundWriter, sync::uncontrolled::Ordering,
        testing::SimDisk,
    };

    const BLOCKS: u32 = 64;

    /// Opens a pool of `frames` frames with two files of four clusters, each with every third of its blocks in the pool.
    fn pool_with(frames: u32) -> (BufferPool, [FileId; 2]) {
        let disk = SimDisk::new();
        let builder = BufferPool::builder().frames(frames).page_size(512).io_method(IoMethod::Sync);
        let builder = builder.background_writer(BackgroundWriter::Off);
        let pool = builder.storage(disk.clone()).build().unwrap();
        let files = ["one", "other"].map(|name| {
            disk.put(name, vec![1; BLOCKS as usize * 512]);
            pool.open_file(name, OpenOptions::new()).unwrap()
        });
        for (file, block) in (0..BLOCKS).step_by(3).flat_map(|block| files.map(|file| (file, block))) {
            drop(pool.fetch(PageId::new(file, block)).wait().unwrap());
        }
        (pool, files)
    }

    #[test]
    fn the_table_and_the_frames_tell_of_the_same_pages() {
        let (pool, [one, _]) = pool_with(FRAMES_A_LOOKUP * 16);
        let frames = &pool.shared().pool;
        for blocks in [0..64, 0..1, 1..3, 10..40, 63..64, 64..64, 0..u32::MAX] {
            let seen = frames.seen_in_frames(one, &blocks);
            let expected = (0..BLOCKS).step_by(3).filter(|block| blocks.contains(block)).count();
            assert_eq!(seen.len(), expected, "{blocks:?}");
            assert_eq!(frames.pages_of(one, blocks.clone()), seen, "{blocks:?}");
            assert_eq!(frames.table.list(one, blocks.start..blocks.end.min(100)), seen, "{blocks:?}");
        }
    }

    #[test]
    fn a_file_of_few_blocks_is_flushed_cut_closed_and_removed_without_a_look_at_all_frames() {
        let (pool, [one, other]) = pool_with(FRAMES_A_LOOKUP * BLOCKS);
        let sweeps = || pool.shared().pool.sweeps.load(Ordering::Relaxed);
        let change = |file| {
            pool.fetch(PageId::new(file, 3)).wait().unwrap().write().unwrap().fill(2);
        };
        let before = sweeps();
        change(one);
        pool.flush_file(one).wait().unwrap();
        change(one);
        pool.evict(PageId::new(one, 3)).wait().unwrap();
        change(one);
        pool.truncate(one, BLOCKS / 2).wait().unwrap();
        change(one);
        pool.close_file(one).wait().unwrap();
        change(other);
        pool.drop_file(other).wait().unwrap();
        assert_eq!(sweeps() - before, 0, "looks at all frames");
        assert_eq!(pool.stats().frames.resident, 0);
    }

    #[test]
    fn of_a_file_of_many_blocks_all_frames_are_looked_at_once() {
        let (pool, [one, _]) = pool_with(FRAMES_A_LOOKUP * 3);
        let sweeps = || pool.shared().pool.sweeps.load(Ordering::Relaxed);
        let before = sweeps();
        pool.truncate(one, 0).wait().unwrap();
        assert_eq!(sweeps() - before, 1);
    }
}
