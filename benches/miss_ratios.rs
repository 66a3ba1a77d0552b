//! What the pool's replacement misses, beside the policies of the literature.
//!
//! `cargo bench --bench miss_ratios --features testing -- [TRACE FILE ..]`
//!
//! Prints the miss ratio in percent for every trace, pool size and policy, and by how many percentage points ringpool is beyond the
//! best of the others (less than zero: it is the best). Trace files have a page number a line. The same on every machine.

#[path = "support/replacement.rs"]
mod replacement;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use replay::{Trace, compare, scan_cost::scan_cost, traces};

/// Counts what replacement policies miss on traces of page accesses.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench miss_ratios --features testing --")]
struct Arguments {
    /// Further traces: text, a page number a line
    #[arg(value_name = "TRACE FILE")]
    files: Vec<PathBuf>,

    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match traces_of(&Arguments::parse().files) {
        Ok(traces) => {
            print(&traces);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn traces_of(files: &[PathBuf]) -> Result<Vec<Trace>, String> {
    let mut traces = replacement::traces().map_err(|error| error.to_string())?;
    for file in files {
        traces.push(traces::read(file).map_err(|error| format!("{}: {error}", file.display()))?);
    }
    Ok(traces)
}

fn print(traces: &[Trace]) {
    let candidates = replacement::candidates();
    let ringpool = candidates.len() - 1;
    print!("{:30} {:>7}", "misses in percent", "frames");
    candidates.iter().for_each(|candidate| print!(" {:>8}", candidate.name));
    println!(" {:>8}", "beyond");
    for line in traces.iter().flat_map(|trace| compare(trace, &candidates)) {
        println!("{line} {:>+8.2}", line.beyond_best(ringpool));
    }
    print!("{:38}", "hits lost to one scan, in percent");
    candidates.iter().for_each(|candidate| print!(" {:>8.2}", 100.0 * scan_cost(candidate)));
    println!();
}
