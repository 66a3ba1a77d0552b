//! What the pool did with each open file, and what it holds of it.

use rustc_hash::FxHashMap;

use crate::{
    files::FileInfo,
    id::FileId,
    io::file::File,
    observe::{Latency, counts::counts, measures::LiveHistogram},
    runtime::shared::Shared,
    sync::{
        Arc,
        uncontrolled::{AtomicU64, Ordering},
    },
};

/// An open file: what is known of it, what the pool did with it since it was opened, and what the pool holds of it now.
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, OpenOptions, PageId};
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
/// for block in [0_u32, 0, 0, 1] {
///     pool.read(PageId::new(file, block)).wait()?;
/// }
/// let counts = pool.files()[0].counts;
/// assert_eq!(counts.hit_ratio(), Some(0.5));
/// let all: Vec<_> = counts.iter().filter(|&(_, count)| count > 0).map(|(name, _)| name).collect();
/// assert_eq!(all, ["hits", "misses", "read_requests", "pages_read"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileStats {
    /// The [name](crate::Builder::name) of its pool.
    pub pool: Arc<str>,
    /// Its id.
    pub file: FileId,
    /// The same as [`file_info`](crate::BufferPool::file_info): its path and length, and how it was opened.
    pub info: FileInfo,
    /// What the pool did with it.
    pub counts: FileCounts,
    /// How long its read requests took, from when they were made until they were over, including the wait in a queue.
    pub read: Latency,
    /// How long its write requests took, from when they were made until they were over, including the wait for the log and in a
    /// queue.
    pub write: Latency,
    /// How long its syncs took.
    pub sync: Latency,
    /// The number of its pages in the pool that can be used.
    pub resident_pages: u32,
    /// The number of those that have changes which are not on their way to disk.
    pub dirty_pages: u32,
}

counts! {
    /// What the pool did with a file since it was opened. Subtract older counts for an interval.
    FileCounts {
        /// Pages of the file that callers found ready. `None` for files that share a counter, which begins when one is opened while about
        /// 64 others are open: the counters of hits are by thread and file, so that a hit writes nothing that threads share.
        hits: Option<u64>,
        /// Pages of the file whose read a caller started.
        misses: u64,
        /// Pages of the file whose read a caller found under way.
        joins: u64,
        /// Pages of the file whose read was started ahead, by a prefetch or a stream.
        prefetches: u64,
        /// Read requests that are over: those that were joined to one count as one, here and in the latencies of reads.
        read_requests: u64,
        /// Pages of those.
        pages_read: u64,
        /// Write requests that are over.
        write_requests: u64,
        /// Pages of those.
        pages_written: u64,
        /// Syncs.
        syncs: u64,
        /// Reads, writes and syncs that failed.
        failures: u64,
        /// Pages of the file that were read and that the codec refused. A page that stays corrupt counts each time that it is read.
        corrupt_pages: u64,
    }
}

impl FileCounts {
    /// Returns the share of pages that callers found ready, of all that they asked for one by one; `None` if the hits are not
    /// known, and 0 if there was none. Example: [`FileStats`].
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        let hits = self.hits?;
        let all = hits + self.misses + self.joins;
        Some(if all == 0 { 0.0 } else { hits as f64 / all as f64 })
    }
}

pub(crate) fn files(shared: &Shared) -> Vec<FileStats> {
    let open: Vec<Arc<File>> = shared.files.all().into_iter().filter(|file| !file.is_closed()).collect();
    let mut held: FxHashMap<FileId, (u32, u32)> = FxHashMap::default();
    for (_, frame) in shared.pool.frames.iter() {
        if let Some((page, state)) = frame.glance()
            && state.is_valid()
        {
            let (resident, dirty) = held.entry(page.file).or_default();
            *resident += 1;
            *dirty += u32::from(state.is_dirty());
        }
    }
    open.iter().map(|file| of(shared, file, held.get(&file.id).copied().unwrap_or_default())).collect()
}

fn of(shared: &Shared, file: &File, (resident_pages, dirty_pages): (u32, u32)) -> FileStats {
    let activity = &file.activity;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let [read, write, sync] = [&activity.reads.times, &activity.writes.times, &activity.syncs]
        .map(|times| Latency(LiveHistogram::sum([times])));
    let counts = FileCounts {
        hits: activity.hits(shared.counters.hits.at_place_of(file.id)),
        misses: count(&activity.misses),
        joins: count(&activity.joins),
        prefetches: count(&activity.prefetches),
        read_requests: read.count(),
        pages_read: activity.reads.pages(read.count()),
        write_requests: write.count(),
        pages_written: activity.writes.pages(write.count()),
        syncs: sync.count(),
        failures: count(&activity.failures),
        corrupt_pages: count(&activity.corrupt_pages),
    };
    let info = FileInfo::of(shared, file);
    let pool = Arc::clone(&shared.counters.pool);
    FileStats { pool, file: file.id, info, counts, read, write, sync, resident_pages, dirty_pages }
}
