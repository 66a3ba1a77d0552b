//! What is measured. Each row runs a workload on an arm, and returns the time of the part that counts.

use std::{
    fs::{self, File},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ringpool::testing::Dice;
use rusqlite::{Connection, params};

use crate::arms::{Arm, Memory};

/// How much is done.
pub struct Scale {
    /// Rows of the database that is read: some 280 bytes each.
    pub rows: i64,
    pub commits: usize,
    pub bulk_rows: i64,
    pub lookups: usize,
}

impl Scale {
    pub const FULL: Self = Self { rows: 240_000, commits: 600, bulk_rows: 60_000, lookups: 20_000 };
    pub const QUICK: Self = Self { rows: 120_000, commits: 20, bulk_rows: 20_000, lookups: 10_000 };

    /// Returns the argument that asks for it.
    pub fn argument(&self) -> Option<&'static str> {
        (self.rows == Self::QUICK.rows).then_some("--quick")
    }
}

/// A database that the rows copy.
pub struct Template {
    pub path: PathBuf,
    pub bytes: usize,
}

impl Template {
    /// Returns the one that is in the folder.
    pub fn found(folder: &Path) -> Self {
        let path = folder.join("template");
        let bytes = fs::metadata(&path).unwrap().len() as usize;
        Self { path, bytes }
    }
}

/// What a run took.
#[derive(Copy, Clone)]
pub struct Took {
    pub time: Duration,
    /// Of all threads of the process.
    pub cpu: Duration,
}

pub struct Row<'a> {
    pub name: String,
    /// Whether it only reads, so that a mapped file is an arm too.
    pub reads: bool,
    pub run: Box<dyn Fn(&Arm) -> Took + 'a>,
}

const TEXT: i64 = 250;

fn fill(db: &Connection, rows: i64) {
    db.execute_batch("BEGIN").unwrap();
    {
        let mut insert = db.prepare("INSERT INTO t VALUES (?1, ?2, ?3)").unwrap();
        let text = "x".repeat(TEXT as usize);
        let mut dice = Dice::new(3);
        for id in 0..rows {
            insert.execute(params![id, dice.below(1 << 40) as i64, text]).unwrap();
        }
    }
    db.execute_batch("COMMIT").unwrap();
}

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, number, text)";

/// Makes the database that is read.
pub fn template(folder: &Path, scale: &Scale) -> Template {
    let path = folder.join("template");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(TABLE).unwrap();
    fill(&db, scale.rows);
    db.close().unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    Template::found(folder)
}

/// Empties the system's page cache of a file.
pub fn drop_page_cache(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    let advised = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    assert!(advised.is_ok(), "{} {advised:?}", file.as_raw_fd());
}

fn timed(work: impl FnOnce()) -> Took {
    let cpu = || {
        let clock = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(clock.tv_sec as u64, clock.tv_nsec as u32)
    };
    let (begun, before) = (Instant::now(), cpu());
    work();
    Took { time: begun.elapsed(), cpu: cpu() - before }
}

/// Opens a database that was not there.
fn fresh(arm: &Arm, mode: &str, synchronous: &str) -> Connection {
    let path = arm.folder.join("fresh");
    for suffix in ["", "-wal", "-journal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", path.display()));
    }
    let db = arm.open(&path);
    db.query_row(&format!("PRAGMA journal_mode = {mode}"), (), |_| Ok(())).unwrap();
    db.execute_batch(&format!("PRAGMA synchronous = {synchronous}; {TABLE}")).unwrap();
    db
}

/// Returns the arm's copy of the template.
fn copy(arm: &Arm, template: &Template) -> PathBuf {
    let path = arm.folder.join("copy");
    if !path.exists() {
        fs::copy(&template.path, &path).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
    }
    path
}

fn commits(arm: &Arm, mode: &str, synchronous: &str, count: usize) -> Took {
    let db = fresh(arm, mode, synchronous);
    fill(&db, 20_000);
    // From here on the log is written over, as in a database that has been in use for a while.
    let _ = db.query_row("PRAGMA wal_checkpoint(RESTART)", (), |_| Ok(()));
    let mut update = db.prepare("UPDATE t SET number = number + 1 WHERE id = ?1").unwrap();
    let mut dice = Dice::new(5);
    let mut commit = || assert_eq!(update.execute([dice.below(20_000) as i64]).unwrap(), 1);
    (0..5).for_each(|_| commit());
    timed(|| (0..count).for_each(|_| commit()))
}

