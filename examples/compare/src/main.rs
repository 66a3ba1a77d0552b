//! What does asynchronous I/O buy on this disk?
//!
//! `cargo run --release -p ringpool-compare -- [OPTIONS] [FILE ...]`
//!
//! Compared are random reads, a sequential scan, lone misses, writebacks of random and dense pages, and updates of more pages
//! than fit: by a bare ring (the most that io_uring gives here), by plain `pread` and `pwrite`, and by the pool under each I/O
//! method. Of the pool alone it reports how long a checkpoint keeps a hot page's writer waiting, what safety costs, and what
//! an open pool takes while it is not used. Without files it makes one of its own and removes it at the end; files that are named are
//! only ever read, and only opened for reading.
//!
//! What makes the comparison fair: arms run in turn, in shuffled order, for several rounds, and ratios are taken within rounds; all
//! go to the same places; the pool is empty at the start of each round and smaller than what it reads; either all arms
//! bypass the page cache or none does, but for those that are named after it; and before anything is timed each arm does its
//! work once more while a digest is taken of every byte that it reads or leaves, which must be the digest of a plain read.

mod arms;
mod contest;
mod entrants;
mod findings;
mod folder;
mod host;
mod hot_page;
mod idle;
mod json;
mod options;
mod page;
mod pattern;
mod plot;
mod progress;
mod reads;
mod report;
mod safety;
mod stamps;
mod subject;
mod update;
mod verdict;
mod writeback;

// The benches use the same arms.
#[path = "../../../benches/support/mod.rs"]
mod support;

use std::process::ExitCode;

use clap::Parser;
use lab::Result;

use findings::Findings;
use options::{Options, Workload};
use progress::{Turn, say};
use subject::Subject;

/// The exit code where the report stands without what has failed.
const INCOMPLETE: u8 = 3;

fn main() -> ExitCode {
    let findings = match compare(&Options::parse()) {
        Ok(findings) => findings,
        Err(error) => {
            say(format!("error: {error}"));
            return ExitCode::FAILURE;
        }
    };
    if findings.differences() > 0 {
        say(format!("error: {} arms saw or left other bytes than a plain read", findings.differences()));
        return ExitCode::FAILURE;
    }
    if findings.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) }
}

fn compare(options: &Options) -> Result<Findings> {
    options.check()?;
    let subject = Subject::open(options)?;
    for (option, path) in options.reports() {
        report::check_writable(path, option, subject.input.paths())?;
    }
    let host = subject.host();
    let mut findings = Findings::default();
    if let Some(memory) = host.memory() {
        say(format!("the files are in memory ({memory}): nothing of what follows says anything of a disk"));
    }
    let workloads = options.workloads();
    for (number, &workload) in (1..).zip(&workloads) {
        if workload.writes() && !subject.is_own() {
            let name = workload.name();
            findings.leave_out(format!("{name}: left out, since files that were named are never written to"));
            continue;
        }
        let run = match workload {
            Workload::Random => reads::random,
            Workload::Depths => reads::depths,
            Workload::Scan => reads::scan,
            Workload::Lone => reads::lone_misses,
            Workload::Writeback => writeback::random,
            Workload::DenseWriteback => writeback::dense,
            Workload::Update => update::run,
            Workload::HotPage => hot_page::run,
            Workload::Safety => safety::run,
            Workload::Idle => idle::run,
        };
        let turn = Turn { number, of: workloads.len() };
        if let Err(error) = run(&subject, options, turn, &mut findings) {
            findings.fail(&workload.name(), None, &error);
        }
    }
    let warnings = report::warnings(host.memory(), options.quick, &findings);
    let lines = subject.lines(&host);
    drop(subject);
    if let Some(path) = &options.json {
        report::write(path, &format!("{:#}\n", json::document(&host, options, &findings)))?;
    }
    if let Some(path) = &options.html {
        report::write(path, &page::page(&warnings, &lines, &findings))?;
    }
    if let Some(path) = &options.svg {
        let overview = page::overview(&findings, Some(plot::STYLE));
        report::write(
            path,
            &overview.ok_or("there is nothing to plot beside plain calls: choose other workloads")?,
        )?;
    }
    report::print(&report::text(&warnings, &lines, &findings))?;
    Ok(findings)
}
