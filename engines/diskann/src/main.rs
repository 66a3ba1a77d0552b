//! Searches one index by DiskANN's own reader and through a pool, side by side: the same searches, in the same memory.

mod arms;
mod plot;

use std::{error::Error, path::PathBuf};

use clap::Parser;
use ringpool_diskann::sample::{self, BLOCK, Numbering, SampleSize, Vectors};

use crate::arms::{Arm, Measured, RESULTS, Reader, Search, kept_in};

/// Compares searches of a DiskANN index through a pool with searches by its own reader.
#[derive(Parser)]
struct Options {
    /// Folder of the index, which is built where it is missing; on the device that is to be measured.
    #[arg(long, default_value = "target/index")]
    folder: PathBuf,
    /// Vectors of the index.
    #[arg(long, default_value_t = 100_000)]
    vectors: usize,
    /// Dimensions of a vector.
    #[arg(long, default_value_t = 128)]
    dimensions: usize,
    /// The most neighbours of a vertex.
    #[arg(long, default_value_t = 48)]
    degree: usize,
    /// Numbers the vectors cluster by cluster, so that those of a block are near one another.
    #[arg(long)]
    by_cluster: bool,
    /// Draws queries from some clusters more often than from others, by Zipf's law.
    #[arg(long)]
    skewed: bool,
    /// Threads that search at once.
    #[arg(long, default_value_t = 8)]
    threads: usize,
    /// Vertices that a search reads together.
    #[arg(long, default_value_t = 8)]
    beam: usize,
    /// Candidates that a search keeps.
    #[arg(long, default_value_t = 60)]
    list: u32,
    /// Queries of a round.
    #[arg(long, default_value_t = 1000)]
    queries: usize,
    /// Rounds; in each all arms run one after the other.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Draws queries a second, by memory, into this file.
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// Both readers with the same memory.
struct Pair {
    name: &'static str,
    /// Blocks that fit into the memory.
    blocks: u32,
    own: (Arm, Vec<Measured>),
    pool: (Arm, Vec<Measured>),
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let numbering = if options.by_cluster { Numbering::ByCluster } else { Numbering::Drawn };
    let Options { vectors, dimensions, degree, skewed, .. } = options;
    let size = SampleSize { vectors, dimensions, degree, numbering };
    let search = Search { list: options.list, beam: options.beam, threads: options.threads };
    std::fs::create_dir_all(&options.folder)?;
    let cores = std::thread::available_parallelism()?.get();
    eprintln!("building the index, unless it is in {}", options.folder.display());
    let files = sample::build(&options.folder, size, cores)?;
    let blocks = u32::try_from(std::fs::metadata(files.graph())?.len() / BLOCK as u64)?;

    // What all searches hold at one time, twice: else one would wait for another's frames.
    let least = u32::try_from(2 * search.threads * search.beam.max(RESULTS as usize))?;
    let sizes = [("none", least), ("1/16", blocks / 16), ("1/4", blocks / 4), ("all", blocks + blocks / 16)];
    let mut pairs = Vec::new();
    for (name, blocks) in sizes {
        let kept = if blocks == least { 0 } else { kept_in(blocks, size).min(size.vectors) };
        let own = Arm::new(Reader::Own { kept }, &files, search)?;
        let pool = Arm::new(Reader::Pool { frames: blocks.max(least) }, &files, search)?;
        pairs.push(Pair { name, blocks, own: (own, Vec::new()), pool: (pool, Vec::new()) });
    }

