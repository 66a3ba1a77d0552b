//! Transactions over two databases on the simulated disk: power cuts amid them, in each pair of journal modes, and each I/O failing in turn.
//!
//! Where both databases have a rollback journal, a transaction over both is in both or in none, as SQLite promises by the super-journal.

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use ringpool::testing::{Dice, Fault, SimDisk, Which};
use rusqlite::Connection;
use support::{Place, check, set_mode_of, simulated::place};

const EIO: i32 = 5;
/// Rows that each transaction adds to each database that it changes.
const ROWS: i64 = 3;
const SCHEMAS: [&str; 2] = ["main", "two"];
/// The modes of both databases.
const PAIRS: [[&str; 2]; 6] = [
    ["DELETE", "DELETE"],
    ["TRUNCATE", "TRUNCATE"],
    ["PERSIST", "PERSIST"],
    ["DELETE", "PERSIST"],
    ["WAL", "WAL"],
    ["TRUNCATE", "WAL"],
];

fn is_atomic(modes: [&str; 2]) -> bool {
    !modes.contains(&"WAL")
}

/// Returns which of the databases the transaction changes: both, as a rule.
fn changes(n: i64) -> [bool; 2] {
    [n % 5 != 3, n % 5 != 4]
}

/// Two databases on a simulated disk, under names that lead into a folder on the real one.
struct Both {
    folder: tempfile::TempDir,
}

impl Both {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, at: usize) -> PathBuf {
        self.folder.path().join(["one", "two"][at])
    }

    fn attach(&self, db: &Connection) -> rusqlite::Result<()> {
        db.execute("ATTACH ?1 AS two", [self.path(1).to_str().unwrap()]).map(drop)
    }

    fn made(&self, disk: &SimDisk, modes: [&str; 2]) -> (Place, Connection) {
        let place = place(disk);
        let db = place.open(&self.path(0));
        db.busy_timeout(std::time::Duration::ZERO).unwrap();
        self.attach(&db).unwrap();
        for (schema, mode) in SCHEMAS.into_iter().zip(modes) {
            set_mode_of(&db, schema, mode);
            db.execute_batch(&format!(
                "PRAGMA {schema}.synchronous = FULL; PRAGMA {schema}.cache_size = 4; PRAGMA wal_autocheckpoint = 12;
                 CREATE TABLE {schema}.t (n, row, bytes); CREATE INDEX {schema}.by_n ON t (n)"
            ))
            .unwrap();
        }
        (place, db)
    }

    /// Asserts that both are whole and have these transactions, and of the others all or nothing; in both, where that is promised.
    #[track_caller]
    fn verify(&self, open: impl Fn(&Path) -> Connection, modes: [&str; 2], acknowledged: &[i64], order: u64) {
        let order = if order.is_multiple_of(2) { [0, 1] } else { [1, 0] };
        let mut transactions = [BTreeSet::new(), BTreeSet::new()];
        for at in order {
            let db = open(&self.path(at));
            check(&db);
            let mut rows = db.prepare("SELECT n, count(*) FROM t GROUP BY n").unwrap();
            let rows = rows.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            for found in rows {
                let (n, rows): (i64, i64) = found.unwrap();
                assert_eq!(rows, ROWS, "{modes:?}: half of transaction {n} in database {at}");
                transactions[at].insert(n);
            }
            for n in acknowledged.iter().filter(|&&n| changes(n)[at]) {
                assert!(
                    transactions[at].contains(n),
                    "{modes:?}: {n} was acknowledged, and is not in database {at}"
                );
            }
        }
        let of_both = transactions.map(|of_one| {
            of_one.into_iter().filter(|&n| changes(n) == [true, true]).collect::<BTreeSet<_>>()
        });
        assert!(
            !is_atomic(modes) || of_both[0] == of_both[1],
            "{modes:?}: in one and not the other: {of_both:?}"
        );
    }

    /// Asserts that of SQLite's own VFS and of a new pool, on this disk. `paths` are of all files that may be there.
    #[track_caller]
    fn verify_disk(
        &self,
        disk: &SimDisk,
        paths: &BTreeSet<PathBuf>,
        modes: [&str; 2],
        acknowledged: &[i64],
        order: u64,
    ) {
        for path in paths {
            if let Some(bytes) = disk.image(path) {
                fs::write(path, bytes).unwrap();
            }
        }
        self.verify(|path| Connection::open(path).unwrap(), modes, acknowledged, order);
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let place = place(disk);
        self.verify(|path| place.open(path), modes, acknowledged, order);
    }
}

