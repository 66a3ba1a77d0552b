//! What is shown and written at the end.

use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lab::report::{self, Names, Row};
use lab::{Result, Sample};

use crate::contest::{Proof, Timed};
use crate::entrants::{BARE_RING, Card};

/// Rows of all workloads, and how far they can be believed.
#[derive(Default)]
pub(crate) struct Findings {
    rows: Vec<Row>,
    /// What the pool under io_uring makes of the pool under sync, by workload.
    gains: Vec<String>,
    /// What pools say of their methods; each thing once.
    methods: Vec<String>,
    remarks: Vec<String>,
    differences: usize,
}

impl Findings {
    /// Takes down what a pool says of its method.
    pub(crate) fn tell(&mut self, report: String) {
        if !self.methods.contains(&report) {
            self.methods.push(report);
        }
    }

    pub(crate) fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    /// Adds what came of a workload; where one of its arms ran twice a round, rates are what it is about.
    pub(crate) fn add(&mut self, timed: &Timed, proof: Option<&Proof>) {
        self.add_rows(timed, proof);
        let Timed { workload, cards, outcome, .. } = timed;
        if let Some(noise) = outcome.noise(Sample::pages_per_s) {
            self.remarks.push(format!("{workload}: {} against itself: {noise}", cards[0].name));
            let gain = timed.rate("pool, io_uring", "pool, sync");
            self.gains.extend(gain.map(|gain| format!("{workload} {:.2}", gain.median)));
        }
        self.remarks.extend(outcome.disturbance().map(|why| format!("{workload}: {why}")));
    }

    /// Adds only the rows, where the same run is seen from another side.
    pub(crate) fn add_rows(&mut self, timed: &Timed, proof: Option<&Proof>) {
        let to_ring = |arm: &str| Some(timed.rate(arm, BARE_RING)?.median);
        for Card { name: arm, method, in_flight } in &timed.cards {
            let names = Names { workload: timed.workload, arm, method };
            let summary = timed.outcome.summary(arm);
            let row = Row::new(names, *in_flight, timed.page_size, &summary, to_ring(arm));
            let bytes_digest = proof.map(|proof| format!("{:016x}", proof.found[arm]));
            self.rows.push(Row { bytes_digest, ..row });
        }
    }

    /// Says what the arms' rates are of one of them.
    pub(crate) fn hold_against(&mut self, timed: &Timed, base: &str) {
        let others = timed.cards.iter().map(|card| &card.name[..]).filter(|&arm| arm != base);
        let ratio = |arm| Some(format!("{arm} {:.2}", timed.rate(arm, base)?.median));
        let ratios: Vec<String> = others.filter_map(ratio).collect();
        self.remarks.push(format!("{}: of the rate {base}: {}", timed.workload, ratios.join(", ")));
    }

    /// Holds what came of a workload's arms against what should.
    pub(crate) fn check(&mut self, workload: &str, Proof { expected, found }: &Proof) {
        let wrong: Vec<&str> =
            found.iter().filter(|&(_, digest)| digest != expected).map(|(arm, _)| &arm[..]).collect();
        self.differences += wrong.len();
        self.remarks.push(match wrong[..] {
            [] => {
                format!(
                    "{workload}: all {} arms agree with a plain read, digest {expected:016x}",
                    found.len()
                )
            }
            _ => format!("{workload}: NOT THE BYTES OF A PLAIN READ ({expected:016x}): {}", wrong.join("; ")),
        });
    }

    /// How many arms saw or left other bytes than a plain read.
    pub(crate) fn differences(&self) -> usize {
        self.differences
    }

    pub(crate) fn print(&self) {
        println!();
        println!(
            "Read the last column first: it is what an arm reaches of the bare ring, the most that io_uring gives on this \
             device, so what the pool's io_uring row lacks to 1 is the price of the pool."
        );
        println!(
            "What asynchronous I/O buys you is the distance between the pool's io_uring row and its sync row, and it must \
             exceed the noise that is stated below; latencies run from when a request was made to when its bytes could be \
             used, so they grow with what is in flight."
        );
        println!();
        let at_rest = |row: &&Row| row.wakeups_per_s.is_some();
        print!("{}", report::comparison(self.rows.iter().filter(|row| !at_rest(row))));
        println!();
        if self.rows.iter().any(|row| at_rest(&row)) {
            println!("{}", report::at_rest(self.rows.iter().filter(at_rest)));
        }
        if !self.gains.is_empty() {
            println!("io_uring against sync, pages a second: {}", self.gains.join(", "));
        }
        self.methods.iter().chain(&self.remarks).for_each(|remark| println!("{remark}"));
    }

    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        let cannot = |error| format!("cannot write {}: {error}", path.display());
        report::write_json(BufWriter::new(File::create(path).map_err(cannot)?), &self.rows)
    }
}

/// Finds out before hours of rounds whether the rows can be written, and never over a file that is being read.
pub(crate) fn check_json(path: &Path, inputs: &[PathBuf]) -> Result<()> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    if identity(path).is_some_and(|json| inputs.iter().any(|input| identity(input) == Some(json))) {
        return Err(
            format!("{} is one of the files to be read: name another for --json", path.display()).into()
        );
    }
    let opened = File::options().append(true).create(true).open(path);
    opened.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(())
}
