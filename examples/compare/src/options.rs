//! The command line.

use std::env;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use lab::Result;
use lab::serde_json::{Value, json};

/// What does asynchronous I/O buy on this disk?
///
/// Compares a bare ring, plain pread and pwrite, and the pool under each I/O method, on random reads, a sequential scan,
/// lone misses, writebacks of random and dense pages, and updates of more pages than fit; tells how long a checkpoint keeps a hot
/// page's writer waiting, what a codec, a log and a doublewrite area cost it, and what an open pool takes while it is not used.
///
/// Exit codes: 0, everything was compared; 1, there is no report, or an arm saw or left other bytes than a plain read; 2, the
/// command line is wrong; 3, the report stands, but an arm or a workload has failed and is left out.
#[derive(Clone, Debug, Parser)]
#[command(name = "ringpool-compare")]
pub(crate) struct Options {
    /// Files or block devices to read; never written to. Without any, a test file is made and removed.
    #[arg(value_name = "FILE")]
    pub(crate) paths: Vec<PathBuf>,

    /// Size of the test file, beside which `safety` makes four that are no larger [default: 1GiB, with --quick 64MiB]
    #[arg(long, value_parser = parse_size, conflicts_with = "paths")]
    size: Option<u64>,

    /// Where test files are made, in a folder that is removed at the end and on Ctrl-C [default: $CARGO_TARGET_DIR or `target`, if
    /// there is such a folder, else the current folder]
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

    /// Write everything that was found to this file, as a JSON object
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write a page with plots to this file; unless --only says otherwise, `depths` is compared too
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Write the plot of how all arms stand beside plain calls to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Makes this arm fail in its second round, for tests
    #[arg(long, hide = true, value_name = "ARM")]
    pub(crate) fail: Option<String>,

    /// Show in seconds that everything works; too short to be believed
    #[arg(long)]
    pub(crate) quick: bool,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Single pages all over the files, known ahead
    Random,
    /// Single pages all over the files, at 1, 4, 16, 64 and 256 requests in flight
    Depths,
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
    /// Wake-ups and CPU of an open pool while it is not used
    Idle,
}

impl Workload {
    /// Returns whether the files are written to.
    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::Random | Self::Depths | Self::Scan | Self::Lone)
    }

    /// Returns its name on the command line.
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

    /// Makes the same options with `depth` requests in flight.
    pub(crate) fn at_depth(&self, depth: u32) -> Self {
        Self { depth, ..self.clone() }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.unwrap_or(if self.quick { 64 << 20 } else { 1 << 30 })
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| usual_dir(env::var_os("CARGO_TARGET_DIR").map(PathBuf::from)))
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 })
    }

    pub(crate) fn pages(&self) -> u32 {
        self.pages.unwrap_or(if self.quick { 2_000 } else { 20_000 })
    }

    /// Returns the files that reports go to, by their options.
    pub(crate) fn reports(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let asked = [("--json", &self.json), ("--html", &self.html), ("--svg", &self.svg)];
        asked.into_iter().filter_map(|(option, path)| Some((option, path.as_ref()?)))
    }

    /// Returns the workloads to compare: unless some are named, all, but the depths only for the page that shows them.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        if !self.only.is_empty() {
            return self.only.clone();
        }
        Workload::value_variants()
            .iter()
            .copied()
            .filter(|workload| *workload != Workload::Depths || self.html.is_some())
            .collect()
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "files": self.paths,
            "size_bytes": self.paths.is_empty().then(|| self.size()),
            "rounds": self.rounds(),
            "page_size_bytes": self.page_size,
            "depth": self.depth,
            "worker_threads": self.worker_threads,
            "pages": self.pages(),
            "scan_size_bytes": self.scan_size,
            "pool_bytes": self.pool,
            "workloads": self.workloads().into_iter().map(Workload::name).collect::<Vec<_>>(),
            "buffered": self.buffered,
            "quick": self.quick,
        })
    }
}

/// Returns cargo's folder for what it builds, which is not under version control, if there is one; else the current folder.
fn usual_dir(of_cargo: Option<PathBuf>) -> PathBuf {
    let target = of_cargo.into_iter().chain([PathBuf::from("target")]).find(|dir| dir.is_dir());
    target.unwrap_or_else(|| PathBuf::from("."))
}

/// Parses a number of bytes as people write it: `8192`, `64MiB`, `1G`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_where_cargo_puts_what_it_builds() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(usual_dir(Some(folder.path().to_owned())), folder.path());
        let missing = folder.path().join("missing");
        assert_eq!(usual_dir(Some(missing)), usual_dir(None));
        assert!(usual_dir(None).is_dir());
    }

    #[test]
    fn sizes_have_the_units_that_people_use() {
        assert_eq!(
            ["8192", "64MiB", "1G", "2kb"].map(|text| parse_size(text).unwrap()),
            [8192, 64 << 20, 1 << 30, 2048]
        );
        assert!(parse_size("7 parsecs").is_err() && parse_size("MiB").is_err());
    }
}
