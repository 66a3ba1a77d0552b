//! What a pool did and what it holds, at one moment.

use std::{fmt, ops::Sub, sync::Arc};

use crate::{
    buffer::frame::state::Phase,
    io::report::MethodReport,
    observe::{Counter, Counters, Histogram, Latencies, Measure},
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

macro_rules! counts {
    ($($(#[doc = $doc:literal])* $field:ident = $counter:ident,)*) => {
        /// What a pool did.
        #[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counts {
            /// Fetches that found the page ready.
            pub hits: u64,
            $($(#[doc = $doc])* pub $field: u64,)*
        }

        impl Counts {
            pub(crate) fn of(counters: &Counters) -> Self {
                Self { hits: counters.hits.all(), $($field: counters.get(Counter::$counter),)* }
            }

            /// Each count with its name and its description.
            #[cfg(feature = "metrics")]
            pub(crate) const DOCS: &[(&'static str, &'static str)] =
                &[("hits", "Fetches that found the page ready."), $((stringify!($field), concat!($($doc),*)),)*];

            /// Returns each count with its name. Example: [`Stats`].
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [("hits", self.hits), $((stringify!($field), self.$field),)*].into_iter()
            }
        }

        impl Sub for Counts {
            type Output = Self;

            fn sub(self, earlier: Self) -> Self {
                Self { hits: self.hits.wrapping_sub(earlier.hits), $($field: self.$field.wrapping_sub(earlier.$field),)* }
            }
        }
    };
}

counts! {
    /// Fetches that started a read.
    misses = Misses,
    /// Fetches that found the read under way and waited for it.
    joins = Joins,
    /// Pages whose read was started by a prefetch.
    prefetches = Prefetches,
    /// Pages read, well or not. More than `misses` and `prefetches` together where a read of several pages failed: each of them that
    /// a caller waits for is then read again by itself, for the same miss or join.
    pages_read = PagesRead,
    /// Requests by which they were read, as they were asked for: before neighbours were joined to one. The
    /// [files'](crate::stats::FileCounts::read_requests) are counted after that.
    read_requests = ReadRequests,
    /// Pages written.
    pages_written = PagesWritten,
    /// Requests by which they were written.
    write_requests = WriteRequests,
    /// Syncs of a file.
    syncs = Syncs,
    /// Reads, writes and syncs that failed.
    failures = Failures,
    /// Pages that were read and that the codec refused ([`Error::Corrupt`](crate::Error::Corrupt)). A page that stays corrupt counts
    /// each time that it is read.
    corrupt_pages = CorruptPages,
    /// Requests that were transferred by the thread that asked.
    inline_requests = Inline,
    /// Requests that were handed to the I/O method's threads.
    handed_over_requests = HandedOver,
    /// Of those, requests that went to the threads beside the ring, because their file could block its worker.
    aside_requests = Aside,
    /// Of those, requests that were joined to others that waited and touched them, so that they went as one.
    joined_requests = Joined,
    /// Transfers that came back short or interrupted and were continued.
    resumed_transfers = Resumed,
    /// System calls of the submission worker.
    ring_enters = RingEnters,
    /// Frames that were taken for another page, or emptied.
    evictions = Evictions,
    /// Pages written by the background writer, before their frames were needed.
    pages_cleaned = PagesCleaned,
    /// Batches of the background writer of which a page could not be written: it pauses after each.
    cleaning_failures = CleaningFailures,
    /// Times that a fetch found only dirty victims and had some of them written. A try of which nothing was written does not
    /// count.
    dirty_evictions = DirtyEvictions,
    /// Times that a page was changed while it was being written, so that its bytes moved to a shadow page for the time of the
    /// write. No thread waits for that.
    shadow_pages = ShadowPages,
    /// Changes without a [log position](crate::PageWrite::set_lsn), in a pool with a log: guards that were dropped after a change,
    /// and had been told neither of a record nor that there is none. Anything but 0 is most likely a call that was
    /// [forgotten](crate::options::UnloggedChanges).
    unlogged_changes = UnloggedChanges,
    /// Fetches that waited for a frame because all were pinned or busy.
    frame_waits = FrameWaits,
    /// Looks at all frames of the pool that found none to take, clean or dirty: all were pinned, in an I/O, or dirty without room
    /// for a sealed copy.
    futile_sweeps = FutileSweeps,
    /// Pages that were restored from their copies when their files were opened after a crash.
    pages_restored = Restored,
    /// Pages that read streams handed out.
    stream_pages = StreamPages,
    /// Times that a read stream had to wait for a page.
    stream_waits = StreamWaits,
    /// Reads, writes and syncs that took as long as counts for [slow](crate::Builder::slow_io).
    slow_requests = Slow,
    /// Requests that [`in_flight`](crate::BufferPool::in_flight) could not list, because too many were.
    unlisted_requests = Unlisted,
}

impl Counts {
    /// Returns the average number of pages of a read that went to the disk; 0 if there was none. Approximate for the counts of an
    /// interval: a request is counted when it is made, and its outcome when that is known, which may be in a later interval.
    /// Example: [`Stats`].
    #[must_use]
    pub fn pages_per_read(&self) -> f64 {
        ratio(self.pages_read, self.read_requests.saturating_sub(self.joined_requests))
    }

    /// Returns the average number of pages of a write request; 0 if there was none. Example: [`Stats`].
    #[must_use]
    pub fn pages_per_write(&self) -> f64 {
        ratio(self.pages_written, self.write_requests)
    }

    /// Returns the share of fetches that found the page ready. Example: [`Stats`].
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        ratio(self.hits, self.hits + self.misses + self.joins)
    }
}

/// Returns the size in MiB, or in KiB below 16 MiB.
fn size_text(bytes: u64) -> String {
    if bytes < 16 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
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
            counts: Counts::of(&shared.counters),
            latencies: Latencies::of(&shared.counters),
            look_ahead: shared.counters.measures.get(Measure::LookAhead),
            frames,
            page_bytes: pool.page_memory() as u64,
            overhead_bytes: (pool.overhead()
                + shared.counters.memory()
                + shared.operations.memory_bytes()
                + of_files) as u64,
            huge_pages: pool.arena().asked_for_huge_pages(),
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

    /// Requests that were asked for before an interval may be joined to others within it.
    #[test]
    fn pages_per_read_of_an_interval_that_joined_more_than_it_asked_for_is_no_error() {
        let at = |read_requests, joined_requests, pages_read| Counts {
            read_requests,
            joined_requests,
            pages_read,
            ..Counts::default()
        };
        assert!((at(10, 5, 20).pages_per_read() - 4.0).abs() < f64::EPSILON);
        assert!((at(12, 9, 50) - at(10, 5, 20)).pages_per_read().abs() < f64::EPSILON);
    }
}
