//! The distribution of numbers, in buckets that widen with the numbers. Pure.
//!
//! Each power of two is cut into eight buckets, as in Gil Tene's HdrHistogram: below eight every number has a bucket of its own,
//! above that the width of a bucket is at most an eighth of its lowest number. A quantile is returned as its bucket's harmonic
//! middle, whose error is the same for the lowest as for the highest number: at most 1/17.

use std::{fmt, ops::Sub};

/// Buckets for each power of two.
const STEPS: u64 = 1 << STEP_BITS;
const STEP_BITS: u32 = 3;

/// Numbers from 2^37 on share the last bucket, which has no others; as nanoseconds that is a little over two minutes.
const BITS: u32 = 37;

pub(crate) const BUCKETS: usize = (((BITS - STEP_BITS + 1) as usize) << STEP_BITS) + 1;

#[inline]
pub(crate) fn bucket_of(number: u64) -> usize {
    let shift = (u64::BITS - STEP_BITS - 1).saturating_sub(number.leading_zeros());
    let bucket = u64::from(shift) * STEPS + (number >> shift);
    (bucket as usize).min(BUCKETS - 1)
}

fn lowest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / STEPS).saturating_sub(1);
    (bucket - shift * STEPS) << shift
}

/// Returns the highest number in a bucket; for the last one, the highest that it would have if there were another.
fn highest(bucket: usize) -> u64 {
    lowest(bucket + 1) - 1
}

/// Returns the middle of a bucket, which differs from each number in it by at most a seventeenth of that number.
fn middle(bucket: usize) -> u64 {
    let [low, high] = [lowest(bucket), highest(bucket)].map(|number| number as f64);
    if high > low { (2.0 * low * high / (low + high)).round() as u64 } else { low as u64 }
}

/// How often numbers of each size were seen.
///
/// It covers the time since the pool was built; subtract an older one for an interval. Quantiles are at most 5.9 % off.
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, OpenOptions, StreamOptions};
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
/// for page in pool.read_stream(file.pages(0..8_u32), StreamOptions::new()) {
///     page?;
/// }
/// let look_ahead = pool.stats().look_ahead;
/// println!("{} times, {:.1} pages on average", look_ahead.count(), look_ahead.mean());
/// assert!(look_ahead.p50() <= look_ahead.p99() && look_ahead.p99() <= look_ahead.p999());
/// assert!(look_ahead.quantile(1.0) <= look_ahead.max() && look_ahead.max() <= look_ahead.sum());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64]>,
    sum: u64,
    max: u64,
}

impl Histogram {
    /// Makes a histogram from counts for each bucket, the sum of the numbers, and the largest.
    pub(crate) fn new(counts: Box<[u64]>, sum: u64, max: u64) -> Self {
        debug_assert_eq!(counts.len(), BUCKETS);
        Self { counts, sum, max }
    }

    /// Returns the number of numbers. Example: [`Histogram`].
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns how many numbers were lower than this power of two; exact.
    #[cfg(feature = "metrics")]
    pub(crate) fn below_power(&self, bits: u32) -> u64 {
        self.counts[..bucket_of(1 << bits)].iter().sum()
    }

    /// Returns their sum; exact. Example: [`Histogram`].
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Returns their mean; exact. 0 if there are none. Example: [`Histogram`].
    #[must_use]
    pub fn mean(&self) -> f64 {
        let count = self.count();
        if count == 0 { 0.0 } else { self.sum as f64 / count as f64 }
    }

    /// Returns the largest: exact for all since the pool was built, to the width of a bucket for an interval. 0 if there are none.
    /// Example: [`Histogram`].
    #[must_use]
    pub fn max(&self) -> u64 {
        let top = self.counts.iter().rposition(|&count| count > 0);
        top.map_or(0, |bucket| self.clip(bucket, highest(bucket)))
    }

