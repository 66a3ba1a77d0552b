//! Databases on the simulated disk: power cuts amid commits, in each journal mode, and each I/O failing in turn.

mod support;

use std::{fs, path::Path};

use ringpool::testing::{Dice, Fault, SimDisk, Which};
use rusqlite::Connection;
use support::{MODES, Place, check, number, set_mode, simulated::place};

const EIO: i32 = 5;
/// Rows that each transaction adds.
const ROWS: i64 = 4;
const FILES: [&str; 3] = ["/simulated/db", "/simulated/db-journal", "/simulated/db-wal"];

fn prepare(db: &Connection, mode: &str) {
    set_mode(db, mode);
    db.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = 8; PRAGMA wal_autocheckpoint = 12")
        .unwrap();
}

fn made(disk: &SimDisk, mode: &str) -> (Place, Connection) {
    let place = place(disk);
    let db = place.open(FILES[0].as_ref());
    db.busy_timeout(std::time::Duration::ZERO).unwrap();
    prepare(&db, mode);
    db.execute_batch(
        "CREATE TABLE t (n, row, bytes); CREATE INDEX by_n ON t (n); CREATE TABLE total (rows); INSERT INTO total VALUES (0)",
    )
    .unwrap();
    (place, db)
}

fn commit(db: &Connection, dice: &mut Dice, n: i64) -> rusqlite::Result<()> {
    let longest = if dice.one_in(4) { 40_000 } else { 1_500 };
    db.execute_batch("BEGIN IMMEDIATE")?;
    for row in 0..ROWS {
        let bytes = dice.below(longest) as i64;
        db.execute("INSERT INTO t VALUES (?1, ?2, zeroblob(?3))", (n, row, bytes))?;
    }
    db.execute("UPDATE total SET rows = rows + ?1", [ROWS])?;
    db.execute_batch("COMMIT")
}

/// Asserts that the database is whole, and has these transactions, and of the others all or nothing.
#[track_caller]
fn verify(db: &Connection, acknowledged: &[i64], whose: &str) {
    check(db);
    for n in acknowledged {
        let rows = number(db, &format!("SELECT count(*) FROM t WHERE n = {n}"));
        assert_eq!(rows, ROWS, "{whose}: commit {n} was acknowledged");
    }
    assert_eq!(number(db, "SELECT count(*) FROM t"), number(db, "SELECT rows FROM total"), "{whose}");
    assert_eq!(number(db, "SELECT count(*) FROM t") % ROWS, 0, "{whose}: half a transaction");
}

/// Asserts that SQLite's own VFS, and a new pool, find a whole database on this disk.
fn verify_disk(disk: &SimDisk, acknowledged: &[i64]) {
    let folder = tempfile::tempdir().unwrap();
    for file in FILES {
        if let Some(bytes) = disk.image(file) {
            let name = Path::new(file).file_name().unwrap();
            fs::write(folder.path().join(name), bytes).unwrap();
        }
    }
    verify(&Connection::open(folder.path().join("db")).unwrap(), acknowledged, "SQLite's own VFS");
    let place = place(disk);
    verify(&place.open(FILES[0].as_ref()), acknowledged, "the pool");
}

#[test]
fn a_power_cut_leaves_every_commit_that_was_acknowledged_and_no_half_of_another() {
    let mut cut = 0;
    for mode in MODES {
        ringpool::testing::for_each_seed(40, |seed| {
            let (mut dice, disk) = (Dice::new(seed), SimDisk::with_seed(seed));
            let (place, db) = made(&disk, mode);
            disk.cut_power_during(1 + dice.below(150));
            let acknowledged: Vec<i64> =
                (1..=15).take_while(|&n| commit(&db, &mut dice, n).is_ok()).collect();
            drop(db);
            drop(place);
            for again in 0..3 {
                verify_disk(&disk.after_power_cut(seed * 3 + again), &acknowledged);
            }
        });
        cut += 1;
    }
    assert_eq!(cut, MODES.len());
}

#[test]
fn a_failure_of_any_io_loses_no_commit_that_was_acknowledged() {
    for mode in MODES {
        let run = |fault: Option<u64>| {
            let disk = SimDisk::with_seed(1);
            let (place, db) = made(&disk, mode);
            disk.clear_log();
            if let Some(n) = fault {
                disk.inject(Fault::error(Which::any(), EIO).nth(n));
            }
            let mut dice = Dice::new(11);
            let commits = (1..=10_i64).filter(|&n| {
                let done = commit(&db, &mut dice, n);
                if done.is_err() && !db.is_autocommit() {
                    let _ = db.execute_batch("ROLLBACK");
                }
                done.is_ok()
            });
            let acknowledged: Vec<i64> = commits.collect();
            let operations = disk.count(Which::any()) as u64;
            drop(db);
            drop(place);
            disk.heal();
            verify_disk(&disk.after_kill(1), &acknowledged);
            (operations, acknowledged.len())
        };
        let (operations, all) = run(None);
        assert_eq!(all, 10);
        let failed = (1..=operations).filter(|&n| run(Some(n)).1 < all).count();
        assert!(failed > 5, "{mode}: of {operations} I/Os {failed} made a commit fail: a test of nothing");
    }
}
