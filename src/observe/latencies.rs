//! How long operations take, seen by a caller: histograms of nanoseconds, returned as durations.

use std::{fmt, ops::Sub, time::Duration};

use crate::observe::{histogram::Histogram, measures::Measures};

/// How long an operation took, each time that it was done.
///
/// It covers the time since the pool was built; subtract an older one for an interval. Quantiles are at most 5.9 % off.
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, OpenOptions, PageId};
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
/// let earlier = pool.stats().latencies;
/// for block in 0..8_u32 {
///     pool.read(PageId::new(file, block)).wait()?;
/// }
/// let latencies = pool.stats().latencies;
/// let miss = &latencies.miss - &earlier.miss;
/// assert_eq!(miss.count(), 8);
/// assert!(miss.p50() <= miss.p99() && miss.p99() <= miss.p999() && miss.p999() <= miss.max());
/// assert!(miss.mean() <= miss.sum() && miss.quantile(0.25) <= miss.p50());
/// for (name, latency) in latencies.iter() {
///     println!("{name}: {latency}"); // "miss: 8 times, p50 ..."
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Latency(pub(crate) Histogram);

impl Latency {
    /// Returns the number of times. Example: [`Latency`].
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// Returns the sum of all times; exact. Example: [`Latency`].
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.0.sum())
    }

    /// Returns the mean; exact. Zero if there is none, as with all other methods. Example: [`Latency`].
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.0.mean() as u64)
    }

    /// Returns the longest time: exact since the pool was built, to an eighth for an interval. Example: [`Latency`].
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// Returns the time that this share of the times (0 to 1) does not exceed. Example: [`Latency`].
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.0.quantile(share))
    }

    /// Returns the median. Example: [`Latency`].
    #[must_use]
    pub fn p50(&self) -> Duration {
        Duration::from_nanos(self.0.p50())
    }

    /// Returns the time that 99 in 100 do not exceed. Example: [`Latency`].
    #[must_use]
    pub fn p99(&self) -> Duration {
        Duration::from_nanos(self.0.p99())
    }

    /// Returns the time that 999 in 1,000 do not exceed. Example: [`Latency`].
    #[must_use]
    pub fn p999(&self) -> Duration {
        Duration::from_nanos(self.0.p999())
    }
}

impl Sub for &Latency {
    type Output = Latency;

    fn sub(self, earlier: Self) -> Latency {
        Latency(&self.0 - &earlier.0)
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, p999, max) = (self.p50(), self.p99(), self.p999(), self.max());
        write!(f, "{} times, p50 {p50:.1?}, p99 {p99:.1?}, p99.9 {p999:.1?}, max {max:.1?}", self.count())
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latency({self})")
    }
}

/// Makes [`Measure`], which the pool measures by, and [`Latencies`].
macro_rules! latencies {
    ($($(#[$doc:meta])* $field:ident = $measure:ident,)*) => {
        /// What is measured; times in nanoseconds.
        #[derive(Copy, Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Measure {
            $($(#[$doc])* $measure,)*
            /// How many pages a read stream looks ahead, each time that it looks.
            LookAhead,
        }

        impl Measure {
            pub(super) const KINDS: usize = Self::LookAhead as usize + 1;
        }

        /// How long a pool's work takes.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Latencies {
            $($(#[$doc])* pub $field: Latency,)*
        }

        impl Latencies {
            pub(crate) fn of(measures: &Measures) -> Self {
                Self { $($field: Latency(measures.get(Measure::$measure)),)* }
            }

            /// Returns each of them with its name. Example: [`Latency`].
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Latency)> {
                [$((stringify!($field), &self.$field),)*].into_iter()
            }
        }

        impl Sub for &Latencies {
            type Output = Latencies;

            fn sub(self, earlier: Self) -> Latencies {
                Latencies { $($field: &self.$field - &earlier.$field,)* }
            }
        }
    };
}

latencies! {
    /// Read requests, from when they are made until they are over, including the wait in a queue.
    read = Read,
    /// Write requests, from when they are made until they are over, including the wait for the log and in a queue.
    write = Write,
    /// Syncs of a file.
    sync = Sync,
    /// Pages whose read the caller started, by [`fetch`](crate::BufferPool::fetch), [`read`](crate::BufferPool::read),
    /// [`write`](crate::BufferPool::write), [`fetch_many`](crate::BufferPool::fetch_many) or a stream that read the page by itself:
    /// from when the caller began to wait until it had the page, without the wait for the latch. Pages of one `fetch_many` come
    /// together, so each counts as long as the call.
    miss = Miss,
    /// Pages whose read the caller found under way: from when the caller began to wait until it had the page.
    join = Join,
    /// Pages that were [overwritten](crate::BufferPool::overwrite), until the caller had the page, including the waits for a frame
    /// and for the latch.
    overwrite = Overwrite,
    /// Waits of [read streams](crate::stream::ReadStream) for a page that was not resident when its turn came, until it was or had
    /// failed.
    stream_wait = StreamWait,
    /// Waits of callers for a frame, because all were pinned or busy: until there was one, or the caller gave up.
    frame_wait = FrameWait,
    /// Waits for the latch of a page that another thread or task had latched, including those of write-out.
    latch_wait = LatchWait,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_latency_is_that_of_its_name_and_has_its_interval() {
        let measures = Measures::new();
        let all = [
            Measure::Read,
            Measure::Write,
            Measure::Sync,
            Measure::Miss,
            Measure::Join,
            Measure::Overwrite,
            Measure::StreamWait,
            Measure::FrameWait,
            Measure::LatchWait,
        ];
        for (micros, measure) in (1..).zip(all) {
            measures.add_time(measure, Duration::from_micros(micros));
        }
        let earlier = Latencies::of(&measures);
        let named = earlier.iter().map(|(name, latency)| (name, latency.max().as_micros()));
        let expected =
            ["read", "write", "sync", "miss", "join", "overwrite", "stream_wait", "frame_wait", "latch_wait"];
        assert!(named.eq(expected.into_iter().zip(1..)), "{earlier:?}");
        measures.add_time(Measure::Sync, Duration::from_millis(2));
        let interval = &Latencies::of(&measures) - &earlier;
        assert_eq!(interval.iter().map(|(_, latency)| latency.count()).sum::<u64>(), 1);
        assert!(interval.sync.p50().abs_diff(Duration::from_millis(2)) < Duration::from_millis(2) / 16);
        assert!(interval.sync.to_string().starts_with("1 times, p50 "), "{}", interval.sync);
    }
}
