//! Counters that cost a hit next to nothing: each thread adds to a cell of its own, readers sum the cells.
//!
//! A live thread owns an index below [`CELLS`] for as long as it lives, so it can add with a plain load and store: no other thread
//! writes its cell. Threads beyond that share one cell and add atomically. Either way no count is lost.

use std::{sync::Arc, time::Duration};

use crossbeam_utils::CachePadded;

use crate::{
    observe::{hits::Hits, measures::Measures, thread_index},
    sync::uncontrolled::{AtomicU64, Ordering},
};

/// Threads that get a cell of their own.
pub(super) const CELLS: usize = 64;

/// What is counted.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// A fetch started a read.
    Misses,
    /// A fetch found the page's read under way and waited for it.
    Joins,
    /// Pages asked for by prefetch that started a read.
    Prefetches,
    /// Pages read, well or not.
    PagesRead,
    /// Read requests.
    ReadRequests,
    /// Pages written, well or not.
    PagesWritten,
    /// Write requests.
    WriteRequests,
    /// Syncs of a file.
    Syncs,
    /// Reads, writes and syncs that failed.
    Failures,
    /// Pages that were read, and that the codec refused.
    CorruptPages,
    /// Requests transferred by the thread that asked.
    Inline,
    /// Requests handed to the method's own threads.
    HandedOver,
    /// Of those, requests that went to the threads beside the ring, because their file could block its worker.
    Aside,
    /// Of those, requests that were joined to others that waited.
    Joined,
    /// Transfers that came back short or interrupted and were continued.
    Resumed,
    /// Calls of `io_uring_enter`.
    RingEnters,
    /// Pages that lost their frame to another.
    Evictions,
    /// Pages written by the background writer.
    PagesCleaned,
    /// Batches of the background writer of which a page could not be written.
    CleaningFailures,
    /// Times that a fetch had dirty victims written.
    DirtyEvictions,
    /// Pages that were changed while they were being written, on a shadow page.
    ShadowPages,
    /// Changes of a page without a log position, in a pool with a log.
    UnloggedChanges,
    /// Fetches that had to wait for a frame.
    FrameWaits,
    /// Sweeps that met no victim, clean or dirty.
    FutileSweeps,
    /// Pages that a crash may have torn and that were overwritten with their copies.
    Restored,
    /// Pages handed out by read streams.
    StreamPages,
    /// Times that a read stream's consumer had to wait for a read.
    StreamWaits,
    /// Requests and syncs that counted as slow.
    Slow,
    /// Requests that found no place in the list of those in flight.
    Unlisted,
}

const KINDS: usize = Counter::Unlisted as usize + 1;

#[derive(Default)]
struct CounterCell([AtomicU64; KINDS]);

/// The counters of one pool.
pub(crate) struct Counters {
    /// The name of the pool.
    pub(crate) pool: Arc<str>,
    /// The nanoseconds from which a request or a sync is slow.
    slow_nanos: u64,
    own: Box<[CachePadded<CounterCell>; CELLS]>,
    shared: CachePadded<CounterCell>,
    /// Pages that callers found ready.
    pub(crate) hits: Hits,
    /// The histograms.
    pub(crate) measures: Measures,
}

impl Counters {
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn new() -> Self {
        Self::of_pool("".into(), Duration::MAX)
    }

    /// Makes the counters of the pool of this name, in which a request is slow from this time on.
    pub(crate) fn of_pool(pool: Arc<str>, slow: Duration) -> Self {
        Self {
            pool,
            slow_nanos: u64::try_from(slow.as_nanos()).unwrap_or(u64::MAX),
            own: Box::new(std::array::from_fn(|_| CachePadded::default())),
            shared: CachePadded::default(),
            hits: Hits::new(),
            measures: Measures::new(),
        }
    }

    /// Counts `n` more.
    #[inline]
    pub(crate) fn add(&self, counter: Counter, n: u64) {
        let kind = counter as usize;
        match self.own.get(thread_index::current()) {
            Some(own) => {
                let cell = &own.0[kind];
                cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
            }
            // Too many threads, or a thread that is being torn down: the shared cell takes it.
            None => {
                self.shared.0[kind].fetch_add(n, Ordering::Relaxed);
            }
        }
    }

    /// Returns whether a request that took `nanos` nanoseconds was slow, and then counts it.
    pub(crate) fn is_slow(&self, nanos: u64) -> bool {
        let is_slow = nanos >= self.slow_nanos;
        if is_slow {
            self.add(Counter::Slow, 1);
        }
        is_slow
    }

    /// Returns the sum over all threads. Counts that are being added meanwhile may or may not be in it.
    pub(crate) fn get(&self, counter: Counter) -> u64 {
        let kind = counter as usize;
        let own = self.own.iter().map(|cell| cell.0[kind].load(Ordering::Relaxed));
        own.fold(self.shared.0[kind].load(Ordering::Relaxed), u64::wrapping_add)
    }

    /// Returns the bytes that counting takes.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.own) + self.hits.memory() + self.measures.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_count_is_lost_however_many_threads_come_and_go() {
        let counters = Counters::new();
        for _ in 0..2 {
            std::thread::scope(|scope| {
                for _ in 0..CELLS + 20 {
                    scope.spawn(|| (0..1000).for_each(|_| counters.add(Counter::Joins, 1)));
                }
            });
        }
        assert_eq!(counters.get(Counter::Joins), 2 * (CELLS as u64 + 20) * 1000);
        assert_eq!(counters.get(Counter::Misses), 0);
    }
}
