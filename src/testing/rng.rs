//! Random numbers that a seed repeats.

/// Numbers that follow from a seed: the same seed, the same numbers, on every machine (`SplitMix64`: Steele, Lea and Flood,
/// "Fast splittable pseudorandom number generators", 2014).
///
/// ```
/// use ringpool::testing::Dice;
///
/// let mut dice = Dice::new(7);
/// assert_eq!(dice.throw(), Dice::new(7).throw());
/// assert!(dice.below(6) < 6);
/// let op = *dice.pick(&["read", "write"]);
/// println!("{op}, {}, {}", dice.coin(), dice.one_in(10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Makes the numbers that follow from this seed. Example: [`Dice`].
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Makes dice for a part of what this seed decides, which do not depend on how often the other dice are thrown.
    pub(super) fn apart(seed: u64, part: impl IntoIterator<Item = u64>) -> Self {
        part.into_iter().fold(Self(seed), |mut dice, word| {
            let mixed = dice.throw();
            Self(mixed ^ word)
        })
    }

    /// Draws the next number. Example: [`Dice`].
    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Draws a number below `end`. Example: [`Dice`].
    ///
    /// # Panics
    /// If `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.throw() % end
    }

    /// Returns true or false, each with the same chance. Example: [`Dice`].
    pub fn coin(&mut self) -> bool {
        self.throw() >> 63 == 0
    }

    /// Returns true once in `n` times, on average. Example: [`Dice`].
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Draws one of these. Example: [`Dice`].
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_generator() {
        let mut dice = Dice::new(1_234_567);
        let first = [dice.throw(), dice.throw(), dice.throw()];
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn dice_apart_differ_by_every_word_of_their_part() {
        let first = |part: [u64; 3]| Dice::apart(7, part).throw();
        let all = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]].map(first);
        assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])), "{all:?}");
        assert_eq!(first([1, 2, 3]), first([1, 2, 3]));
    }
}