fn bulk_insert(arm: &Arm, rows: i64) -> Took {
    let db = fresh(arm, "WAL", "NORMAL");
    timed(|| fill(&db, rows))
}

fn checkpoint(arm: &Arm) -> Took {
    let db = fresh(arm, "WAL", "NORMAL");
    db.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
    fill(&db, 20_000);
    let run = |db: &Connection| {
        let (busy, log): (i64, i64) =
            db.query_row("PRAGMA wal_checkpoint(RESTART)", (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert!(busy == 0 && log > 500, "busy {busy}, {log} frames");
    };
    run(&db);
    db.execute_batch("UPDATE t SET number = number + 1").unwrap();
    timed(|| run(&db))
}

const SCAN: &str = "SELECT sum(number), sum(length(text)) FROM t";

fn scan(db: &Connection) {
    let length: i64 = db.query_row(SCAN, (), |row| row.get(1)).unwrap();
    assert_eq!(length % TEXT, 0);
}

fn cold_scan(arm: &Arm, template: &Template) -> Took {
    let path = copy(arm, template);
    drop_page_cache(&path);
    let db = arm.open(&path);
    timed(|| scan(&db))
}

fn warm_scan(arm: &Arm, template: &Template) -> Took {
    let db = arm.open(&copy(arm, template));
    scan(&db);
    timed(|| (0..3).for_each(|_| scan(&db)))
}

fn look_up(db: &Connection, rows: i64, count: usize, seed: u64) {
    let mut select = db.prepare_cached("SELECT number FROM t WHERE id = ?1").unwrap();
    let mut dice = Dice::new(seed);
    for _ in 0..count {
        let _: i64 = select.query_row([dice.below(rows as u64) as i64], |row| row.get(0)).unwrap();
    }
}

fn warm_lookups(arm: &Arm, template: &Template, scale: &Scale) -> Took {
    let db = arm.open(&copy(arm, template));
    scan(&db);
    // In one transaction, so that the locks count once.
    db.execute_batch("BEGIN").unwrap();
    look_up(&db, scale.rows, scale.lookups, 1);
    timed(|| look_up(&db, scale.rows, scale.lookups, 2))
}

fn statements(arm: &Arm, template: &Template, scale: &Scale) -> Took {
    let db = arm.open(&copy(arm, template));
    scan(&db);
    timed(|| look_up(&db, scale.rows, scale.lookups, 2))
}

fn cold_lookups(arm: &Arm, template: &Template, scale: &Scale) -> Took {
    let path = copy(arm, template);
    drop_page_cache(&path);
    let db = arm.open(&path);
    db.execute_batch("BEGIN").unwrap();
    timed(|| look_up(&db, scale.rows, scale.lookups / 10, 2))
}

/// Lists the rows for this memory.
pub fn rows<'a>(template: &'a Template, scale: &'a Scale, memory: Memory) -> Vec<Row<'a>> {
    fn row<'a>(name: &str, reads: bool, run: impl Fn(&Arm) -> Took + 'a) -> Row<'a> {
        Row { name: name.into(), reads, run: Box::new(run) }
    }
    let reads = vec![
        row("cold scan", true, |arm| cold_scan(arm, template)),
        row("cold lookups", true, |arm| cold_lookups(arm, template, scale)),
    ];
    let writes = vec![
        row("commit, WAL, FULL", false, |arm| commits(arm, "WAL", "FULL", scale.commits)),
        row("commit, WAL, NORMAL", false, |arm| commits(arm, "WAL", "NORMAL", scale.commits * 20)),
        row("commit, DELETE, FULL", false, |arm| commits(arm, "DELETE", "FULL", scale.commits / 2)),
        row("bulk insert", false, |arm| bulk_insert(arm, scale.bulk_rows)),
        row("checkpoint", false, checkpoint),
    ];
    let warm = vec![
        row("warm scan", true, |arm| warm_scan(arm, template)),
        row("warm lookups, one transaction", true, |arm| warm_lookups(arm, template, scale)),
        row("warm lookups, one each", true, |arm| statements(arm, template, scale)),
    ];
    match memory {
        Memory::All => writes.into_iter().chain(reads).chain(warm).collect(),
        Memory::Eighth => writes.into_iter().chain(reads).collect(),
    }
}
