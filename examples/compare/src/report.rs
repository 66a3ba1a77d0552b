//! The findings as text: the verdict first, then the table on which it is based, then how far both can be trusted.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lab::Result;
use lab::report::{self, Align, Row, Table, latency, or_dash};

use crate::findings::{Finding, Findings};
use crate::verdict::Side;

/// What the columns at the end of the table mean.
pub(crate) const LEGEND: &str = "\
to plain: pages a second to those of plain calls (pread, pwrite) past the page cache; of updates, to the pool's own sync method; \
of safety, to the pool without it.
to ring: to those of a bare ring, the most that io_uring gives on this device: what the pool lacks to 1 is its price.
~: within the noise of the run. Latencies run from when a request was made to when its bytes could be used, so they grow with \
what is in flight.";

/// Returns what a reader must know before the verdict.
pub(crate) fn warnings(memory: Option<&str>, quick: bool, findings: &Findings) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(memory) = memory {
        warnings.push(format!(
            "THE FILES ARE IN MEMORY ({memory}): there is no device to wait for, so nothing here says anything of a disk. Choose \
             another --dir."
        ));
    }
    if quick {
        warnings.push("--quick shows that everything works; it is too short to be believed.".to_owned());
    }
    if findings.remarks.iter().any(|remark| remark.contains("disturbed")) {
        warnings.push(
            "Others used the machine meanwhile; the remarks say when: repeat this on a quiet one.".to_owned(),
        );
    }
    warnings
}

/// Formats the whole report. `subject` are lines on the machine and the files.
pub(crate) fn text(warnings: &[String], subject: &[String], findings: &Findings) -> String {
    let mut text = String::new();
    let mut line = |line: &str| writeln!(text, "{line}").expect("a string takes all");
    warnings.iter().for_each(|warning| line(warning));
    findings.verdicts.iter().for_each(|verdict| line(&verdict.sentence));
    findings.failures.iter().for_each(|failed| line(&failed.line()));
    line("");
    subject.iter().for_each(|told| line(told));
    let (at_rest, moving): (Vec<&Finding>, Vec<_>) =
        findings.rows.iter().partition(|finding| finding.row.wakeups_per_s.is_some());
    if !moving.is_empty() {
        line("");
        line(comparison(&moving).to_string().trim_end());
        line("");
        line(LEGEND);
    }
    if !at_rest.is_empty() {
        line("");
        line(report::at_rest(at_rest.iter().map(|finding| &finding.row)).to_string().trim_end());
    }
    line("");
    let remarks = findings.left_out.iter().chain(&findings.methods).chain(&findings.remarks);
    remarks.for_each(|remark| line(remark));
    text
}

/// The columns of the table of arms that move pages.
pub(crate) const COLUMNS: [(&str, Align); 12] = [
    ("workload", Align::Left),
    ("arm", Align::Left),
    ("method", Align::Left),
    ("in flight", Align::Right),
    ("pages/s", Align::Right),
    ("MB/s", Align::Right),
    ("CPU us/page", Align::Right),
    ("p50 us", Align::Right),
    ("p99 us", Align::Right),
    ("longest us", Align::Right),
    ("to plain", Align::Right),
    ("to ring", Align::Right),
];

fn comparison(findings: &[&Finding]) -> Table {
    let mut table = Table::new(&COLUMNS);
    for finding in findings {
        table.push(cells(finding));
    }
    table
}

/// Formats the cells of a row.
pub(crate) fn cells(finding: &Finding) -> [String; 12] {
    let row: &Row = &finding.row;
    // An arm that was alone with its page moved none: it has waits, and no rate.
    let moved = |value: f64, digits| or_dash((row.pages > 0).then_some(value), digits);
    let to_plain = finding.to_plain.as_ref().map(|(standing, side)| {
        let mark = if *side == Side::Within { "~" } else { "" };
        format!("{mark}{:.2}", standing.ratio.median)
    });
    [
        row.workload.clone(),
        row.arm.clone(),
        row.method.clone(),
        if row.in_flight == 0 { "-".to_owned() } else { row.in_flight.to_string() },
        moved(row.pages_per_s, 0),
        moved(row.mb_per_s, 0),
        moved(row.cpu_us_per_page, 2),
        latency(row.p50_us),
        latency(row.p99_us),
        latency(row.longest_us),
        to_plain.unwrap_or_else(|| "-".to_owned()),
        or_dash(row.ratio_to_bare_ring, 3),
    ]
}

/// Writes to the standard output. A reader that has closed it has read enough.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot print: {error}").into())
        }
        _ => Ok(()),
    }
}

/// Writes to a file that was found to be writable before.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let written = File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

/// Checks before hours of rounds that a report can be written to `path`, and that `path` is none of the files that are read.
pub(crate) fn check_writable(path: &Path, option: &str, inputs: &[PathBuf]) -> Result<()> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    if identity(path).is_some_and(|of_report| inputs.iter().any(|input| identity(input) == Some(of_report))) {
        return Err(
            format!("{} is one of the files to be read: name another for {option}", path.display()).into()
        );
    }
    let opened = File::options().append(true).create(true).open(path);
    opened.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(())
}
