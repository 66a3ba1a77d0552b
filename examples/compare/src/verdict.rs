//! What a run says to a reader that has to decide: does the pool with asynchronous I/O do more than plain calls do, and by more
//! than the run's own noise?
//!
//! Only numbers come in, and only sentences go out, so every case is a test.

use lab::stats::Spread;

/// How the pool compares with another arm, as ratios of pages a second within the rounds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) against: String,
    pub(crate) ratio: Spread,
}

/// What is known of one workload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Evidence {
    pub(crate) workload: String,
    /// The pool's best method that took part.
    pub(crate) arm: String,
    /// The plain way to do the same, with which it is compared.
    pub(crate) plain: Standing,
    /// The ratio to plain calls through the page cache, where that is another arm.
    pub(crate) page_cache: Option<Standing>,
    /// How far an arm is from itself; not known where the arm that ran twice has failed.
    pub(crate) noise: Option<f64>,
}

/// On which side of 1 a ratio is, as far as the noise allows to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Faster,
    Within,
    Slower,
    /// There is no noise to compare it with, or no ratio.
    Unknown,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Within => "within noise",
            Self::Slower => "slower",
            Self::Unknown => "unknown",
        }
    }
}

/// What follows for one workload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) evidence: Evidence,
    pub(crate) side: Side,
    pub(crate) sentence: String,
}

/// Beyond this many times the noise a ratio is far beyond it.
const FAR: f64 = 5.0;

/// Returns the share by which an arm's rate differs from its own: 0.03 where the quartiles of its ratios to itself are within 3 %
/// of 1.
pub(crate) fn noise(to_itself: &Spread) -> f64 {
    to_itself.upper.max(1.0 / to_itself.lower).max(1.0) - 1.0
}

/// Returns on which side of 1 the ratio is: its quartiles must be there, by more than the noise.
pub(crate) fn side(ratio: &Spread, noise: Option<f64>) -> Side {
    match noise {
        // Arms that moved nothing have no ratio.
        _ if !ratio.median.is_finite() => Side::Unknown,
        None => Side::Unknown,
        Some(noise) if ratio.lower > 1.0 + noise => Side::Faster,
        Some(noise) if ratio.upper < 1.0 / (1.0 + noise) => Side::Slower,
        Some(_) => Side::Within,
    }
}

/// Decides on one workload.
pub(crate) fn decide(evidence: Evidence) -> Verdict {
    let Evidence { workload, arm, plain, page_cache, noise } = &evidence;
    let side = side(&plain.ratio, *noise);
    let times = times(plain.ratio.median);
    let percent = percent(noise.unwrap_or_default());
    let far = |by: f64| if by > FAR * noise.unwrap_or_default() { "far beyond" } else { "beyond" };
    let result = match side {
        Side::Faster => format!("{} the noise of {percent}: it pays", far(plain.ratio.median - 1.0)),
        Side::Within => format!("within the noise of {percent}: it does not pay"),
        Side::Slower => format!("{} the noise of {percent}: it costs", far(1.0 / plain.ratio.median - 1.0)),
        Side::Unknown => "and it is not known how far an arm is from itself: no verdict".to_owned(),
    };
    let mut sentence =
        format!("{workload}: {arm} moves {times} times the pages a second of {}, {result}", plain.against);
    if let Some(cache) = page_cache {
        sentence += &format!("; {} times those of {}", self::times(cache.ratio.median), cache.against);
        if self::side(&cache.ratio, *noise) == Side::Within {
            sentence += " (within the noise)";
        }
    }
    Verdict { side, sentence, evidence }
}

/// Formats a ratio with two digits behind the point near 1, and one elsewhere.
fn times(ratio: f64) -> String {
    if ratio < 1.95 { format!("{ratio:.2}") } else { format!("{ratio:.1}") }
}

fn percent(share: f64) -> String {
    if share < 0.0995 { format!("{:.1} %", share * 100.0) } else { format!("{:.0} %", share * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(lower: f64, median: f64, upper: f64) -> Spread {
        Spread { min: lower, lower, median, upper, max: upper }
    }

    fn against(plain: Spread, noise: Option<f64>) -> Evidence {
        let plain = Standing { against: "pread".to_owned(), ratio: plain };
        let arm = "pool, io_uring".to_owned();
        Evidence { workload: "random read".to_owned(), arm, plain, page_cache: None, noise }
    }

    #[test]
    fn noise_is_the_farther_quartile_on_either_side_of_one() {
        assert!((noise(&spread(0.99, 1.0, 1.03)) - 0.03).abs() < 1e-9);
        assert!((noise(&spread(0.80, 1.0, 1.03)) - 0.25).abs() < 1e-9);
        assert_eq!(noise(&spread(1.0, 1.0, 1.0)), 0.0);
    }

    #[test]
    fn a_ratio_is_beyond_the_noise_only_if_its_quartiles_are() {
        assert_eq!(side(&spread(1.2, 1.3, 1.4), Some(0.1)), Side::Faster);
        assert_eq!(side(&spread(1.05, 1.3, 1.4), Some(0.1)), Side::Within);
        assert_eq!(side(&spread(0.7, 0.8, 0.95), Some(0.1)), Side::Within);
        assert_eq!(side(&spread(0.7, 0.8, 0.85), Some(0.1)), Side::Slower);
        assert_eq!(side(&spread(2.0, 3.0, 4.0), None), Side::Unknown);
        assert_eq!(side(&spread(f64::NAN, f64::NAN, f64::NAN), Some(0.1)), Side::Unknown);
    }

    #[test]
    fn each_side_has_its_sentence() {
        let sentence =
            |lower, median, upper, noise| decide(against(spread(lower, median, upper), noise)).sentence;
        assert_eq!(
            sentence(2.6, 2.7, 2.8, Some(0.03)),
            "random read: pool, io_uring moves 2.7 times the pages a second of pread, far beyond the noise of 3.0 %: it pays"
        );
        assert!(
            sentence(1.12, 1.2, 1.3, Some(0.1))
                .ends_with("1.20 times the pages a second of pread, beyond the noise of 10 %: it pays")
        );
        assert!(sentence(1.0, 1.07, 1.1, Some(0.04)).ends_with("within the noise of 4.0 %: it does not pay"));
        assert!(sentence(0.78, 0.8, 0.82, Some(0.02)).ends_with("far beyond the noise of 2.0 %: it costs"));
        assert!(sentence(2.0, 3.0, 4.0, None).ends_with("no verdict"));
    }

    #[test]
    fn the_page_cache_is_named_where_it_took_part() {
        let mut evidence = against(spread(2.6, 2.7, 2.8), Some(0.03));
        let cache = |ratio| Some(Standing { against: "pread, page cache".to_owned(), ratio });
        evidence.page_cache = cache(spread(0.5, 0.52, 0.6));
        assert!(
            decide(evidence.clone()).sentence.ends_with("it pays; 0.52 times those of pread, page cache")
        );
        evidence.page_cache = cache(spread(0.9, 1.01, 1.1));
        assert!(
            decide(evidence).sentence.ends_with("; 1.01 times those of pread, page cache (within the noise)")
        );
    }
}
