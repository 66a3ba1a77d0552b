//! The verdict: a pure function of what was measured after each cycle, and after everything was closed.

use std::fmt;

use crate::process::Usage;

/// A phase of peace, one of foul weather, and what the process used when both were over.
#[derive(Clone, Debug)]
pub(crate) struct Cycle {
    /// Steps a second in peace, for each pool.
    pub(crate) rates: Vec<f64>,
    /// With all pools quiet.
    pub(crate) usage: Usage,
}

/// The most that memory may grow from the second tenth to the last, in KiB: what allocators keep comes and goes.
const MEMORY_LEEWAY: u64 = 16 << 10;

/// The least that the rate of the last tenth is of the first's.
const STEADY: f64 = 0.95;

/// One criterion of the verdict.
#[derive(Debug)]
pub(crate) struct Finding {
    what: String,
    pub(crate) holds: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", if self.holds { "ok    " } else { "FAILED" }, self.what)
    }
}

/// Judges a soak that found no difference, from the pools' names and how many faults struck each. The first cycle warms up and does
/// not count.
pub(crate) fn judge(pools: &[(String, u64)], before: Usage, cycles: &[Cycle], closed: Usage) -> Vec<Finding> {
    let counted = cycles.get(1..).unwrap_or_default();
    let tenth = (counted.len() / 10).max(1);
    let mut tenths = counted.chunks(tenth);
    let [Some(first), Some(second), Some(last)] =
        [tenths.next(), tenths.next(), counted.rchunks(tenth).next()]
    else {
        return vec![Finding {
            what: format!("{} cycles are too few for a verdict", cycles.len()),
            holds: false,
        }];
    };
    let rate = |pool: usize, part: &[Cycle]| median(part.iter().map(|cycle| cycle.rates[pool]));
    let steady = |(at, (pool, _)): (usize, &(String, u64))| {
        let (begun, ended) = (rate(at, first), rate(at, last));
        let ratio = ended / begun;
        Finding {
            what: format!(
                "{pool}: {begun:.0} steps a second in the first tenth, {ended:.0} in the last: {ratio:.3}"
            ),
            holds: ratio >= STEADY,
        }
    };
    let struck = |(pool, strikes): &(String, u64)| Finding {
        what: format!("{pool}: {strikes} faults struck"),
        holds: *strikes > 0,
    };
    let memory = |part: &[Cycle]| median(part.iter().map(|cycle| cycle.usage.memory as f64)) as u64;
    let (early, late) = (memory(second), memory(last));
    let given_back = |what, before, after| Finding {
        what: format!("{what}: {before} before the pools were opened, {after} after they were closed"),
        holds: before == after,
    };
    pools
        .iter()
        .enumerate()
        .map(steady)
        .chain(pools.iter().map(struck))
        .chain([
            Finding {
                what: format!("memory: {early} KiB in the second tenth, {late} KiB in the last"),
                holds: late <= early + MEMORY_LEEWAY,
            },
            given_back("descriptors", before.descriptors, closed.descriptors),
            given_back("threads", before.threads, closed.threads),
        ])
        .collect()
}

/// Returns the median; 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
