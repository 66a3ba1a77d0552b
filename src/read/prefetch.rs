//! Prefetch: starts many reads as one batch, and waits for none. A page that finds no clean frame, no place in the read-ahead
//! quota, or no room in the method's queue is declined: it is read when it is fetched.

use smallvec::SmallVec;

use crate::{
    buffer::{frame::state::State, residency::CLAIMS_MAX},
    id::{FileId, PageId},
    io::operation::Urgency,
    read::batch::{BatchMemory, Issuer, Start},
    runtime::shared::Shared,
};

/// The report of a prefetch.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prefetch {
    /// The number of pages whose reads were started.
    pub started: u32,
    /// The number of pages that were in the pool, or whose read was under way.
    pub already: u32,
    /// The number of pages whose reads could not be started without waiting, or that do not exist: their file is not open, or ends
    /// before them.
    pub declined: u32,
}

impl Prefetch {
    fn add(&mut self, other: Self) {
        self.started += other.started;
        self.already += other.already;
        self.declined += other.declined;
    }
}

/// The most pages that are taken from the caller's iterator before their reads begin.
const CHUNK: usize = 512;

/// Starts the reads of the pages. The iterator is called while nothing is begun, since it may do anything: fetch, wait, panic.
pub(crate) fn prefetch(shared: &Shared, pages: impl IntoIterator<Item = PageId>) -> Prefetch {
    let mut pages = pages.into_iter();
    let (mut chunk, mut batch) = (Vec::new(), BatchMemory::default());
    let mut prefetch = Prefetch::default();
    let mut full = None;
    loop {
        if seeded!("iterator_called_with_reads_begun") {
            return prefetch_chunk(shared, pages, &mut batch, &mut full);
        }
        chunk.extend(pages.by_ref().take(CHUNK));
        if chunk.is_empty() {
            return prefetch;
        }
        prefetch.add(prefetch_chunk(shared, chunk.drain(..), &mut batch, &mut full));
    }
}

/// Starts the reads of some of the pages. `full`: the last file for which there was no place; its further pages are declined.
fn prefetch_chunk(
    shared: &Shared,
    pages: impl Iterator<Item = PageId>,
    batch: &mut BatchMemory,
    full: &mut Option<FileId>,
) -> Prefetch {
    let mut outcome = Prefetch::default();
    if shared.check_open().is_err() {
        outcome.declined = pages.count() as u32;
        return outcome;
    }
    let mut issuer = Issuer::new(shared, Urgency::Background, batch);
    let is_alone = shared.pool.has_one_file_at_most();
    let mut missing: SmallVec<[PageId; CLAIMS_MAX]> = SmallVec::new();
    let mut pages = pages.peekable();
    while let Some(&PageId { file, .. }) = pages.peek() {
        for _ in 0..CLAIMS_MAX {
            let Some(page) = pages.next_if(|page| page.file == file) else { break };
            if shared.pool.is_mapped(page) {
                outcome.already += 1;
            } else {
                missing.push(page);
            }
        }
        let wanted = missing.len() as u32;
        let is_vain = *full == Some(file) || missing.is_empty();
        let places =
            if is_vain { 0 } else { shared.pool.read_ahead_quota.take(file, missing.len(), is_alone) };
        // A value that returns the places when it is dropped, since the disk may panic.
        let mut unused = shared.pool.read_ahead_quota.unused(file, places);
        let (mut started, mut met, mut refused) = (0, 0, false);
        issuer.start_each(&missing[..places], |start| match start {
            Start::Begun(pin) => {
                started += 1;
                unused.use_one();
                shared.pool.leave_unattended(pin, State::expect_use);
            }
            Start::Met(_) => met += 1,
            Start::Impossible => {}
            Start::Refused => refused = true,
        });
        drop(unused);
        if refused || places < missing.len() {
            *full = Some(file);
        }
        missing.clear();
        outcome.add(Prefetch { started, already: met, declined: wanted - started - met });
    }
    issuer.submit();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BufferPool, IoMethod, OpenOptions, io::tests::support::FakeDisk, testing::SimDisk};

    #[test]
    fn c10_a_storage_that_panics_costs_no_place_of_look_ahead() {
        let disk = FakeDisk::stamped(256 * 512);
        let builder = BufferPool::builder().frames(512).page_size(512).io_method(IoMethod::Sync);
        let pool = builder.storage(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        // One of the first blocks is resident, so a batch is full, and read, when more places were taken than it uses.
        drop(pool.fetch(PageId::new(file, 0)).wait().unwrap());
        disk.panic_once();
        let prefetch = || pool.prefetch(file.pages((0..256).step_by(2)));
        assert_eq!(prefetch().started, 127);
        let frames = pool.stats().frames;
        assert_eq!((frames.reading_ahead, frames.reading, frames.pins), (0, 0, 0));
    }

    /// Blocks that are asked for one by one, by an iterator that looks at the pool each time.
    #[test]
    fn c10_the_iterator_is_called_with_no_read_begun() {
        const BLOCKS: u32 = 2 * CHUNK as u32 + 7;
        let disk = SimDisk::new();
        disk.put("data", vec![1; BLOCKS as usize * 512]);
        let builder = BufferPool::builder().frames(2 * BLOCKS).page_size(512).io_method(IoMethod::Sync);
        let pool = builder.storage(disk).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new()).unwrap();
        let blocks = (0..BLOCKS).inspect(|block| {
            let frames = pool.stats().frames;
            assert_eq!((frames.reading, frames.pins), (0, 0), "at block {block}");
        });
        let prefetched = pool.prefetch(file.pages(blocks));
        assert_eq!((prefetched.started, prefetched.declined), (BLOCKS, 0));
    }
}