    // The pool learns which blocks are used from queries of their own.
    let queries = |round| Vectors::new(size, 1 + round).skewed(skewed).draw_many(options.queries);
    for pair in &pairs {
        let rounds = if pair.name == "all" { 8 } else { 2 };
        for round in 0..rounds {
            pair.pool.0.run(&queries(options.rounds + round), search.threads)?;
        }
    }
    for round in 0..options.rounds {
        let queries = queries(round);
        for pair in &mut pairs {
            let mut arms = [&mut pair.own, &mut pair.pool];
            if round % 2 == 1 {
                arms.reverse();
            }
            for (arm, measured) in arms {
                measured.push(arm.run(&queries, search.threads)?);
            }
        }
        eprintln!("round {} of {}", round + 1, options.rounds);
    }
    println!(
        "{vectors} vectors of {dimensions} dimensions, numbered as {numbering:?}, skewed queries: {skewed}, {blocks} blocks of {BLOCK} B; {search:?}; {} rounds of {} queries; {cores} cores",
        options.rounds, options.queries
    );
    println!("recall@{RESULTS}: {:.3} in all arms", recall(&pairs, size, &queries(0))?);
    print_table(&pairs);
    if let Some(file) = options.svg {
        let kind = if skewed { "skewed queries" } else { "queries alike" };
        let title =
            format!("{vectors} vectors, {kind}, {} threads, beam {}, by memory", search.threads, search.beam);
        plot::draw(&file, &title, &pairs.iter().map(bars_of).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Returns the recall, after checking that all arms find the same.
fn recall(pairs: &[Pair], size: SampleSize, queries: &[Vec<f32>]) -> Result<f64, Box<dyn Error>> {
    let first = &pairs[0].own.1[0].found;
    for pair in pairs {
        for (name, (_, measured)) in [("own reader", &pair.own), ("pool", &pair.pool)] {
            if &measured[0].found != first {
                return Err(format!(
                    "with memory for {} of the blocks the {name} finds something else",
                    pair.name
                )
                .into());
            }
        }
    }
    let vectors = sample::indexed(size);
    let found: usize = queries
        .iter()
        .zip(first)
        .take(200)
        .map(|(query, found)| {
            let nearest = sample::nearest(&vectors, query, RESULTS as usize);
            found.iter().filter(|id| nearest.contains(id)).count()
        })
        .sum();
    Ok(found as f64 / (RESULTS as usize * queries.len().min(200)) as f64)
}

/// Returns the median of what `value` says of each round, and the quartiles.
fn quartiles(rounds: usize, value: impl Fn(usize) -> f64) -> [f64; 3] {
    let mut values: Vec<_> = (0..rounds).map(value).collect();
    values.sort_by(f64::total_cmp);
    [rounds / 4, rounds / 2, rounds * 3 / 4].map(|at| values[at.min(rounds - 1)])
}

fn bars_of(pair: &Pair) -> plot::Bars {
    let rates = |rounds: &[Measured]| quartiles(rounds.len(), |round| rounds[round].queries_per_s);
    let name = if pair.name == "none" { "no memory".into() } else { format!("{} of the blocks", pair.name) };
    plot::Bars { name, own: rates(&pair.own.1), pool: rates(&pair.pool.1) }
}

fn print_table(pairs: &[Pair]) {
    println!(
        "| memory | reader | queries/s | to own, same memory | to own, none | p99, ms | CPU, us a query | read, KiB a query |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let without = &pairs[0].own.1;
    for pair in pairs {
        let (own, pool) = (&pair.own.1, &pair.pool.1);
        for (name, rounds) in [("own", own), ("pool", pool)] {
            let of = |value: fn(&Measured) -> f64| quartiles(rounds.len(), |round| value(&rounds[round]))[1];
            let to = |other: &[Measured]| {
                let ratio = |round: usize| rounds[round].queries_per_s / other[round].queries_per_s;
                let [low, middle, high] = quartiles(rounds.len(), ratio);
                format!("{middle:.2} ({low:.2} to {high:.2})")
            };
            println!(
                "| {}, {:.1} MiB | {name} | {:.0} | {} | {} | {:.2} | {:.0} | {:.0} |",
                pair.name,
                f64::from(pair.blocks) * BLOCK as f64 / f64::from(1 << 20),
                of(|run| run.queries_per_s),
                if name == "own" { "1".into() } else { to(own) },
                to(without),
                of(|run| run.p99.as_secs_f64() * 1e3),
                of(|run| run.cpu_us_a_query),
                of(|run| run.kib_a_query),
            );
        }
    }
}
