//! Miss ratios of several policies on the same traces, side by side.

use std::fmt;

use crate::{Candidate, Trace};

/// Sizes of a pool: its frames as a share of the pages in the trace.
pub const SHARES: [f64; 6] = [0.02, 0.05, 0.1, 0.25, 0.5, 0.8];

/// What each candidate missed on one trace with one number of frames.
#[derive(Clone, Debug)]
pub struct Line {
    /// The trace's name.
    pub trace: String,
    /// How many frames each had.
    pub frames: usize,
    /// Misses in percent of the accesses, in the order of the candidates.
    pub misses: Vec<f64>,
}

impl Line {
    /// Returns by how many percentage points this candidate misses more than the best of the others; less than zero where it is the
    /// best.
    pub fn beyond_best(&self, candidate: usize) -> f64 {
        let others = self.misses.iter().enumerate().filter(|&(other, _)| other != candidate);
        self.misses[candidate] - others.map(|(_, &misses)| misses).fold(f64::INFINITY, f64::min)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:30} {:>7}", self.trace, self.frames)?;
        self.misses.iter().try_for_each(|misses| write!(f, " {misses:>8.2}"))
    }
}

/// Replays the trace by each candidate, with each of the [sizes](SHARES).
pub fn compare(trace: &Trace, candidates: &[Candidate]) -> Vec<Line> {
    let footprint = trace.footprint() as f64;
    let line = |share: f64| {
        let frames = ((footprint * share) as usize).max(1);
        let misses = candidates.iter().map(|candidate| miss_ratio(trace, candidate, frames)).collect();
        Line { trace: trace.name.clone(), frames, misses }
    };
    SHARES.map(line).into()
}

fn miss_ratio(trace: &Trace, candidate: &Candidate, frames: usize) -> f64 {
    let mut policy = (candidate.build)(frames);
    let misses = trace.pages.iter().filter(|&&page| !policy.access(page)).count();
    100.0 * misses as f64 / trace.pages.len().max(1) as f64
}
