//! ringpool's hits beside those of other pools, caches and tables; and their rate under many threads.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- hits | contention | hand-over [--rounds N]`
//!
//! On Linux with glibc set `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` before it: the peers, whose memory is the allocator's, then have huge
//! pages as ringpool and the floor have. A package of its own, outside the library's workspace, because what the peers depend on is
//! more than everything else here.
//!
//! # What is compared, and what is not
//!
//! A hit: find the page, hold it against eviction, read its first 8 bytes, let it go. Each arm's bytes are checked. Every peer but
//! page-db keeps the same reference-counted pages, with the count beside the bytes, which is the least they can hold; all use the
//! same hash function unless they have only their own. What they do in a hit, and what they leave out of it:
//!
//! | arm | in a hit | what it does not do |
//! |---|---|---|
//! | array floor | an array, one atomic pair | everything else: it cannot look a page up that it does not know |
//! | ringpool | a pin, a share latch, counts | |
//! | ringpool, hint | the same, without the table: the caller has kept where each page was | |
//! | sharded table | `parking_lot`'s `RwLock` on a shard of hashbrown, a clone of an `Arc` | no latch, no eviction, no recency, no I/O |
//! | DashMap | the same, with locks of its own | the same |
//! | quick_cache, moka, foyer | as before; recency, by which they evict | no latch; they evict clean values only: they know neither what is dirty nor whether the log is durable up to it |
//! | page-db | one mutex for the whole pool, a pin, a latch | its disk is written and read under that mutex |
//!
//! foyer runs S3-FIFO, which ringpool's replacement is too, and which spares it the exclusive lock that its LRU takes in a hit. The
//! caches have room for twice the pages, so that none is evicted.

mod contention;
mod contestants;
mod hand_over;
mod hits;
mod orders;
mod peers;

#[path = "../../support/memory.rs"]
#[expect(dead_code, reason = "its advice to users is for the figures")]
mod memory;

use std::{path::Path, process::ExitCode};

use clap::{Parser, ValueEnum};
use lab::{Arm, Result, Rounds, machine::Machine, progress, rounds::Outcome};

/// Measures ringpool beside its peers, and under many threads.
#[derive(Debug, Parser)]
struct Arguments {
    what: What,

    /// Rounds, each of which runs every arm once
    #[arg(long, default_value_t = lab::rounds::ROUNDS_OF_A_FIGURE, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Hits of one thread and of two, beside other pools, caches and tables
    Hits,
    /// Fetches by 2 to 64 threads: one page and many, with eviction and without
    Contention,
    /// How long a latch is free when its holder lets go and other threads wait
    HandOver,
}

fn main() -> ExitCode {
    let Arguments { what, rounds } = Arguments::parse();
    println!("{}; {rounds} rounds", Machine::of(Path::new(".")));
    let measured = match what {
        What::Hits => hits::measure(rounds),
        What::Contention => contention::measure(rounds),
        What::HandOver => hand_over::measure(rounds),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the arms in turn, `twin` twice a round, and says what disturbed them.
fn run(rounds: u32, twin: &str, arms: Vec<Arm<'_>>) -> Result<Outcome> {
    let bar = progress::steps(u64::from(rounds) * (arms.len() as u64 + 1));
    let outcome = Rounds::new(rounds).twin(twin).run(arms, |arm| {
        bar.set_message(arm.to_owned());
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    outcome.disturbance().into_iter().for_each(|why| println!("{why}"));
    Ok(outcome)
}
