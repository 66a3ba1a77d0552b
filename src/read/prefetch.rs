//! Prefetch: many reads started as one batch, and none waited for.
//!
//! What has no clean frame, no place in look-ahead's share of the frames, or no room in the method's queue is declined: it
//! will be read when it is fetched.

use crate::{
    buffer::frame::{pin::Pin, state::State},
    id::{BlockNo, FileId, PageId},
    observe::Counter,
    read::batch::{BatchMemory, Issuer, Purpose, Start},
    runtime::shared::Shared,
};

/// What became of the blocks that were to be prefetched.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prefetch {
    /// Reads of so many blocks were started.
    pub started: u32,
    /// So many were in the pool or on their way.
    pub already: u32,
    /// So many could not be started without waiting, or do not exist: no file, or behind its end.
    pub declined: u32,
}

impl Prefetch {
    fn add(&mut self, other: Self) {
        self.started += other.started;
        self.already += other.already;
        self.declined += other.declined;
    }
}

/// The most blocks that are taken from the caller's iterator before their reads begin.
const CHUNK: usize = 512;

/// The iterator is called with nothing begun, since it may do what it likes: fetch a block that it gave, wait, panic.
pub(crate) fn prefetch(shared: &Shared, file: FileId, blocks: impl IntoIterator<Item = BlockNo>) -> Prefetch {
    let mut blocks = blocks.into_iter();
    let (mut chunk, mut batch) = (Vec::new(), BatchMemory::default());
    let mut prefetch = Prefetch::default();
    let mut full = false;
    loop {
        if seeded!("iterator_called_with_reads_begun") {
            return prefetch_chunk(shared, file, blocks, &mut batch, &mut full);
        }
        chunk.extend(blocks.by_ref().take(CHUNK));
        if chunk.is_empty() {
            return prefetch;
        }
        prefetch.add(prefetch_chunk(shared, file, chunk.drain(..), &mut batch, &mut full));
    }
}

/// Starts the reads of some of the blocks. `full`: where there was no place for a page once, none is looked for again.
fn prefetch_chunk(
    shared: &Shared,
    id: FileId,
    blocks: impl Iterator<Item = BlockNo>,
    batch: &mut BatchMemory,
    full: &mut bool,
) -> Prefetch {
    let mut outcome = Prefetch::default();
    let Ok(file) = shared.check_open().and_then(|()| shared.files.open_file(id)) else {
        outcome.declined = blocks.count() as u32;
        return outcome;
    };
    let mut issuer = Issuer::new(shared, file, Purpose::Ahead, batch);
    let is_alone = shared.files.has_one_at_most();
    for block in blocks {
        let page = PageId { file: id, block };
        if shared.pool.is_mapped(page) {
            outcome.already += 1;
            continue;
        }
        match if *full { Start::Refused } else { start(shared, &mut issuer, page, is_alone) } {
            Start::Begun(pin) => {
                outcome.started += 1;
                leave(pin);
            }
            Start::Met(_) => outcome.already += 1,
            Start::Impossible => outcome.declined += 1,
            Start::Refused => {
                outcome.declined += 1;
                *full = true;
            }
        }
    }
    issuer.submit();
    shared.counters.add(Counter::Prefetches, u64::from(outcome.started));
    outcome
}

/// Starts a read with a place in look-ahead's share.
fn start(shared: &Shared, issuer: &mut Issuer<'_>, page: PageId, is_alone: bool) -> Start {
    let look_ahead = &shared.pool.supply.read_ahead_quota;
    if look_ahead.take(page.file, 1, is_alone) == 0 {
        return Start::Refused;
    }
    let start = issuer.start(page);
    if !matches!(start, Start::Begun(_)) {
        look_ahead.give_back(page.file, 1);
    }
    start
}

/// Leaves the page to its read, marked as one whose use is to come.
fn leave(pin: Pin) {
    pin.leave_unattended(State::expect_use);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BufferPool, IoMethod, OpenOptions, testing::SimDisk};

    /// Blocks that are asked for one by one, by an iterator that looks at the pool each time.
    #[test]
    fn c10_the_iterator_is_called_with_no_read_begun() {
        const BLOCKS: u32 = 2 * CHUNK as u32 + 7;
        let disk = SimDisk::new();
        disk.put("data", vec![1; BLOCKS as usize * 512]);
        let builder = BufferPool::builder().frames(2 * BLOCKS).page_size(512).io_method(IoMethod::Sync);
        let pool = builder.disk(disk).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        let blocks = (0..BLOCKS).inspect(|block| {
            let frames = pool.stats().frames;
            assert_eq!((frames.reading, frames.pins), (0, 0), "at block {block}");
        });
        let prefetched = pool.prefetch(file, blocks);
        assert_eq!((prefetched.started, prefetched.declined), (BLOCKS, 0));
    }
}
