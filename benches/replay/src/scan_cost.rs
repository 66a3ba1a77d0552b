//! What one full scan costs a workload on a hot set that runs meanwhile.

use crate::{
    Candidate, Policy,
    random::{Random, Zipf},
};

/// Pages of the hot set, which has room in the pool beside what the policy keeps for new pages.
const HOT: u64 = 3_000;

/// Frames of the pool.
const FRAMES: usize = 4_000;

/// Pages of the scan: ten times the pool.
const SCANNED: u64 = 40_000;

/// Accesses to the hot set before the scan, and from its start on: as many as pages are scanned, and as many again.
const BEFORE: usize = 200_000;
const SINCE: usize = 80_000;

/// Returns which share of its hits the hot set loses to a scan that reads a page for each of its accesses, until long after.
pub fn scan_cost(candidate: &Candidate) -> f64 {
    let hits = |scan: u64| hits_beside((candidate.build)(FRAMES).as_mut(), scan) as f64;
    1.0 - hits(SCANNED) / hits(0)
}

fn hits_beside(policy: &mut dyn Policy, scanned: u64) -> usize {
    let mut random = Random::new(1);
    let zipf = Zipf::new(HOT, 0.7, &mut random);
    for _ in 0..BEFORE {
        policy.access(zipf.draw(&mut random));
    }
    let mut scan = HOT..HOT + scanned;
    let mut access = || {
        if let Some(page) = scan.next() {
            policy.access(page);
        }
        policy.access(zipf.draw(&mut random))
    };
    (0..SINCE).filter(|_| access()).count()
}
