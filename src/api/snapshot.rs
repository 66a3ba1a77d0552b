//! What a pool did and what it holds, at one moment.

use std::{fmt, sync::Arc};

use crate::{
    buffer::frame::state::Phase,
    io::report::MethodReport,
    observe::{Counts, Histogram, Latencies, Measure},
    runtime::shared::Shared,
};

/// A pool's counters and contents.
///
/// The counters run since the pool was built; subtract an older snapshot for an interval. The contents are counted while the pool
/// is in use, so they are the state of no single instant.
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
/// let stats = pool.stats();
/// assert_eq!((stats.counts.hits, stats.counts.misses), (2, 2));
/// assert_eq!(stats.counts.hit_ratio(), 0.5);
/// assert_eq!((stats.counts.pages_per_read(), stats.counts.pages_per_write()), (1.0, 0.0));
/// assert_eq!((stats.frames.resident, stats.frames.in_flight()), (2, 0));
/// println!("{stats}");
///
/// // Of an interval, for a monitor of your own:
/// let earlier = stats;
/// # pool.read(PageId::new(file, 0)).wait()?;
/// for (name, count) in (pool.stats().counts - earlier.counts).iter() {
///     assert_eq!(count, u64::from(name == "hits"));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// The pool's [name](crate::Builder::name).
    pub pool: Arc<str>,
    /// The I/O method: asked for, in use, and why they differ.
    pub method: MethodReport,
    /// What was done.
    pub counts: Counts,
    /// How long it took.
    pub latencies: Latencies,
    /// How many pages the read streams looked ahead, each time that they looked.
    pub look_ahead: Histogram,
    /// What the frames hold.
    pub frames: FrameStats,
    /// Bytes of page memory: those of the frames; in a pool that can be resized also those left of the last step.
    pub page_bytes: u64,
    /// Bytes beside the page memory: headers, page table, room for sealed copies, shadow pages, counters, the list of requests in
    /// flight.
    pub overhead_bytes: u64,
    /// Whether the memory was asked for in huge pages.
    pub huge_pages: bool,
}

/// Returns the size in MiB, or in KiB below 16 MiB.
fn size_text(bytes: u64) -> String {
    if bytes < 16 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

/// What a pool's frames hold.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameStats {
    /// All frames.
    pub total: u32,
    /// The most that there may be: see [`resize`](crate::BufferPool::resize).
    pub at_most: u32,
    /// Frames that hold a page that can be used.
    pub resident: u32,
    /// Frames with a pin.
    pub pinned: u32,
    /// All pins together.
    pub pins: u64,
    /// Frames with changes that are not on their way to disk.
    pub dirty: u32,
    /// Frames being read.
    pub reading: u32,
    /// Frames that reading ahead takes up: on their way for a prefetch, or held by a read stream until their turn comes.
    pub reading_ahead: u32,
    /// Frames being written.
    pub writing: u32,
}

impl FrameStats {
    /// Returns the number of frames in an I/O. Example: [`Stats`].
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.reading + self.writing
    }
}

impl Stats {
    pub(crate) fn of(shared: &Shared) -> Self {
        let pool = &shared.pool;
        let mut frames = FrameStats {
            total: pool.size.frames(),
            at_most: pool.size.most(),
            reading_ahead: pool.read_ahead_quota.taken() as u32,
            ..FrameStats::default()
        };
        let in_slots = pool.slots.holds();
        for (no, frame) in pool.frames.iter() {
            let state = frame.state.load();
            let pins = state.pins() + in_slots.of(no);
            frames.resident += u32::from(state.is_valid());
            frames.pinned += u32::from(pins > 0);
            frames.pins += pins;
            frames.dirty += u32::from(state.is_dirty());
            frames.reading += u32::from(state.phase() == Phase::Reading);
            frames.writing += u32::from(state.is_writing());
        }
        // In a forked process a lock may be held for ever.
        let of_files = shared.check_process().map_or(0, |()| shared.files.memory_bytes());
        let mut method = shared.method_report.clone();
        if shared.check_process().is_ok()
            && let Some(change) = shared.method.change()
        {
            method.amend(change.in_use, &change.reason);
        }
        Self {
            pool: Arc::clone(&shared.counters.pool),
            method,
            counts: shared.counters.counts(),
            latencies: Latencies::of(&shared.counters.measures),
            look_ahead: shared.counters.measures.get(Measure::LookAhead),
            frames,
            page_bytes: pool.page_memory() as u64,
            overhead_bytes: (pool.overhead()
                + shared.counters.memory()
                + shared.operations.memory_bytes()
                + of_files) as u64,
            huge_pages: pool.arena.asked_for_huge_pages(),
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FrameStats { total, at_most: _, resident, pinned, pins, dirty, reading, reading_ahead, writing } =
            self.frames;
        writeln!(f, "method: {}", self.method)?;
        writeln!(
            f,
            "frames: {total}, {resident} resident, {pinned} pinned ({pins} pins), {dirty} dirty, {reading} being read \
             ({reading_ahead} ahead), {writing} being written"
        )?;
        let [pages, beside] = [self.page_bytes, self.overhead_bytes].map(size_text);
        writeln!(f, "memory: {pages} of pages, {beside} beside them")?;
        for (name, value) in self.counts.iter() {
            writeln!(f, "{name}: {value}")?;
        }
        for (name, latency) in self.latencies.iter().filter(|(_, latency)| latency.count() > 0) {
            writeln!(f, "{name}: {latency}")?;
        }
        let (per_read, per_write) = (self.counts.pages_per_read(), self.counts.pages_per_write());
        write!(f, "pages a request: {per_read:.2} reading, {per_write:.2} writing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_small_pools_is_told_in_kib() {
        let texts = [8 << 10, (16 << 20) - 1, 16 << 20, 3 << 30].map(size_text);
        assert_eq!(texts, ["8 KiB", "16383 KiB", "16 MiB", "3072 MiB"]);
    }
}
