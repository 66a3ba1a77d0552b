//! P10: what the pool misses beyond the best of LRU, clock, 2Q, ARC, S3-FIFO and SIEVE with as many frames, in percentage points: for
//! every trace, with the number of frames where that is the most. And what one full scan costs a hot set.
//!
//! Nothing is measured here: hits are counted, and are the same in every run. `benches/miss_ratios.rs` prints all of it.

use lab::Result;
use lab::report::FigureRow;

use crate::bench::{Bench, Goal};

const GOAL_POINTS: f64 = 2.0;

#[cfg(not(feature = "testing"))]
pub(crate) fn measure(_: &Bench) -> Result<Vec<FigureRow>> {
    let goal = Goal::at_most("P10", "misses beyond the best policy's, in points", GOAL_POINTS);
    Ok(vec![goal.missing("needs its replay: run with --features testing")])
}

#[cfg(feature = "testing")]
pub(crate) use counted::measure;

#[cfg(feature = "testing")]
mod counted {
    use replay::scan_cost::scan_cost;
    use replay::{Candidate, Line, Trace, compare};

    use super::*;
    use crate::replacement::{candidates, traces};

    const GOAL_HITS_LOST: f64 = 0.01;

    pub(crate) fn measure(_: &Bench) -> Result<Vec<FigureRow>> {
        let candidates = candidates();
        let mut rows: Vec<FigureRow> = traces()?.iter().map(|trace| row(trace, &candidates)).collect();
        rows.push(scan_row(&candidates));
        Ok(rows)
    }

    /// Returns the row of the number of frames with which the pool is farthest behind.
    fn row(trace: &Trace, candidates: &[Candidate]) -> FigureRow {
        let goal = Goal::at_most("P10", &trace.name, GOAL_POINTS);
        let beyond = |line: &Line| line.beyond_best(candidates.len() - 1);
        let lines = compare(trace, candidates);
        match lines.iter().max_by(|one, other| beyond(one).total_cmp(&beyond(other))) {
            Some(line) => {
                let misses = candidates.iter().zip(&line.misses);
                let each: Vec<String> =
                    misses.map(|(candidate, misses)| format!("{} {misses:.1}", candidate.name)).collect();
                goal.alone(beyond(line), format!("{} frames, % missed: {}", line.frames, each.join(", ")))
            }
            None => goal.missing("the trace is empty"),
        }
    }

    fn scan_row(candidates: &[Candidate]) -> FigureRow {
        let goal = Goal::at_most("P10", "hits that a hot set loses to a full scan", GOAL_HITS_LOST);
        let costs: Vec<f64> = candidates.iter().map(scan_cost).collect();
        let each: Vec<String> = candidates
            .iter()
            .zip(&costs)
            .map(|(candidate, cost)| format!("{} {cost:.3}", candidate.name))
            .collect();
        goal.alone(costs[costs.len() - 1], each.join(", "))
    }
}
