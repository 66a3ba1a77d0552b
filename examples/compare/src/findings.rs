//! What a run has found: rows, verdicts, failures, and how far all of it can be believed.

use lab::Sample;
use lab::report::{Names, Row};
use lab::stats::Spread;

use crate::contest::{Proof, Timed};
use crate::entrants::{BARE_RING, Card, PAGE_CACHE};
use crate::progress::say;
use crate::reads::is_depth;
use crate::verdict::{self, Evidence, Side, Standing, Verdict};

/// The quantiles that are reported, as far as a run of some thousand requests can tell them.
pub(crate) const PARTS: [f64; 11] = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0];

/// What is known of one arm of one workload.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) row: Row,
    /// Pages a second over the rounds.
    pub(crate) rate: Option<Spread>,
    /// Its rate to that of the workload's plain arm, and on which side of 1 it is, as far as the noise allows to tell.
    pub(crate) to_plain: Option<(Standing, Side)>,
    /// The latencies of all rounds together, in microseconds, by [`PARTS`].
    pub(crate) latencies_us: Option<Vec<f64>>,
}

/// Something that could not be done.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) workload: String,
    /// The arm, unless the whole workload could not be run.
    pub(crate) arm: Option<String>,
    pub(crate) error: String,
}

/// Everything that is shown and written at the end.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) rows: Vec<Finding>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) failures: Vec<Failed>,
    /// What this machine lacks, and what was not compared for that.
    pub(crate) left_out: Vec<String>,
    /// What pools say of their methods; each thing once.
    pub(crate) methods: Vec<String>,
    pub(crate) remarks: Vec<String>,
    differences: usize,
}

impl Findings {
    /// Notes what a pool says of its method.
    pub(crate) fn tell(&mut self, report: String) {
        if !self.methods.contains(&report) {
            self.methods.push(report);
        }
    }

    pub(crate) fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    /// Notes, and prints at once, what is not compared and why; each thing once.
    pub(crate) fn leave_out(&mut self, what: String) {
        if !self.left_out.contains(&what) {
            say(&what);
            self.left_out.push(what);
        }
    }

    /// Notes, and prints at once, that an arm has failed, or a whole workload: the others go on.
    pub(crate) fn fail(&mut self, workload: &str, arm: Option<&str>, error: &impl ToString) {
        let failed =
            Failed { workload: workload.to_owned(), arm: arm.map(str::to_owned), error: error.to_string() };
        say(failed.line());
        self.failures.push(failed);
    }

    /// Adds the results of a workload. Where one of its arms ran twice a round, the workload is about rates.
    pub(crate) fn add(&mut self, timed: &Timed, proof: Option<&Proof>) {
        self.add_rows(timed, proof);
        let Timed { workload, outcome, .. } = timed;
        if let Some((arm, noise)) = timed.twin.as_ref().zip(outcome.noise(Sample::pages_per_s)) {
            self.remarks.push(format!("{workload}: {arm} against itself: {noise}"));
        }
        if !is_depth(workload) {
            self.verdicts.extend(evidence(timed).map(verdict::decide));
        }
        self.remarks.extend(outcome.disturbance().map(|why| format!("{workload}: {why}")));
    }

    /// Adds only the rows, for another view of a run that was added before.
    pub(crate) fn add_rows(&mut self, timed: &Timed, proof: Option<&Proof>) {
        let to_ring = |arm: &str| Some(timed.rate(arm, BARE_RING)?.median);
        let noise = timed.noise();
        for Card { name: arm, method, in_flight } in &timed.cards {
            let names = Names { workload: &timed.workload, arm, method };
            let summary = timed.outcome.summary(arm);
            let row = Row::new(names, *in_flight, timed.page_size, &summary, to_ring(arm));
            let bytes_digest =
                proof.and_then(|proof| proof.found.get(arm)).map(|digest| format!("{digest:016x}"));
            let to_plain = timed.plain.filter(|plain| plain != arm).and_then(|plain| {
                let ratio = timed.rate(arm, plain)?;
                Some((Standing { against: plain.to_owned(), ratio }, verdict::side(&ratio, noise)))
            });
            self.rows.push(Finding {
                row: Row { bytes_digest, ..row },
                rate: timed.outcome.spread(arm, Sample::pages_per_s),
                to_plain,
                latencies_us: timed.latencies(arm),
            });
        }
    }

    /// Sets the ratio of each arm's rate to that of one of them.
    pub(crate) fn hold_against(&mut self, timed: &Timed, base: &str) {
        let others = timed.cards.iter().map(|card| &card.name[..]).filter(|&arm| arm != base);
        let ratio = |arm| Some(format!("{arm} {:.2}", timed.rate(arm, base)?.median));
        let ratios: Vec<String> = others.filter_map(ratio).collect();
        if !ratios.is_empty() {
            self.remarks.push(format!("{}: of the rate {base}: {}", timed.workload, ratios.join(", ")));
        }
    }

    /// Compares the digests of a workload's arms with the one that is expected.
    pub(crate) fn check(&mut self, workload: &str, Proof { expected, found }: &Proof) {
        let wrong: Vec<&str> =
            found.iter().filter(|&(_, digest)| digest != expected).map(|(arm, _)| &arm[..]).collect();
        self.differences += wrong.len();
        self.remarks.push(match wrong[..] {
            [] => {
                let arms = found.len();
                format!("{workload}: all {arms} arms agree with a plain read, digest {expected:016x}")
            }
            _ => format!("{workload}: NOT THE BYTES OF A PLAIN READ ({expected:016x}): {}", wrong.join("; ")),
        });
    }

    /// Returns how many arms saw or left other bytes than a plain read.
    pub(crate) fn differences(&self) -> usize {
        self.differences
    }
}

impl Failed {
    pub(crate) fn line(&self) -> String {
        let Self { workload, arm, error } = self;
        match arm {
            Some(arm) => format!("{workload}: {arm} FAILED and is left out: {error}"),
            None => format!("{workload} FAILED and is left out: {error}"),
        }
    }
}

/// Returns what a workload says of the pool beside plain calls, if both took part and it is about rates.
fn evidence(timed: &Timed) -> Option<Evidence> {
    let took_part = |arm: &&str| timed.cards.iter().any(|card| card.name == *arm);
    let arm = ["pool, io_uring", "pool, worker"].into_iter().find(took_part)?;
    let standing =
        |against: &str| Some(Standing { against: against.to_owned(), ratio: timed.rate(arm, against)? });
    Some(Evidence {
        workload: timed.workload.clone(),
        arm: arm.to_owned(),
        plain: standing(timed.plain?)?,
        page_cache: PAGE_CACHE.into_iter().find(took_part).and_then(standing),
        noise: timed.noise(),
    })
}
