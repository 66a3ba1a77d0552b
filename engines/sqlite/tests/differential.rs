//! The same statements on a pool and on SQLite's own VFS, with the same results, statement by statement, in each journal mode; and
//! in the end the same bytes on disk. Half of the runs have a second database attached, with transactions over both.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use ringpool::{
    BufferPool, IoMethod,
    testing::{Dice, for_each_seed},
};
use rusqlite::Connection;
use support::{MODES, Place, check, outcome, set_mode_of};

const STATEMENTS: u32 = 250;

/// Throws a statement on two tables, with savepoints, indexes, rolled back transactions, and some that are errors.
fn statement(dice: &mut Dice) -> String {
    let (a, b) = (dice.below(400), dice.below(400));
    let longest = if dice.one_in(10) { 30_000 } else { 900 };
    let blob = dice.below(longest);
    match dice.below(30) {
        0..6 => format!("INSERT OR REPLACE INTO t VALUES ({a}, {b}, zeroblob({blob}) || 'x{b}')"),
        6 => format!(
            "WITH RECURSIVE n(i) AS (SELECT {a} UNION ALL SELECT i + 1 FROM n LIMIT {b}) \
             INSERT OR IGNORE INTO t SELECT i, i * 7 % 400, hex(zeroblob(i)) FROM n"
        ),
        7 => format!("INSERT INTO t VALUES ({a}, {b}, 'may be there')"),
        8..10 => format!("UPDATE t SET b = b + 1, c = c || '-{a}' WHERE a BETWEEN {a} AND {a} + 20"),
        10 => format!("DELETE FROM t WHERE a > {a} AND a < {b}"),
        11 => "DELETE FROM t".into(),
        12..15 => format!("SELECT a, b, length(c), substr(c, 1, 50) FROM t WHERE a >= {a} LIMIT 30"),
        15..17 => format!("SELECT count(*), sum(a), sum(length(c)) FROM t WHERE b < {b}"),
        17 => "SELECT a, total(b) FROM t GROUP BY a % 7 ORDER BY 2, 1".into(),
        18..21 => "BEGIN".into(),
        21..23 => "COMMIT".into(),
        23 => "ROLLBACK".into(),
        24 => format!("SAVEPOINT s{}", a % 3),
        25 => format!("ROLLBACK TO s{}", a % 3),
        26 => format!("INSERT INTO u SELECT NULL, c FROM t WHERE a < {a} LIMIT 40"),
        27 => format!("DELETE FROM u WHERE id % 3 = {}", a % 3),
        28 if a % 4 == 0 => "CREATE INDEX IF NOT EXISTS by_c ON u (length(c))".into(),
        28 => "DROP INDEX IF EXISTS by_c".into(),
        _ => ["PRAGMA wal_checkpoint", "VACUUM", "PRAGMA incremental_vacuum", "ANALYZE", "REINDEX"]
            [a as usize % 5]
            .into(),
    }
}

/// Throws a statement that changes or reads a table of the database that is attached.
fn statement_on_two(dice: &mut Dice) -> String {
    let (a, b) = (dice.below(400), dice.below(400));
    match dice.below(12) {
        0..2 => format!("INSERT OR REPLACE INTO two.w VALUES ({a}, zeroblob({}) || 'y{b}')", dice.below(900)),
        2..4 => format!("INSERT OR REPLACE INTO two.w SELECT a, c FROM t WHERE a > {a} LIMIT 30"),
        4..6 => format!("UPDATE two.w SET c = c || '+{a}' WHERE id BETWEEN {a} AND {a} + 25"),
        6 => format!("INSERT INTO t SELECT NULL, id, c FROM two.w WHERE id > {a} LIMIT 15"),
        7 => format!("DELETE FROM two.w WHERE id > {a} AND id < {b}"),
        8 => "SELECT count(*), total(length(c)), total(t.b) FROM two.w JOIN t ON t.a = w.id".into(),
        9 => format!("SELECT id, substr(c, 1, 40) FROM two.w WHERE id >= {a} LIMIT 20"),
        10 => "BEGIN IMMEDIATE".into(),
        _ => {
            ["PRAGMA two.wal_checkpoint", "VACUUM two", "PRAGMA two.incremental_vacuum", "DELETE FROM two.w"]
                [a as usize % 4]
                .into()
        }
    }
}

/// What a run has, on the pool and on SQLite's own VFS alike.
struct Setting {
    /// The journal modes and page sizes of the database, and of the one that is attached.
    databases: Vec<(&'static str, &'static str, u64)>,
}

impl Setting {
    fn of(mode: &'static str, dice: &mut Dice) -> Self {
        const PAGES: [u64; 7] = [512, 1024, 4096, 4096, 4096, 8192, 65536];
        let mut databases = vec![("main", mode, *dice.pick(&PAGES))];
        if dice.coin() {
            let mode = if dice.one_in(3) { *dice.pick(&MODES) } else { mode };
            databases.push(("two", mode, *dice.pick(&PAGES)));
        }
        Self { databases }
    }