/// Returns the paths of all files that were used.
fn paths(disk: &SimDisk) -> BTreeSet<PathBuf> {
    disk.log().into_iter().map(|event| event.path).collect()
}

fn super_journals(paths: &BTreeSet<PathBuf>) -> usize {
    paths.iter().filter(|path| path.to_string_lossy().contains("-mj")).count()
}

/// Adds rows to one database or both. Before that, sometimes, changes pages of one, more than its cache has, and takes that back.
fn commit(db: &Connection, dice: &mut Dice, n: i64) -> rusqlite::Result<()> {
    if dice.one_in(3) {
        let schema = dice.pick(&SCHEMAS);
        db.execute_batch(&format!("BEGIN; UPDATE {schema}.t SET bytes = zeroblob(7), row = -1; ROLLBACK"))?;
    }
    let longest = if dice.one_in(4) { 20_000 } else { 1_500 };
    db.execute_batch("BEGIN")?;
    for row in 0..ROWS {
        for (schema, _) in SCHEMAS.into_iter().zip(changes(n)).filter(|(_, is_changed)| *is_changed) {
            let bytes = dice.below(longest) as i64;
            db.execute(&format!("INSERT INTO {schema}.t VALUES (?1, ?2, zeroblob(?3))"), (n, row, bytes))?;
        }
    }
    db.execute_batch("COMMIT")
}

#[test]
fn a_power_cut_leaves_a_transaction_in_both_databases_or_in_none() {
    for modes in PAIRS {
        let seen = std::cell::Cell::new(0);
        ringpool::testing::for_each_seed(30, |seed| {
            let (mut dice, disk, both) = (Dice::new(seed), SimDisk::with_seed(seed), Both::new());
            let (place, db) = both.made(&disk, modes);
            disk.cut_power_during(1 + dice.below(200));
            let mut is_done = |&n: &i64| {
                let done = commit(&db, &mut dice, n);
                assert!(done.is_ok() || disk.is_without_power(), "{done:?}");
                done.is_ok()
            };
            let acknowledged: Vec<i64> = (1..=12).take_while(&mut is_done).collect();
            drop(db);
            drop(place);
            let paths = paths(&disk);
            seen.update(|seen| seen + super_journals(&paths));
            for again in 0..3 {
                let found = disk.after_power_cut(seed * 3 + again);
                both.verify_disk(&found, &paths, modes, &acknowledged, seed + again);
            }
        });
        assert_eq!(seen.get() > 30, is_atomic(modes), "{modes:?}: {} super-journals", seen.get());
    }
}

#[test]
fn a_failure_of_any_io_leaves_a_transaction_in_both_databases_or_in_none() {
    for modes in PAIRS {
        let run = |fault: Option<u64>| {
            let (disk, both) = (SimDisk::with_seed(1), Both::new());
            let (place, db) = both.made(&disk, modes);
            let mut paths = paths(&disk);
            disk.clear_log();
            if let Some(n) = fault {
                disk.inject(Fault::error(Which::any().and_openings(), EIO).nth(n));
            }
            let mut dice = Dice::new(11);
            let acknowledged: Vec<i64> = (1..=5_i64)
                .filter(|&n| {
                    let done = commit(&db, &mut dice, n);
                    if done.is_err() && !db.is_autocommit() {
                        let _ = db.execute_batch("ROLLBACK");
                    }
                    done.is_ok()
                })
                .collect();
            let operations = disk.count(Which::any().and_openings()) as u64;
            drop(db);
            drop(place);
            disk.heal();
            paths.extend(self::paths(&disk));
            both.verify_disk(&disk.after_kill(1), &paths, modes, &acknowledged, fault.unwrap_or(0));
            (operations, acknowledged.len())
        };
        let (operations, all) = run(None);
        assert_eq!(all, 5);
        let failed = (1..=operations).filter(|&n| run(Some(n)).1 < all).count();
        assert!(failed > 5, "{modes:?}: of {operations} I/Os {failed} made a commit fail: a test of nothing");
    }
}
