//! A process is killed amid commits to two databases, at any moment, in each journal mode. Afterwards SQLite's own VFS and the pool both find
//! whole databases, with every commit that was acknowledged; and in the rollback modes each commit is in both or in neither.

mod support;

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use ringpool::testing::Dice;
use rusqlite::Connection;
use support::{MODES, Place, check, number, set_mode};

const CHILD: &str = "RINGPOOL_SQLITE_CHILD";
/// Rows that each transaction adds.
const ROWS: i64 = 5;

/// What the process does that is killed: it commits for ever, and tells the number of each commit once SQLite has acknowledged it.
fn commit_for_ever(path: &Path, mode: &str) -> ! {
    let place = Place::of_frames(64);
    let db = place.open(path);
    db.execute("ATTACH ?1 AS two", [two(path).to_str().unwrap()]).unwrap();
    db.execute_batch(
        "PRAGMA main.synchronous = FULL; PRAGMA two.synchronous = FULL; PRAGMA cache_size = 10; PRAGMA two.cache_size = 3;
         PRAGMA wal_autocheckpoint = 15",
    )
    .unwrap();
    set_mode(&db, mode);
    let mut dice = Dice::new(std::process::id().into());
    let first = number(&db, "SELECT ifnull(max(n), 0) FROM t") + 1;
    for n in first.. {
        let longest = if dice.one_in(8) { 60_000 } else { 2_000 };
        db.execute_batch("BEGIN").unwrap();
        for row in 0..ROWS {
            let bytes = dice.below(longest);
            db.execute("INSERT INTO t VALUES (?1, ?2, zeroblob(?3))", (n, row, bytes as i64)).unwrap();
        }
        db.execute("UPDATE total SET rows = rows + ?1", [ROWS]).unwrap();
        db.execute("DELETE FROM t WHERE n = ?1", [n - 40]).unwrap();
        db.execute("UPDATE two.w SET n = ?1, bytes = zeroblob(?2)", (n, dice.below(longest) as i64)).unwrap();
        db.execute_batch("COMMIT").unwrap();
        let mut told = std::io::stdout().lock();
        writeln!(told, "\ncommit {n}").unwrap();
        told.flush().unwrap();
    }
    unreachable!()
}

/// Copies a database, with its journal and log, to look at it and leave the original as it is.
fn copy(from: &Path, to: &Path) {
    for suffix in ["", "-journal", "-wal", "-two", "-two-journal", "-two-wal"] {
        let [from, to] = [from, to].map(|path| format!("{}{suffix}", path.display()));
        if let Err(error) = fs::copy(&from, &to) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
            let _ = fs::remove_file(&to);
        }
    }
}

/// Returns the path of the other database.
fn two(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-two", path.display()))
}

fn verify(open: impl Fn(&Path) -> Connection, path: &Path, mode: &str, acknowledged: i64, whose: &str) {
    let db = &open(path);
    check(db);
    let last = number(db, "SELECT ifnull(max(n), 0) FROM t");
    assert!(last >= acknowledged, "{whose}: commit {acknowledged} was acknowledged, {last} is the last one");
    assert!(last <= acknowledged + 1, "{whose}: a commit that was not begun");
    assert_eq!(number(db, "SELECT rows FROM total"), last * ROWS, "{whose}: half a transaction");
    assert_eq!(number(db, "SELECT count(*) FROM t"), last.min(40) * ROWS, "{whose}: half a transaction");
    let db = &open(&two(path));
    check(db);
    let in_two = number(db, "SELECT n FROM w");
    assert!((acknowledged..=acknowledged + 1).contains(&in_two), "{whose}: {in_two}, not {acknowledged}");
    // A kill between the two logs leaves the commit in one of them: so SQLite has it.
    assert!(mode == "WAL" || in_two == last, "{whose}: commit {last} is in one database, not in both");
}

fn killed_in(mode: &str, kills: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (path, copied) = (folder.path().join("db"), folder.path().join("copy"));
    {
        let db = Connection::open(two(&path)).unwrap();
        db.execute_batch("CREATE TABLE w (n, bytes); INSERT INTO w VALUES (0, NULL)").unwrap();
        let db = Connection::open(&path).unwrap();
        db.execute_batch(
            "CREATE TABLE t (n, row, bytes); CREATE INDEX by_n ON t (n); CREATE TABLE total (rows); INSERT INTO total VALUES (0)",
        )
        .unwrap();
    }
    let (mut dice, mut acknowledged) = (Dice::new(7), 0);
    for _ in 0..kills {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "the_process_that_is_killed", "--nocapture"])
            .env(CHILD, format!("{mode} {}", path.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let commits = told.lines().map_while(Result::ok);
            commits.filter_map(|line| line.strip_prefix("commit ")?.parse::<i64>().ok()).last()
        });
        std::thread::sleep(Duration::from_millis(150 + dice.below(350)));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = reader.join().unwrap().unwrap_or(acknowledged);

        copy(&path, &copied);
        verify(|path| Connection::open(path).unwrap(), &copied, mode, acknowledged, "SQLite's own VFS");
        let place = Place::of_frames(64);
        verify(|path| place.open(path), &path, mode, acknowledged, "the pool");
        let db = place.open(&path);
        // What both have: the other database may be one commit behind.
        acknowledged = number(&db, "SELECT ifnull(max(n), 0) FROM t");
        acknowledged = acknowledged.min(number(&place.open(&two(&path)), "SELECT n FROM w"));
    }
    assert!(acknowledged > 5, "a test of nothing");
}

/// No test of its own: the others run it in a process.
#[test]
fn the_process_that_is_killed() {
    if let Ok(told) = env::var(CHILD) {
        let (mode, path) = told.split_once(' ').unwrap();
        commit_for_ever(Path::new(path), mode);
    }
}

#[test]
fn delete() {
    killed_in(MODES[0], 12);
}

#[test]
fn truncate() {
    killed_in(MODES[1], 12);
}

#[test]
fn persist() {
    killed_in(MODES[2], 12);
}

#[test]
fn wal() {
    killed_in(MODES[3], 12);
}