    fn has_two(&self) -> bool {
        self.databases.len() > 1
    }

    fn prepare(&self, db: &Connection, path: &Path) {
        if self.has_two() {
            db.execute("ATTACH ?1 AS two", [second(path).to_str().unwrap()]).unwrap();
        }
        for (schema, mode, page) in &self.databases {
            db.execute_batch(&format!(
                "PRAGMA {schema}.page_size = {page}; PRAGMA {schema}.auto_vacuum = INCREMENTAL;
                 PRAGMA {schema}.cache_size = 12; PRAGMA wal_autocheckpoint = 20;"
            ))
            .unwrap();
            set_mode_of(db, schema, mode);
        }
    }

    /// Makes the tables.
    fn fill(&self, db: &Connection) {
        db.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY, b, c); CREATE INDEX by_b ON t (b, a); CREATE TABLE u (id INTEGER PRIMARY KEY, c)")
            .unwrap();
        if self.has_two() {
            db.execute_batch("CREATE TABLE two.w (id INTEGER PRIMARY KEY, c)").unwrap();
        }
    }
}

/// Returns the path of the database that is attached to the one at this path.
fn second(path: &Path) -> PathBuf {
    path.with_extension("two")
}

fn run(mode: &'static str, seed: u64, place: &Place, folder: &Path) {
    let mut dice = Dice::new(seed);
    let setting = Setting::of(mode, &mut dice);
    let paths = ["pool", "stock"].map(|name| folder.join(format!("{name}{seed}")));
    let [pool, stock] = &paths;
    let open = || {
        let both = [(place.open(pool), pool), (Connection::open(stock).unwrap(), stock)];
        both.map(|(db, path)| {
            setting.prepare(&db, path);
            db
        })
    };
    let mut both = open();
    both.iter().for_each(|db| setting.fill(db));
    for step in 0..STATEMENTS {
        let is_on_two = setting.has_two() && dice.one_in(3);
        let sql = if is_on_two { statement_on_two(&mut dice) } else { statement(&mut dice) };
        let [here, there] = both.each_ref().map(|db| outcome(db, &sql));
        assert_eq!(here, there, "step {step}: {sql}");
        if dice.one_in(40) {
            both.iter().for_each(check);
        }
        if dice.one_in(60) {
            drop(both);
            both = open();
        }
    }
    both.iter().for_each(check);
    drop(both);
    let names: [fn(&Path) -> PathBuf; 2] = [Path::to_owned, second];
    for name in &names[..setting.databases.len()] {
        let paths = paths.each_ref().map(|path| name(path));
        let [here, there] = paths.each_ref().map(|path| without_free_pages(fs::read(path).unwrap()));
        assert_eq!(here.len(), there.len(), "the databases have different lengths");
        assert!(here == there, "the databases have different bytes");
        // As it was left, SQLite's own VFS reads it.
        check(&Connection::open(&paths[0]).unwrap());
    }
}

/// Fills the pages on the free list with zeros: SQLite writes there what it happens to have, or nothing.
fn without_free_pages(mut bytes: Vec<u8>) -> Vec<u8> {
    let number = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let page = match u16::from_be_bytes([bytes[16], bytes[17]]) {
        1 => 65_536,
        size => usize::from(size),
    };
    let mut trunk = number(&bytes, 32);
    while trunk != 0 {
        let at = (trunk - 1) * page;
        for leaf in 0..number(&bytes, at + 4) {
            let leaf = number(&bytes, at + 8 + 4 * leaf);
            bytes[(leaf - 1) * page..leaf * page].fill(0);
        }
        trunk = number(&bytes, at);
        // What is behind the list of leaves, too.
        let end = at + 8 + 4 * number(&bytes, at + 4);
        bytes[end..at + page].fill(0);
    }
    bytes
}

fn in_mode(mode: &'static str) {
    let folder = tempfile::tempdir().unwrap();
    for method in [IoMethod::Auto, IoMethod::Sync] {
        // Few frames, so that pages are written and read again all the time.
        let place = Place::new(BufferPool::builder().frames(48).io_method(method));
        for_each_seed(8, |seed| run(mode, seed, &place, folder.path()));
        assert!(place.pool().stats().counts.misses > 0, "a test of nothing");
        for entry in fs::read_dir(folder.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

#[test]
fn delete() {
    in_mode(MODES[0]);
}

#[test]
fn truncate() {
    in_mode(MODES[1]);
}

#[test]
fn persist() {
    in_mode(MODES[2]);
}

#[test]
fn wal() {
    in_mode(MODES[3]);
}
