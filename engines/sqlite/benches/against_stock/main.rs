//! SQLite on a pool against SQLite on its own VFS, at the same memory: the time of the one to the time of the other.
//!
//! `cargo bench --manifest-path engines/sqlite/Cargo.toml [-- --quick] [--rounds N] [--only TEXT] [--case TEXT] [--dir DIR]`. In each round every arm
//! runs once, in turn, the order reversed from round to round; a row shows the median of the ratios of the rounds, and their
//! quartiles. The stock VFS runs with its page cache as large as the pool, and, where it reads, also with the file mapped.
//!
//! What the pool does not get: the stock VFS has the system's page cache beside its own memory, as large as the system likes. Where
//! a row is about a cold start, the page cache is emptied of the file before each run. For memory that holds an eighth there are two
//! cases: a pool whose files bypass that cache, and one whose files do not, so that both arms have it.

mod arms;
mod connections;
mod rows;

use std::{error::Error, path::PathBuf};

use arms::{Arm, Memory};
use ringpool::options::Fallback;
use rows::{Row, Scale};

struct Options {
    rounds: usize,
    scale: Scale,
    only: String,
    case: String,
    dir: Option<PathBuf>,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options =
        Options { rounds: 15, scale: Scale::FULL, only: String::new(), case: String::new(), dir: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--quick" => (options.rounds, options.scale) = (5, Scale::QUICK),
            "--rounds" => options.rounds = value()?.parse()?,
            "--only" => options.only = value()?,
            "--case" => options.case = value()?,
            "--dir" => options.dir = Some(value()?.into()),
            "--bench" => {} // From cargo.
            _ => {
                return Err(
                    format!("{argument}: --quick, --rounds N, --only TEXT, --case TEXT, --dir DIR").into()
                );
            }
        }
    }
    Ok(options)
}

fn quantile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

/// Measures a row, and prints it.
fn measure(row: &Row, arms: &[Arm], rounds: usize) {
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); arms.len()];
    for round in 0..rounds {
        let order: Vec<usize> =
            if round % 2 == 0 { (0..arms.len()).collect() } else { (0..arms.len()).rev().collect() };
        for arm in order {
            times[arm].push((row.run)(&arms[arm]).as_secs_f64());
        }
    }
    let mut line = format!("{:<34}", row.name);
    for other in 1..arms.len() {
        let mut ratios: Vec<f64> =
            times[0].iter().zip(&times[other]).map(|(own, other)| own / other).collect();
        ratios.sort_by(f64::total_cmp);
        let [low, median, high] = [0.25, 0.5, 0.75].map(|part| quantile(&ratios, part));
        line += &format!("  {median:>5.2} ({low:.2}-{high:.2}) of {:<6}", arms[other].label);
    }
    for (arm, times) in arms.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        line += &format!("  {} {:.3} ms", arm.label, 1e3 * quantile(times, 0.5));
    }
    println!("{line}");
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let folder = match &options.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?,
    };
    println!(
        "SQLite {}, {} rounds, time on the pool to time of the other (quartiles)",
        rusqlite::version(),
        options.rounds
    );
    let template = rows::template(folder.path(), &options.scale);
    let cases = [
        (Memory::All, Fallback::Prefer, "direct"),
        (Memory::Eighth, Fallback::Prefer, "direct"),
        (Memory::Eighth, Fallback::Off, "buffered"),
    ];
    for (memory, direct, files) in cases {
        let title = format!("{memory}, the pool's files {files}");
        if !title.contains(&options.case) {
            continue;
        }
        let bytes = memory.of(template.bytes);
        let (vfs, arms) = arms::arms(bytes, folder.path(), direct);
        let (has, of) = (bytes >> 20, template.bytes >> 20);
        println!("{title}: {has} MiB for a database of {of} MiB; I/O by {}", arms::method(&vfs));
        for row in rows::rows(&template, folder.path(), &options.scale, memory) {
            if row.name.contains(&options.only) {
                let arms = if row.reads { &arms[..] } else { &arms[..2] };
                measure(&row, arms, options.rounds);
            }
        }
    }
    if "connections".contains(&options.only) && options.case.is_empty() {
        connections::run(&template, folder.path(), &options.scale);
    }
    Ok(())
}
