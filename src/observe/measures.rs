//! Histograms that many threads add to, for I/O and never for a hit: no lock, no allocation, a few atomic additions. The threads
//! are spread over as many shards as there are cores, four at most, which readers sum.

use std::{thread, time::Duration};

use crate::{
    observe::{
        Measure,
        histogram::{BUCKETS, Histogram, bucket_of},
        thread_index,
    },
    sync::uncontrolled::{AtomicU64, Ordering},
};

/// A histogram that threads add to, without a lock: two atomic additions a number.
#[derive(Debug)]
pub(crate) struct LiveHistogram {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for LiveHistogram {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }
}

impl LiveHistogram {
    pub(crate) fn add(&self, number: u64) {
        if number > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(number, Ordering::Relaxed);
        }
        self.sum.fetch_add(number, Ordering::Relaxed);
        self.counts[bucket_of(number)].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the sum of these histograms. Numbers that are being added meanwhile may or may not be in it.
    pub(crate) fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Histogram {
        let mut counts = vec![0; BUCKETS];
        let (mut sum, mut max) = (0_u64, 0);
        for live in all {
            counts
                .iter_mut()
                .zip(&live.counts)
                .for_each(|(count, more)| *count += more.load(Ordering::Relaxed));
            sum = sum.wrapping_add(live.sum.load(Ordering::Relaxed));
            max = live.max.load(Ordering::Relaxed).max(max);
        }
        Histogram::new(counts.into(), sum, max)
    }
}

/// The most shards. Few threads do I/O, and an I/O is long beside an addition that another thread delays.
const SHARDS_MAX: usize = 4;

pub(crate) struct Measures {
    /// Each kind of the first shard, then of the next.
    live: Box<[LiveHistogram]>,
}

impl Measures {
    pub(crate) fn new() -> Self {
        let shards = thread::available_parallelism().map_or(1, usize::from).min(SHARDS_MAX);
        Self { live: (0..shards * Measure::KINDS).map(|_| LiveHistogram::default()).collect() }
    }

    /// Adds a time, in nanoseconds.
    pub(crate) fn add_time(&self, measure: Measure, time: Duration) {
        self.add(measure, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add(&self, measure: Measure, number: u64) {
        let shard = thread_index::current() % (self.live.len() / Measure::KINDS);
        self.live[shard * Measure::KINDS + measure as usize].add(number);
    }

    /// Returns what was added so far, by all threads. What is being added meanwhile may or may not be in it.
    pub(crate) fn get(&self, measure: Measure) -> Histogram {
        LiveHistogram::sum(self.live.iter().skip(measure as usize).step_by(Measure::KINDS))
    }

    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_however_many_threads_add() {
        const THREADS: u64 = 2 * SHARDS_MAX as u64 + 1;
        let measures = Measures::new();
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let measures = &measures;
                scope.spawn(move || (0..1000).for_each(|n| measures.add(Measure::Join, 1000 * thread + n)));
            }
        });
        let joins = measures.get(Measure::Join);
        let all = 1000 * THREADS;
        assert_eq!((joins.count(), joins.max()), (all, all - 1));
        assert_eq!(joins.mean(), (all - 1) as f64 / 2.0);
        assert_eq!(measures.get(Measure::Miss).count() + measures.get(Measure::FrameWait).count(), 0);
    }

    #[test]
    fn a_time_that_no_number_holds_is_the_longest_there_is() {
        let measures = Measures::new();
        measures.add_time(Measure::Read, Duration::MAX);
        measures.add_time(Measure::Read, Duration::from_micros(80));
        let reads = measures.get(Measure::Read);
        assert_eq!((reads.count(), reads.max()), (2, u64::MAX));
        assert!(reads.p50().abs_diff(80_000) <= 80_000 / 17);
    }
}
