//! SQLite on a pool against SQLite on its own VFS: the time of the one to the time of the other.
//!
//! `cargo bench --manifest-path engines/sqlite/Cargo.toml [-- --quick] [--rounds N] [--only TEXT] [--case TEXT] [--dir DIR]`. Each
//! arm is a process. In each round every arm runs once, in turn, the order reversed from round to round; a row shows the median of
//! the ratios of the rounds, their quartiles, and the median of the ratios of CPU time, of all threads of an arm. The stock VFS runs with its page cache as large as the pool, and, where it reads,
//! also with the file mapped. `--arm` runs one arm alone, for a profile, and prints what its pool counts.
//!
//! *The same memory*: the stock VFS has the system's page cache beside its own memory, as large as the system likes. So there are
//! cases that differ in which arm has that cache. *Direct*: the stock VFS alone, without a limit. *Buffered*: both, without a limit.
//! *Bounded*: the page cache counts as memory of the process, and each process has what its caches take and the same [`REST`]. Where a
//! row is about a cold start, the page cache is emptied of the file before each run.

mod arms;
mod bound;
mod connections;
mod options;
mod rows;
mod work;

use std::error::Error;

use arms::{Label, Memory};
use bound::Group;
use options::{Options, Work};
use ringpool::options::Fallback;
use work::Worker;

/// What a bounded process has beside what its caches take: its heap, its stacks, the kernel's structures for it, and what is left of
/// it is page cache.
const REST: u64 = 8 << 20;

fn quantile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

/// Measures a row, and prints it.
fn measure(name: &str, row: usize, arms: &mut [Worker], rounds: usize) {
    let (mut times, mut cpu) = (vec![Vec::new(); arms.len()], vec![Vec::new(); arms.len()]);
    for round in 0..rounds {
        let order: Vec<usize> =
            if round % 2 == 0 { (0..arms.len()).collect() } else { (0..arms.len()).rev().collect() };
        for arm in order {
            let took = arms[arm].run(row);
            times[arm].push(took.time.as_secs_f64());
            cpu[arm].push(took.cpu.as_secs_f64());
        }
    }
    let mut line = format!("{name:<34}");
    for other in 1..arms.len() {
        let ratios = |of: &[Vec<f64>]| {
            let mut ratios: Vec<f64> = of[0].iter().zip(&of[other]).map(|(own, other)| own / other).collect();
            ratios.sort_by(f64::total_cmp);
            [0.25, 0.5, 0.75].map(|part| quantile(&ratios, part))
        };
        let ([low, median, high], [_, cpu, _]) = (ratios(&times), ratios(&cpu));
        line += &format!("  {median:>5.2} ({low:.2}-{high:.2}; CPU {cpu:.2}) of {:<6}", arms[other].label);
    }
    for (arm, times) in arms.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        line += &format!("  {} {:.3} ms", arm.label, 1e3 * quantile(times, 0.5));
    }
    println!("{line}");
}

/// One set of columns of the table.
struct Case {
    memory: Memory,
    direct: Fallback,
    is_bounded: bool,
    title: &'static str,
}

const CASES: [Case; 4] = [
    Case { memory: Memory::All, direct: Fallback::Prefer, is_bounded: false, title: "direct" },
    Case { memory: Memory::Eighth, direct: Fallback::Prefer, is_bounded: true, title: "bounded" },
    Case { memory: Memory::Eighth, direct: Fallback::Prefer, is_bounded: false, title: "direct" },
    Case { memory: Memory::Eighth, direct: Fallback::Off, is_bounded: false, title: "buffered" },
];

fn run(case: &Case, template: &rows::Template, folder: &std::path::Path, options: &Options) {
    let bytes = case.memory.of(template.bytes);
    let bound = bytes as u64 + REST;
    let start = |&arm: &Label| {
        let work = Work { arm, memory: case.memory, direct: case.direct, folder: folder.to_path_buf() };
        let group = case.is_bounded.then(|| Group::bounded(bound)).transpose()?;
        Ok::<_, std::io::Error>(Worker::start(&work, options, group))
    };
    let labels = options.arm.map_or(Label::ALL.to_vec(), |arm| vec![arm]);
    let mut arms: Vec<Worker> = match labels.iter().map(start).collect() {
        Ok(arms) => arms,
        Err(error) => return println!("  skipped: no control group can be had: {error}"),
    };
    print!("  {} MiB for a database of {} MiB", bytes >> 20, template.bytes >> 20);
    if case.is_bounded {
        print!(", {} MiB for each process with its page cache", bound >> 20);
    }
    println!("; I/O by {}", arms[0].method);
    for (number, row) in rows::rows(template, &options.scale, case.memory).iter().enumerate() {
        if row.name.contains(&options.only) {
            let count = if row.reads { arms.len() } else { arms.len().min(2) };
            measure(&row.name, number, &mut arms[..count], options.rounds);
        }
    }
    if case.is_bounded {
        for arm in &arms {
            println!("  {} has {:.1} MiB without a file", arm.label, arm.own_bytes() as f64 / 1048576.0);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options::options()?;
    if let Some(work) = &options.work {
        work::run(work, &options);
        return Ok(());
    }
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
    for case in &CASES {
        let title = format!("{}, {}", case.memory, case.title);
        if title.contains(&options.case) {
            println!("{title}");
            run(case, &template, folder.path(), &options);
        }
    }
    if "connections".contains(&options.only) && options.case.is_empty() {
        connections::run(&template, folder.path(), &options.scale);
    }
    Ok(())
}
