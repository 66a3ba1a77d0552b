//! Medians and spreads of small sets of numbers.

use std::fmt;

/// Returns the median of `values`; `None` when there are none.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    Spread::of(values).map(|spread| spread.median)
}

/// The middle of a set of numbers and how far it reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The lower quartile.
    pub lower: f64,
    /// The median.
    pub median: f64,
    /// The upper quartile.
    pub upper: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Makes the spread of `values`; `None` when there are none.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let at = |part| quantile(&sorted, part);
        Some(Self { min, lower: at(0.25), median: at(0.5), upper: at(0.75), max })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, lower, median, upper, max } = self;
        write!(f, "{median:.3} (quartiles {lower:.3} to {upper:.3}, all {min:.3} to {max:.3})")
    }
}

/// Returns the value below which `part` of `sorted` lies, on the straight line between its two neighbours.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = part * (sorted.len() - 1) as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn quartiles_lie_on_the_line_between_neighbours() {
        let spread = Spread::of([5.0, 1.0, 4.0, 2.0, 3.0, 10.0]).unwrap();
        assert_eq!(spread, Spread { min: 1.0, lower: 2.25, median: 3.5, upper: 4.75, max: 10.0 });
        assert_eq!(spread.to_string(), "3.500 (quartiles 2.250 to 4.750, all 1.000 to 10.000)");
    }
}
