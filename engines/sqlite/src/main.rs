//! A small SQL shell on a pool: reads statements from the standard input, and tells what the pool did.
//!
//! `cargo run --release --manifest-path engines/sqlite/Cargo.toml -- FILE [MEMORY_MIB]`. Each statement ends with a semicolon.
//! `.stats` shows hits, misses and I/O in flight so far; the end of the input shows them too.

use std::{
    error::Error,
    io::{self, BufRead, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ringpool::BufferPool;
use ringpool_sqlite::PoolVfs;
use rusqlite::{Connection, OpenFlags, fallible_iterator::FallibleIterator, types::ValueRef};

const USAGE: &str = "FILE [MEMORY_MIB]: the database, and the memory of the pool (64 MiB)";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or(USAGE)?;
    let memory: usize = arguments.next().map_or(Ok(64), |mebibytes| mebibytes.parse())?;
    let pool = BufferPool::builder().page_size(4096).memory_bytes(memory << 20).build()?;
    let _vfs = PoolVfs::register("ringpool", &pool)?;
    let watch = Watch::start(&pool);
    let opened = Connection::open_with_flags_and_vfs(&file, OpenFlags::default(), c"ringpool");
    let db =
        opened.map_err(|error| format!("{error}: {}", ringpool_sqlite::ffi::vfs_calls::last_failure()))?;
    db.query_row("PRAGMA journal_mode = WAL", (), |_| Ok(()))?;

    let (mut statement, prompts) = (String::new(), io::stdin().is_terminal());
    let prompt = |text: &str| {
        if prompts {
            print!("{text}");
            let _ = io::stdout().flush();
        }
    };
    prompt("sql> ");
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line.trim() == ".stats" {
            watch.show(&pool);
        } else {
            statement.push_str(&line);
            statement.push('\n');
            if line.trim_end().ends_with(';') {
                let begun = Instant::now();
                match run(&db, &statement) {
                    Ok(rows) => println!("({rows} rows, {:.1?})", begun.elapsed()),
                    Err(error) => println!("error: {error}"),
                }
                statement.clear();
            }
        }
        prompt(if statement.is_empty() { "sql> " } else { "...> " });
    }
    drop(db);
    watch.show(&pool);
    Ok(())
}

/// Runs the statements, and prints their rows. Returns the number of rows.
fn run(db: &Connection, statements: &str) -> rusqlite::Result<usize> {
    let mut count = 0;
    let mut batch = rusqlite::Batch::new(db, statements);
    while let Some(mut statement) = batch.next()? {
        let columns = statement.column_count();
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let texts = (0..columns).map(|at| row.get_ref(at).map(text)).collect::<Result<Vec<_>, _>>()?;
            println!("{}", texts.join(" | "));
            count += 1;
        }
    }
    Ok(count)
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".into(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => format!("a blob of {} bytes", bytes.len()),
    }
}

/// Looks at the pool a thousand times a second, to see how many I/Os are in flight at most.
struct Watch {
    most: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
}

impl Watch {
    fn start(pool: &BufferPool) -> Self {
        let watch = Self { most: Arc::default(), ends: Arc::default() };
        let (pool, most, ends) = (pool.clone(), Arc::clone(&watch.most), Arc::clone(&watch.ends));
        thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                most.fetch_max(pool.in_flight().len(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
        });
        watch
    }

    fn show(&self, pool: &BufferPool) {
        let stats = pool.stats();
        let (hits, misses) = (stats.counts.hits, stats.counts.misses);
        let ratio = 100.0 * hits as f64 / (hits + misses).max(1) as f64;
        println!("hits {hits}, misses {misses}: {ratio:.2} % hits");
        println!(
            "I/O in flight: {} now, {} at most",
            pool.in_flight().len(),
            self.most.load(Ordering::Relaxed)
        );
        println!("{stats}");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}
