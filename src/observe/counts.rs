//! What is counted, in one list: for the pool, and for callers.

/// Makes a struct of counts for callers.
macro_rules! counts {
    ($(#[doc = $of:literal])* $name:ident { $($(#[doc = $doc:literal])* $field:ident: $type:ty,)* }) => {
        $(#[doc = $of])*
        #[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl $name {
            /// Each count with its name and its description.
            #[cfg(feature = "metrics")]
            pub(crate) const DOCS: &[(&'static str, &'static str)] =
                &[$((stringify!($field), concat!($($doc),*)),)*];

            /// Returns each count that is known with its name. Example: [`FileStats`](crate::stats::FileStats).
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), Option::<u64>::from(self.$field)),)*]
                    .into_iter()
                    .filter_map(|(name, count)| Some((name, count?)))
            }
        }

        impl std::ops::Sub for $name {
            type Output = Self;

            fn sub(self, earlier: Self) -> Self {
                Self { $($field: $crate::observe::counts::Count::since(self.$field, earlier.$field),)* }
            }
        }
    };
}
pub(crate) use counts;

/// A count, or one that may not be known.
pub(crate) trait Count {
    fn since(self, earlier: Self) -> Self;
}

impl Count for u64 {
    fn since(self, earlier: Self) -> Self {
        self.wrapping_sub(earlier)
    }
}

impl Count for Option<u64> {
    fn since(self, earlier: Self) -> Self {
        self.zip(earlier).map(|(now, then)| now.since(then))
    }
}

/// Makes [`Counter`], which the pool counts by, and [`Counts`].
macro_rules! counters {
    ($($(#[doc = $doc:literal])* $field:ident = $counter:ident,)*) => {
        /// What is counted, but for the hits.
        #[derive(Copy, Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Counter {
            $($(#[doc = $doc])* $counter,)*
        }

        impl Counter {
            pub(super) const KINDS: usize = [$(Self::$counter),*].len();
        }

        counts! {
            /// What a pool did.
            Counts {
                /// Fetches that found the page ready.
                hits: u64,
                $($(#[doc = $doc])* $field: u64,)*
            }
        }

        impl Counts {
            pub(super) fn of(hits: u64, get: impl Fn(Counter) -> u64) -> Self {
                Self { hits, $($field: get(Counter::$counter),)* }
            }
        }
    };
}

counters! {
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
    /// Example: [`Stats`](crate::stats::Stats).
    #[must_use]
    pub fn pages_per_read(&self) -> f64 {
        ratio(self.pages_read, self.read_requests.saturating_sub(self.joined_requests))
    }

    /// Returns the average number of pages of a write request; 0 if there was none. Example: [`Stats`](crate::stats::Stats).
    #[must_use]
    pub fn pages_per_write(&self) -> f64 {
        ratio(self.pages_written, self.write_requests)
    }

    /// Returns the share of fetches that found the page ready. Example: [`Stats`](crate::stats::Stats).
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        ratio(self.hits, self.hits + self.misses + self.joins)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

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
