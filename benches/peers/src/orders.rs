//! In which order pages are hit: drawn before any clock starts, the same for all arms of a round.

use std::fmt;

use replay::{Random, Zipf};

/// How often each page is hit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Law {
    /// As often as any other.
    Uniform,
    /// By Zipf's law, the popular pages strewn over all.
    Zipf,
    /// One page always, as the root of a tree is.
    OnePage,
}

/// Zipf's exponent.
const SKEW: f64 = 0.99;

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf 0.99",
            Self::OnePage => "one page",
        })
    }
}

impl Law {
    /// Returns `count` orders of `hits` of `pages` pages.
    pub(crate) fn orders(self, pages: u32, hits: usize, count: usize) -> Vec<Vec<u32>> {
        let mut random = Random::new(1);
        let zipf = matches!(self, Self::Zipf).then(|| Zipf::new(pages.into(), SKEW, &mut random));
        let mut draw = || match (self, &zipf) {
            (Self::OnePage, _) => 0,
            (_, Some(zipf)) => zipf.draw(&mut random) as u32,
            _ => random.below(pages.into()) as u32,
        };
        (0..count).map(|_| (0..hits).map(|_| draw()).collect()).collect()
    }
}
