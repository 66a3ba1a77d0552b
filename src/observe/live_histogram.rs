//! A histogram that threads add to, without a lock: two atomic additions a number.

use crate::{
    observe::histogram::{BUCKETS, Histogram, bucket_of},
    sync::uncontrolled::{AtomicU64, Ordering},
};

/// A histogram that is being added to.
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
