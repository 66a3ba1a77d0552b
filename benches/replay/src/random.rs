//! Random numbers that are the same on every machine and with every version: a trace follows from its seed.

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Makes the numbers that follow from this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Draws a number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// Returns a number from 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns true once in `times` times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// Zipf's law over pages, the popular ones strewn over the whole file.
#[derive(Debug)]
pub struct Zipf {
    /// The cumulated share of each rank.
    ends: Vec<f64>,
    page_of: Vec<u64>,
}

impl Zipf {
    /// Makes a distribution in which rank `r` of `pages` is used as often as `r` to the power of `-skew`.
    #[must_use]
    pub fn new(pages: u64, skew: f64, random: &mut Random) -> Self {
        let mut sum = 0.0;
        let mut ends: Vec<f64> = (1..=pages)
            .map(|rank| {
                sum += (rank as f64).powf(-skew);
                sum
            })
            .collect();
        ends.iter_mut().for_each(|end| *end /= sum);
        let mut page_of: Vec<u64> = (0..pages).collect();
        for at in (1..page_of.len()).rev() {
            page_of.swap(at, random.below(at as u64 + 1) as usize);
        }
        Self { ends, page_of }
    }

    /// Draws a page.
    #[must_use]
    pub fn draw(&self, random: &mut Random) -> u64 {
        self.page_of[self.draw_rank(random)]
    }

    /// Draws a rank, the most popular being 0.
    pub(crate) fn draw_rank(&self, random: &mut Random) -> usize {
        let share = random.share();
        self.ends.partition_point(|&end| end < share).min(self.ends.len() - 1)
    }
}
