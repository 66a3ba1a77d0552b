//! What is counted for one file but its [hits](crate::observe::hits), in 7 KiB and two atomic additions a request. PostgreSQL's
//! counterparts: `pg_statio_all_tables`, `pg_stat_io`.

use crate::{
    observe::measures::LiveHistogram,
    sync::uncontrolled::{AtomicBool, AtomicU64, Ordering},
};

#[derive(Debug, Default)]
pub(crate) struct FileActivity {
    pub(crate) misses: AtomicU64,
    pub(crate) joins: AtomicU64,
    pub(crate) prefetches: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) corrupt_pages: AtomicU64,
    pub(crate) reads: RequestsOfFile,
    pub(crate) writes: RequestsOfFile,
    pub(crate) syncs: LiveHistogram,
    /// The hits of its place before it was opened.
    hits_before: AtomicU64,
    /// Another file had its place at the same time.
    shares_hits: AtomicBool,
}

/// Requests of one kind that are over.
#[derive(Debug, Default)]
pub(crate) struct RequestsOfFile {
    pub(crate) times: LiveHistogram,
    /// Their pages, beyond one for each request.
    more_pages: AtomicU64,
}

impl FileActivity {
    pub(crate) fn note_failure(&self, failed: bool) {
        if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes how many hits its place had when it was opened.
    pub(crate) fn begin_hits(&self, at_place: u64) {
        self.hits_before.store(at_place, Ordering::Relaxed);
    }

    /// Notes that another open file has its place.
    pub(crate) fn share_hits(&self) {
        self.shares_hits.store(true, Ordering::Relaxed);
    }

    /// Returns its hits, given the hits of its place now; `None` if they cannot be separated from those of other files.
    pub(crate) fn hits(&self, at_place: u64) -> Option<u64> {
        let is_alone = !self.shares_hits.load(Ordering::Relaxed);
        is_alone.then(|| at_place.wrapping_sub(self.hits_before.load(Ordering::Relaxed)))
    }
}

impl RequestsOfFile {
    /// Notes a request of `pages` pages that took `nanos` nanoseconds.
    pub(crate) fn note(&self, nanos: u64, pages: u64) {
        self.times.add(nanos);
        if pages > 1 {
            self.more_pages.fetch_add(pages - 1, Ordering::Relaxed);
        }
    }

    /// Returns the pages of all requests, whose number is `requests`.
    pub(crate) fn pages(&self, requests: u64) -> u64 {
        requests + self.more_pages.load(Ordering::Relaxed)
    }
}
