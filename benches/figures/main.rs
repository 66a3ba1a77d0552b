//! The figures that have goals, P1 to P14, each measured beside its baseline in one run; and some that are only reported.
//!
//! `cargo bench --bench figures --features testing,crc32c -- [P1 P4 .. | all] [--json FILE] [--dir DIR] [--device PATH] [--rounds N]`
//!
//! A figure is the median of the ratios within rounds: arms in turn, in shuffled order, 15 rounds by default. It is
//! shown with its spread, the ratio of an arm to itself, and the absolute numbers, which hold for this machine only. A run that
//! other processes disturbed neither passes nor fails. Arms that read have first shown, by a digest, that they see the bytes that a
//! plain read sees.

mod bench;
mod idle;
mod p01_random_read;
mod p02_against_sync;
mod p03_scan;
mod p04_beside_scan;
mod p04_lone_miss;
mod p05_cpu;
mod p06_fast_device;
mod p07_hit;
mod p07_hot_page;
mod p08_checkpoint;
mod p08_hot_page;
mod p08_other_ways;
mod p08_safety;
mod p09_update;
mod p10_miss_ratio;
mod p11_memory;
mod p12_opening;
mod p13_own_cost;
mod p14_few_pages;
mod race;

#[cfg(feature = "testing")]
#[path = "../support/replacement.rs"]
mod replacement;
#[path = "../support/mod.rs"]
mod support;

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use lab::Result;
use lab::machine::Machine;
use lab::report::{self, FigureRow};
use lab::rounds::ROUNDS_OF_A_FIGURE;

use bench::Bench;

/// Measures the figures that the library is held to, each beside its baseline.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench figures --")]
struct Arguments {
    /// Figures by name, like P1 and P4, or `all`
    #[arg(value_name = "FIGURE")]
    figures: Vec<String>,

    /// Write the rows to this file, as a JSON array
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Where test files are made
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"), hide_default_value = true)]
    dir: PathBuf,

    /// The device of P6, which is never written: one in memory, as `benches/ram_device` makes it
    #[arg(long, value_name = "PATH")]
    device: Option<PathBuf>,

    /// Rounds, each of which runs every arm once
    #[arg(long, default_value_t = ROUNDS_OF_A_FIGURE, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One figure, and how it is measured.
struct Figure {
    name: &'static str,
    what: &'static str,
    measure: fn(&Bench) -> Result<Vec<FigureRow>>,
}

const FIGURES: [Figure; 19] = [
    measured("P1", "random reads by prefetch, against the bare ring", p01_random_read::measure),
    measured("P2", "the same, against the pool's own sync method", p02_against_sync::measure),
    measured("P3", "sequential scan, against the bare ring at its best", p03_scan::measure),
    measured("P4", "lone miss, against pread", p04_lone_miss::measure),
    measured(
        "P4b",
        "a miss while look-ahead runs at full speed, with its limit and without",
        p04_beside_scan::measure,
    ),
    measured("P5", "CPU per page read, against the bare ring", p05_cpu::measure),
    measured("P6", "a device faster than the CPU, against the bare ring", p06_fast_device::measure),
    measured("P7", "hit, against the floor", p07_hit::measure),
    measured("P7b", "many threads on one page that some change, against two", p07_hot_page::measure),
    measured("P8", "checkpoint, against the bare ring", p08_checkpoint::measure),
    measured(
        "P8b",
        "checkpoint, against the pool's own sync method and writes through the page cache",
        p08_other_ways::measure,
    ),
    measured(
        "P8c",
        "what a codec, a log and a doublewrite area cost a checkpoint, each on and off",
        p08_safety::measure,
    ),
    measured(
        "P9",
        "updates of a working set larger than the pool, against the bare ring",
        p09_update::measure,
    ),
    measured("P10", "misses beyond the best policy's, in percentage points", p10_miss_ratio::measure),
    measured("P11", "memory beside the pages", p11_memory::measure),
    measured("P12", "opening a pool, against faulting memory in", p12_opening::measure),
    measured("P13", "the pool's own CPU for a cold page, on a null device", p13_own_cost::measure),
    measured(
        "P14",
        "cutting, closing and removing a file of few pages, with many frames against few",
        p14_few_pages::measure,
    ),
    measured("idle", "an open pool that no thread uses", idle::measure),
];

const fn measured(
    name: &'static str,
    what: &'static str,
    measure: fn(&Bench) -> Result<Vec<FigureRow>>,
) -> Figure {
    Figure { name, what, measure }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.figures.is_empty() {
        explain();
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn explain() {
    println!("{}", Arguments::command().render_help());
    println!("Figures:");
    for Figure { name, what, .. } in &FIGURES {
        println!("  {name:<4} {what}");
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let wanted = select(&arguments.figures)?;
    println!("{}; {} rounds", Machine::of(&arguments.dir), arguments.rounds);
    let bench = Bench::new(arguments.dir.clone(), arguments.device.clone(), arguments.rounds);
    let mut rows = Vec::new();
    for figure in wanted {
        let of_figure = (figure.measure)(&bench).map_err(|error| format!("{}: {error}", figure.name))?;
        print!("{}", report::figures(&of_figure));
        rows.extend(of_figure);
    }
    if let Some(path) = &arguments.json {
        let cannot = |error| format!("cannot write {}: {error}", path.display());
        report::write_json(BufWriter::new(File::create(path).map_err(cannot)?), &rows)?;
    }
    Ok(())
}

/// Returns the figures of these names, in the order of the table.
fn select(names: &[String]) -> Result<Vec<&'static Figure>> {
    let is = |figure: &Figure, name: &String| {
        name.eq_ignore_ascii_case("all") || name.eq_ignore_ascii_case(figure.name)
    };
    if let Some(unknown) = names.iter().find(|name| !FIGURES.iter().any(|figure| is(figure, name))) {
        return Err(format!(
            "there is no figure {unknown:?}: name one that is listed without arguments, or all"
        )
        .into());
    }
    Ok(FIGURES.iter().filter(|figure| names.iter().any(|name| is(figure, name))).collect())
}
