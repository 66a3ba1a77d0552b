//! A B+tree on ringpool: an index of the words in a folder's texts.
//!
//! ```text
//! cargo run --release --example btree -- [FOLDER] [--trace FILE]
//! ```
//!
//! Two threads put every word of every text into the tree; in the middle there is a checkpoint. Then the process ends as if it were
//! killed: the pool is dropped with all pages that it has not written. The tree is opened again, redoes what its log says, and must
//! equal an ordered map in memory that was filled with the same. Without an argument it takes the texts of this crate.
//!
//! What to look at, in this order: `tree/mod.rs` (how an engine pins, latches and changes pages, and what it never does), `tree/scan.rs`
//! (what a read stream is for), `tree/log.rs` (what the pool has to know of a log), `tree/node.rs` (how one search serves a page
//! under a latch and one without). `--trace` writes which pages were used, for `cargo bench --bench miss_ratios`.

#[path = "../support/recorder.rs"]
mod recorder;
mod tree;
mod words;

use std::{
    collections::BTreeMap,
    fs::OpenOptions as FileOptions,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Instant,
};

use clap::Parser;
use ringpool::{
    BufferPool, OpenOptions,
    options::{DoubleWriteArea, TornPages},
};

use recorder::Recorder;
use tree::{Log, LogFirst, PAGE_LSN, Result, Tree};

/// Indexes the words of a folder's texts in a B+tree.
#[derive(Debug, Parser)]
#[command(name = "btree")]
struct Arguments {
    /// The texts [default: those of this crate]
    folder: Option<PathBuf>,

    /// Where to write which pages were used: text, a page number a line
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = arguments.folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    let texts = words::texts(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let place = tempfile::tempdir()?;
    let recorder = arguments.trace.as_ref().map_or_else(Recorder::default, |_| Recorder::new());

    let begun = Instant::now();
    let (pool, tree) = open(place.path(), &recorder)?;
    let (first, second) = texts.split_at(texts.len() / 2);
    insert_all(&tree, first, 0)?;
    tree.checkpoint()?;
    insert_all(&tree, second, first.len())?;
    println!("{} texts indexed in {:.1?}", texts.len(), begun.elapsed());
    print_counts(&pool);
    drop((tree, pool));

    let begun = Instant::now();
    let (pool, tree) = open(place.path(), &recorder)?;
    println!("opened again, and done again what the log says, in {:.1?}", begun.elapsed());
    compare(&tree, &texts)?;
    print_most_frequent(&tree, &texts)?;
    print_counts(&pool);
    if let Some(path) = arguments.trace {
        recorder.save(&path)?;
    }
    Ok(())
}

/// Returns the tree in this folder. Torn pages are put right by the pool; all else that a crash leaves undone, by the tree's log.
fn open(folder: &Path, recorder: &Recorder) -> Result<(BufferPool, Tree)> {
    let file =
        FileOptions::new().create(true).truncate(false).read(true).write(true).open(folder.join("log"))?;
    let (log, survived) = Log::open(file)?;
    let pool = BufferPool::builder()
        .frames(512)
        .wal(LogFirst(Arc::clone(&log)))
        .page_lsn(PAGE_LSN)
        .torn_pages(TornPages::DoubleWrite(DoubleWriteArea::new(folder.join("copies"))))
        .build()?;
    // Pages are added one by one: they are made ahead, so that hardly any of them waits for the disk.
    let file =
        pool.open_file(folder.join("words"), OpenOptions::new().create(true).grow_by_blocks(128).tag(1))?;
    let tree = Tree::open(&pool, file, &log, &survived)?.recorded(recorder);
    Ok((pool, tree))
}

/// Puts the words of the texts into the tree, each with how often it is in its line, by two threads.
fn insert_all(tree: &Tree, texts: &[String], number: usize) -> Result<()> {
    let insert = |every_second: usize| -> Result<()> {
        for (at, text) in texts.iter().enumerate().skip(every_second).step_by(2) {
            for (key, count) in keys(text, number + at) {
                tree.insert(&key, count)?;
            }
            tree.commit()?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| insert(1));
        insert(0)?;
        other.join().unwrap_or_else(|_| Err("a thread has panicked".into()))
    })
}

fn keys(text: &str, number: usize) -> BTreeMap<Vec<u8>, u64> {
    let mut keys = BTreeMap::new();
    for (line, content) in text.lines().enumerate() {
        for word in words::words(content) {
            *keys.entry(words::key(word, number as u32, line as u32)).or_default() += 1;
        }
    }
    keys
}

/// Compares the tree with a map in memory.
fn compare(tree: &Tree, texts: &[String]) -> Result<()> {
    let map: BTreeMap<Vec<u8>, u64> =
        texts.iter().enumerate().flat_map(|(number, text)| keys(text, number)).collect();
    let mut expected = map.iter();
    let mut same = true;
    tree.scan(&[], |key, value| {
        same = expected.next().is_some_and(|(other, count)| (other.as_slice(), *count) == (key, value));
        if same { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    for (key, count) in map.iter().step_by(7) {
        same &= tree.get(key)? == Some(*count);
    }
    if !same || expected.next().is_some() {
        return Err("the tree is not what went in".into());
    }
    println!("all {} entries are what went in, by scan and by look-up", map.len());
    Ok(())
}

/// Shows that a range is cheap: all lines of a word are side by side.
fn print_most_frequent(tree: &Tree, texts: &[String]) -> Result<()> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let words = texts.iter().flat_map(|text| words::words(text));
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    let most = counts.iter().max_by_key(|(_, count)| **count).ok_or("there is not a word")?.0;
    let (prefix, mut lines) = (words::prefix(most), 0);
    tree.scan(&prefix, |key, _| {
        if !key.starts_with(&prefix) {
            return ControlFlow::Break(());
        }
        lines += 1;
        ControlFlow::Continue(())
    })?;
    println!("the most frequent word is `{most}`: in {lines} lines");
    Ok(())
}

fn print_counts(pool: &BufferPool) {
    let stats = pool.stats();
    let counts = stats.counts;
    println!(
        "by {}: {} of {} fetches found their page in the pool; {} pages read, {} of them for a stream; {} written in {} requests",
        stats.method,
        counts.hits,
        counts.hits + counts.misses + counts.joins,
        counts.pages_read,
        counts.stream_pages,
        counts.pages_written,
        counts.write_requests,
    );
}
