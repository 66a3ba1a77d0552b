//! Many connections: the memory that they hold, and what they read, with one pool against as many caches.

use std::{fs, path::Path, time::Instant};

use ringpool::{options::Fallback, testing::Dice};
use rusqlite::{Connection, ffi};

use crate::{
    arms::{Arm, Label},
    rows::{Scale, Template, drop_page_cache},
};

/// Returns the bytes that this process has read from files so far, by calls of the system.
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok()).unwrap()
}

/// Returns the bytes that SQLite has allocated.
#[allow(unsafe_code)]
fn bytes_held() -> i64 {
    // SAFETY: it takes no argument, and reads a counter.
    unsafe { ffi::sqlite3_memory_used() }
}

fn look_up(arm: &Arm, path: &Path, connections: usize, scale: &Scale) -> (f64, i64, u64) {
    let (before, read) = (bytes_held(), bytes_read());
    let open: Vec<Connection> = (0..connections).map(|_| arm.open(path)).collect();
    let (begun, mut dice) = (Instant::now(), Dice::new(9));
    for lookup in 0..scale.lookups * 2 {
        let db = &open[lookup % connections];
        let mut select = db.prepare_cached("SELECT number FROM t WHERE id = ?1").unwrap();
        // Of ten look-ups nine are among a tenth of the rows.
        let among = if dice.one_in(10) { scale.rows } else { scale.rows / 10 };
        let _: i64 = select.query_row([dice.below(among as u64) as i64], |row| row.get(0)).unwrap();
    }
    (begun.elapsed().as_secs_f64() * 1e3, bytes_held() - before, bytes_read() - read)
}

/// Prints a line for each number of connections and each arm. The pool, all caches together, and each cache have a quarter of the
/// database.
pub fn run(template: &Template, folder: &Path, scale: &Scale) {
    let bytes = template.bytes / 4;
    let (vfs, pool) = Arm::new(Label::Pool, bytes, folder, Fallback::Prefer);
    let vfs = vfs.expect("it is on a pool");
    let (_, cache) = Arm::new(Label::Cache, bytes, folder, Fallback::Prefer);
    println!("many connections, memory for a quarter of the database ({} MiB)", bytes >> 20);
    for connections in [16, 64] {
        let each = cache.with_cache(bytes);
        let together = cache.with_cache(bytes / connections);
        let own = pool.with_cache(256 << 10);
        for (label, arm) in
            [("pool", &own), ("a cache of all for each", &each), ("caches of all together", &together)]
        {
            let path = arm.folder.join("copy");
            if !path.exists() {
                fs::copy(&template.path, &path).unwrap();
            }
            drop_page_cache(&path);
            let misses = vfs.pool().stats().counts.misses;
            let (took, held, mut read) = look_up(arm, &path, connections, scale);
            let mut held = held as u64;
            if arm.label == Label::Pool {
                held += vfs.pool().stats().frames.total as u64 * 4096;
                read = read.max((vfs.pool().stats().counts.misses - misses) * 4096);
            }
            println!(
                "{connections:>3} connections, {label:<24} {took:>8.1} ms  {:>6.1} MiB held  {:>6.1} MiB read",
                held as f64 / 1048576.0,
                read as f64 / 1048576.0
            );
        }
    }
}
