//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use ringpool::{IoMethod, options::UringOptions};

use crate::spoil::Spoil;

/// Uses pools hard for a long time, in peace and under faults by turns, and ends with a verdict.
#[derive(Debug, Parser)]
#[command(name = "soak")]
pub(crate) struct Options {
    /// How long.
    #[arg(long, default_value = "10")]
    pub(crate) minutes: f64,

    /// Where the files are made [default: the system's folder for temporary files]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,

    /// I/O methods, a pool each, all of them used at the same time.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["uring", "worker", "sync"])]
    pub(crate) methods: Vec<Method>,

    /// Frames a pool; its two files have eight times as many pages.
    #[arg(long, default_value = "256", value_parser = clap::value_parser!(u32).range(64..=1 << 20))]
    pub(crate) frames: u32,

    /// Threads that use a pool.
    #[arg(long, default_value = "24", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) threads: u32,

    /// Steps that a thread takes in a second, so that the rest of the machine can be used meanwhile; 0 for as many as it can.
    #[arg(long, default_value = "0")]
    pub(crate) pace: u32,

    /// The seed of all random choices; it does not decide the order in which threads run.
    #[arg(long, default_value = "1")]
    pub(crate) seed: u64,

    /// Do something wrong from half-way on, to see that the verdict reports it.
    #[arg(long, value_enum)]
    pub(crate) spoil: Option<Spoil>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    Uring,
    Worker,
    Sync,
}

impl From<Method> for IoMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::Uring => Self::Uring(UringOptions::default()),
            Method::Worker => Self::worker(),
            Method::Sync => Self::Sync,
        }
    }
}
