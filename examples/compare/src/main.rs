//! What does asynchronous I/O buy on this disk?
//!
//! `cargo run --release -p ringpool-compare -- [OPTIONS] [FILE ...]`
//!
//! Compared are random reads, a sequential scan, lone misses, writebacks of random and dense pages, and updates of more pages
//! than fit: by a bare ring (the most that io_uring gives here), by plain `pread` and `pwrite`, and by the pool under each I/O
//! method. Of the pool alone it tells how long a checkpoint keeps a hot page's writer waiting, what it costs to be safe, and what
//! an open pool takes that nobody uses. Without files it makes one of its own and removes it at the end; files that are named are
//! only ever read, and only opened for reading.
//!
//! What makes it honest: arms run in turn, in shuffled order, for several rounds, and ratios are taken within rounds; all
//! go to the same places; the pool is empty at the start of each round and smaller than what it reads; either all arms
//! bypass the page cache or none does, but for the one that is named after it; and before anything is timed each arm does its
//! work once more while a digest is taken of every byte that it reads or leaves, which must be the digest of a plain read.

mod arms;
mod contest;
mod entrants;
mod hot_page;
mod idle;
mod options;
mod pattern;
mod reads;
mod report;
mod safety;
mod stamps;
mod subject;
mod update;
mod writeback;

// The benches stand on the same arms.
#[path = "../../../benches/support/mod.rs"]
mod support;

use std::process::ExitCode;

use clap::Parser;
use lab::Result;

use options::{Options, Workload};
use report::Findings;
use subject::Subject;

fn main() -> ExitCode {
    let options = Options::parse();
    match compare(&options) {
        Ok(findings) if findings.differences() == 0 => ExitCode::SUCCESS,
        Ok(findings) => {
            eprintln!("error: {} arms saw or left other bytes than a plain read", findings.differences());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<Findings> {
    options.check()?;
    let subject = Subject::open(options)?;
    if let Some(path) = &options.json {
        report::check_json(path, subject.input.paths())?;
    }
    subject.describe();
    let mut findings = Findings::default();
    for &workload in options.workloads() {
        if workload.writes() && !subject.is_own() {
            println!("{}: left out, since files that were named are never written to", workload.name());
            continue;
        }
        let run = match workload {
            Workload::Random => reads::random,
            Workload::Scan => reads::scan,
            Workload::Lone => reads::lone_misses,
            Workload::Writeback => writeback::random,
            Workload::DenseWriteback => writeback::dense,
            Workload::Update => update::run,
            Workload::HotPage => hot_page::run,
            Workload::Safety => safety::run,
            Workload::Idle => idle::run,
        };
        run(&subject, options, &mut findings)?;
    }
    findings.print();
    if let Some(path) = &options.json {
        findings.write_json(path)?;
    }
    Ok(findings)
}
