//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use lab::Result;

/// What does asynchronous I/O buy on this disk?
///
/// Compares a bare ring, plain pread and pwrite, and the pool under each I/O method, on random reads, a sequential scan,
/// lone misses, writebacks of random and dense pages, and updates of more pages than fit; tells how long a checkpoint keeps a hot
/// page's writer waiting, what a codec, a log and a doublewrite area cost it, and what an open pool takes that nobody uses.
#[derive(Debug, Parser)]
#[command(name = "ringpool-compare")]
pub(crate) struct Options {
    /// Files or block devices to read; never written to. Without any, a test file is made and removed.
    #[arg(value_name = "FILE")]
    pub(crate) paths: Vec<PathBuf>,

    /// Size of the test file, beside which `safety` makes four that are no larger [default: 1GiB, with --quick 64MiB]
    #[arg(long, value_parser = parse_size, conflicts_with = "paths")]
    size: Option<u64>,

    /// Where test files are made [default: `target` if there is such a folder, else the current folder]
    #[arg(long, conflicts_with = "paths")]
    dir: Option<PathBuf>,

    /// Rounds, each of which runs every arm once [default: 5, with --quick 2]
    #[arg(long)]
    rounds: Option<u32>,

    /// Bytes a page: a power of two from 512 to 65536
    #[arg(long, default_value = "8192")]
    pub(crate) page_size: u32,

    /// Requests in flight, 1 to 4096
    #[arg(long, default_value = "64", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) depth: u32,

    /// Threads of the pool's `worker` method, 1 to 256
    #[arg(long, default_value = "16", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) worker_threads: u32,

    /// Pages that each arm reads, updates or writes a round [default: 20000, with --quick 2000]
    #[arg(long)]
    pages: Option<u32>,

    /// What each arm scans a round, from the beginning of the files
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    pub(crate) scan_size: u64,

    /// Memory of each pool that reads or updates; at most a quarter of what it goes to is used, so that pages are replaced
    #[arg(long, default_value = "64MiB", value_parser = parse_size)]
    pub(crate) pool: u64,

    /// Compare only these
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Workload>,

    /// Read and write through the page cache
    #[arg(long)]
    pub(crate) buffered: bool,

    /// Write the rows of the table to this file, as a JSON array
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Show in seconds that everything works; too short to be believed
    #[arg(long)]
    pub(crate) quick: bool,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Single pages all over the files, known ahead
    Random,
    /// All pages in order
    Scan,
    /// Single pages, each known when the last is there
    Lone,
    /// Pages changed at random, written by a checkpoint
    Writeback,
    /// Ranges of 1 MiB changed at random, written by a checkpoint
    DenseWriteback,
    /// Pages changed at random, four times as many as the pool has room for
    Update,
    /// How long a page's writer waits while a checkpoint writes that page
    HotPage,
    /// A checkpoint with a codec, a log or a doublewrite area, and without
    Safety,
    /// Wake-ups and CPU of an open pool that nobody uses
    Idle,
}

impl Workload {
    /// Whether the files are written to.
    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::Random | Self::Scan | Self::Lone)
    }

    /// As it is named on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<()> {
        if !self.page_size.is_power_of_two() || !(512..=65536).contains(&self.page_size) {
            return Err(
                format!("--page-size {}: choose a power of two from 512 to 65536", self.page_size).into()
            );
        }
        if self.rounds() == 0 || self.pages() == 0 {
            return Err("--rounds and --pages must be at least 1".into());
        }
        Ok(())
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.unwrap_or(if self.quick { 64 << 20 } else { 1 << 30 })
    }

    pub(crate) fn dir(&self) -> PathBuf {
        let usual = || PathBuf::from(if PathBuf::from("target").is_dir() { "target" } else { "." });
        self.dir.clone().unwrap_or_else(usual)
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 })
    }

    pub(crate) fn pages(&self) -> u32 {
        self.pages.unwrap_or(if self.quick { 2_000 } else { 20_000 })
    }

    pub(crate) fn workloads(&self) -> &[Workload] {
        if self.only.is_empty() { Workload::value_variants() } else { &self.only }
    }
}

/// Bytes, in words that people use: `8192`, `64MiB`, `1G`.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(format!("{unit:?} is no unit: use KiB, MiB, GiB or TiB")),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number with a unit, like 64MiB".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}
