//! What is shown and written at the end.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lab::report::{self, Names, Row};
use lab::rounds::Outcome;
use lab::{Result, Sample};

use crate::arms::BARE_RING;

/// One workload, timed.
pub(crate) struct Timed {
    pub(crate) workload: &'static str,
    pub(crate) page_size: u32,
    pub(crate) outcome: Outcome,
    pub(crate) compared_by: fn(&Sample) -> f64,
}

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
    /// Takes down what pools say of their methods.
    pub(crate) fn tell(&mut self, reports: impl IntoIterator<Item = String>) {
        for report in reports {
            if !self.methods.contains(&report) {
                self.methods.push(report);
            }
        }
    }

    /// Adds the rows of a workload; `known` gives an arm's method, its requests in flight and its digest.
    pub(crate) fn add(&mut self, timed: &Timed, known: impl Fn(&str) -> (String, u32, u64)) {
        let Timed { workload, page_size, outcome, compared_by } = timed;
        let has = |name: &str| outcome.names().any(|arm| arm == name);
        for arm in outcome.names() {
            let (method, in_flight, digest) = known(arm);
            let ratio = has(BARE_RING).then(|| outcome.ratio(arm, BARE_RING, compared_by)).flatten();
            let names = Names { workload, arm, method: &method };
            let row = Row::new(
                names,
                in_flight,
                *page_size,
                &outcome.summary(arm),
                ratio.map(|ratio| ratio.median),
            );
            self.rows.push(Row { bytes_digest: Some(format!("{digest:016x}")), ..row });
        }
        let (asynchronous, sync) = ("pool, io_uring", "pool, sync");
        if has(asynchronous)
            && has(sync)
            && let Some(gain) = outcome.ratio(asynchronous, sync, compared_by)
        {
            self.gains.push(format!("{workload} {:.2}", gain.median));
        }
        if let Some(noise) = outcome.noise(compared_by) {
            let twin = outcome.names().next().unwrap_or_default();
            self.remarks.push(format!("{workload}: {twin} against itself: {noise}"));
        }
        self.remarks.extend(outcome.disturbance().map(|why| format!("{workload}: {why}")));
    }

    /// Holds the digests of a workload's arms against what there was to see.
    pub(crate) fn check(&mut self, workload: &str, expected: u64, digests: &HashMap<String, u64>) {
        let wrong: Vec<&str> =
            digests.iter().filter(|&(_, &digest)| digest != expected).map(|(arm, _)| &arm[..]).collect();
        self.differences += wrong.len();
        self.remarks.push(match wrong[..] {
            [] => format!(
                "{workload}: all {} arms agree with a plain read, digest {expected:016x}",
                digests.len()
            ),
            _ => format!("{workload}: NOT THE BYTES OF A PLAIN READ ({expected:016x}): {}", wrong.join("; ")),
        });
    }

    /// How many arms saw other bytes than a plain read.
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
        print!("{}", report::comparison(&self.rows));
        println!();
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
