//! A heap file in ten minutes: lines of text in slotted pages, on ringpool.
//!
//! ```text
//! cargo run --release --example heap -- [TEXT FILE] [--trace FILE]
//! ```
//!
//! Loads every line of a text file into a heap file, checkpoints, closes everything, opens it again, scans it with prefetch,
//! and compares what comes out with what went in, byte for byte. Without an argument it loads its own source.
//!
//! What to look at: how a page is changed (`Heap::append` in `heap.rs`), what makes changes durable (`main`, the checkpoint), how a scan
//! keeps the disk busy ahead of itself (`Heap::scan`). `--trace` writes which pages were used, for `cargo bench --bench miss_ratios`.

mod heap;
#[path = "../support/recorder.rs"]
mod recorder;
mod slotted;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Parser;
use ringpool::{BufferPool, CheckpointOptions, OpenOptions, Shutdown};

use heap::{Heap, Result};
use recorder::Recorder;

/// Loads the lines of a text into a heap file, and scans it.
#[derive(Debug, Parser)]
#[command(name = "heap")]
struct Arguments {
    /// The text
    #[arg(default_value = file!())]
    text: PathBuf,

    /// Where to write which pages were used: text, a page number a line
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let text = arguments.text;
    let contents = fs::read(&text).map_err(|error| format!("{}: {error}", text.display()))?;
    let lines: Vec<&[u8]> = contents.split(|&byte| byte == b'\n').collect();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("lines.heap");
    let recorder = arguments.trace.as_ref().map_or_else(Recorder::default, |_| Recorder::new());

    let begun = Instant::now();
    let (pool, mut heap) = open(&path, &recorder)?;
    for line in &lines {
        heap.append(line)?;
    }
    drop(heap);
    // From here on the lines survive a power cut: everything dirty is written, in sorted batches, and the file synced.
    let checkpoint = pool.checkpoint(CheckpointOptions::new()).wait()?;
    let loaded = begun.elapsed();
    println!(
        "loaded {} lines in {loaded:.1?}; the checkpoint wrote {} pages",
        lines.len(),
        checkpoint.pages_written
    );
    pool.shutdown(Shutdown::Flush)?;

    let begun = Instant::now();
    let (pool, heap) = open(&path, &recorder)?;
    let (mut seen, mut different) = (0, 0);
    heap.scan(|line| {
        different += usize::from(lines.get(seen) != Some(&line.as_slice()));
        seen += 1;
    })?;
    println!("scanned {seen} lines in {:.1?}", begun.elapsed());
    let stats = pool.stats();
    println!("I/O method: {}", stats.method);
    println!(
        "{} pages in {} read requests; {} fetches found their page ready, {} waited for one on its way, {} read it themselves",
        stats.counts.pages_read,
        stats.counts.read_requests,
        stats.counts.hits,
        stats.counts.joins,
        stats.counts.misses,
    );
    if seen != lines.len() || different > 0 {
        return Err(
            format!("{} lines went in, {seen} came out, {different} of them different", lines.len()).into()
        );
    }
    println!("what came out is what went in");
    if let Some(path) = arguments.trace {
        recorder.save(&path)?;
    }
    Ok(())
}

fn open(path: &Path, recorder: &Recorder) -> Result<(BufferPool, Heap)> {
    // 1,024 frames of 8 KiB. The I/O method is chosen by what works here: io_uring, else threads.
    let pool = BufferPool::builder().frames(1024).page_size(8192).build()?;
    let file = pool.open_file(path, OpenOptions::new().create(true))?;
    let heap = Heap::open(&pool, file, recorder);
    Ok((pool, heap))
}