    /// Returns the number that this share of the numbers (0 to 1) does not exceed. 0 if there are none. Example: [`Histogram`].
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        let count = self.count();
        let rank = ((share.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let bucket = self.counts.iter().position(|&count| {
            seen += count;
            seen >= rank
        });
        bucket.map_or(0, |bucket| self.clip(bucket, middle(bucket)))
    }

    /// Returns the number that stands for the bucket, at most the largest that was seen. The last bucket has no upper end.
    fn clip(&self, bucket: usize, number: u64) -> u64 {
        if bucket == BUCKETS - 1 { self.max } else { number.min(self.max) }
    }

    /// Returns the median. Example: [`Histogram`].
    #[must_use]
    pub fn p50(&self) -> u64 {
        self.quantile(0.5)
    }

    /// Returns the number that 99 in 100 do not exceed. Example: [`Histogram`].
    #[must_use]
    pub fn p99(&self) -> u64 {
        self.quantile(0.99)
    }

    /// Returns the number that 999 in 1,000 do not exceed. Example: [`Histogram`].
    #[must_use]
    pub fn p999(&self) -> u64 {
        self.quantile(0.999)
    }
}

/// What was added between two snapshots of the same histogram.
impl Sub for &Histogram {
    type Output = Histogram;

    fn sub(self, earlier: Self) -> Histogram {
        let counts = self.counts.iter().zip(&earlier.counts).map(|(now, then)| now.saturating_sub(*then));
        Histogram::new(counts.collect(), self.sum.saturating_sub(earlier.sum), self.max)
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new(vec![0; BUCKETS].into(), 0, 0)
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("p50", &self.p50())
            .field("p99", &self.p99())
            .field("p999", &self.p999())
            .field("max", &self.max())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Makes the histogram of a row of numbers.
    fn histogram(numbers: &[u64]) -> Histogram {
        let mut counts = vec![0; BUCKETS];
        numbers.iter().for_each(|&number| counts[bucket_of(number)] += 1);
        let sum = numbers.iter().fold(0, |sum: u64, &number| sum.wrapping_add(number));
        Histogram::new(counts.into(), sum, numbers.iter().copied().max().unwrap_or(0))
    }

    #[test]
    fn buckets_follow_one_another_without_a_gap() {
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(lowest(bucket)), bucket);
            assert_eq!(bucket_of(highest(bucket)), bucket);
            assert_eq!(highest(bucket) + 1, lowest(bucket + 1));
            assert!(highest(bucket) - lowest(bucket) <= lowest(bucket) / 8, "bucket {bucket} is too wide");
        }
        assert_eq!(lowest(BUCKETS - 1), 1 << BITS);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn nothing_seen_is_zero_everywhere() {
        let none = Histogram::default();
        assert_eq!((none.count(), none.mean(), none.max(), none.p50(), none.p999()), (0, 0.0, 0, 0, 0));
    }

    #[test]
    fn what_is_beyond_the_range_is_told_as_the_largest() {
        let seen = histogram(&[1, 1 << 40]);
        assert_eq!((seen.p50(), seen.p99(), seen.p999(), seen.max()), (1, 1 << 40, 1 << 40, 1 << 40));
    }

    #[test]
    fn the_largest_number_within_the_range_is_not_mistaken_for_one_beyond_it() {
        let seen = histogram(&[(1 << BITS) - 1, 1 << 40]);
        assert!((1 << BITS) - seen.p50() <= (1 << BITS) / 17, "{seen:?}");
    }

    #[test]
    fn an_interval_has_what_came_in_between() {
        let (before, after) = ([5, 1_000_000], [5, 1_000_000, 7, 7, 900]);
        let between = &histogram(&after) - &histogram(&before);
        assert_eq!((between.count(), between.p50()), (3, 7));
        assert!((900..1000).contains(&between.max()), "{between:?}");
        assert!((between.mean() - 914.0 / 3.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_a_seventeenth(
            mut numbers in prop::collection::vec((0..40_u32, any::<u64>()).prop_map(|(bits, n)| n & ((1 << bits) - 1)), 1..300),
            share in 0.0..=1.0_f64,
        ) {
            let seen = histogram(&numbers);
            numbers.sort_unstable();
            let rank = ((share * numbers.len() as f64).ceil() as usize).clamp(1, numbers.len());
            let (exact, told) = (numbers[rank - 1], seen.quantile(share));
            let largest = *numbers.last().unwrap();
            let off = if exact < 1 << BITS { exact.div_ceil(17) } else { largest - exact };
            prop_assert!(told.abs_diff(exact) <= off, "{told} instead of {exact}");
            prop_assert!(seen.quantile(1.0) <= seen.max());
            prop_assert_eq!((seen.count(), seen.max()), (numbers.len() as u64, largest));
        }
    }
}
