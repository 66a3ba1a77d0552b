//! Several connections, in threads and in processes.

mod support;

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use ringpool::{BufferPool, testing::Dice};
use rusqlite::{Connection, ErrorCode, TransactionBehavior, ffi};
use support::{MODES, Place, check, number, set_mode};

const CHILD: &str = "RINGPOOL_SQLITE_OTHER";
const ACCOUNTS: i64 = 500;

/// Moves money between accounts, in transactions, while other connections add all of it up.
fn transfer(mode: &str, frames: u32) {
    let folder = tempfile::tempdir().unwrap();
    let (place, path) = (Place::of_frames(frames), folder.path().join("db"));
    let db = place.open(&path);
    set_mode(&db, mode);
    db.execute_batch(&format!(
        "CREATE TABLE account (id INTEGER PRIMARY KEY, money, padding); \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {ACCOUNTS}) \
         INSERT INTO account SELECT i, 100, zeroblob(700) FROM n"
    ))
    .unwrap();
    let ends = AtomicBool::new(false);
    let seen: Vec<u32> = thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let (db, mut sums) = (place.open(&path), 0);
                    while !ends.load(Ordering::Relaxed) {
                        assert_eq!(number(&db, "SELECT sum(money) FROM account"), 100 * ACCOUNTS);
                        sums += 1;
                        thread::sleep(Duration::from_millis(1));
                    }
                    sums
                })
            })
            .collect();
        let writers: Vec<_> = (0..2)
            .map(|seed| {
                let (place, path) = (&place, &path);
                scope.spawn(move || {
                    let (mut db, mut dice) = (place.open(path), Dice::new(seed));
                    db.execute_batch(
                        "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 30; PRAGMA cache_size = 20",
                    )
                    .unwrap();
                    for _ in 0..60 {
                        let change = db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
                        for _ in 0..4 {
                            let mut move_money = |by: i64| {
                                let id = dice.below(ACCOUNTS as u64) as i64 + 1;
                                let sql = "UPDATE account SET money = money + ?1 WHERE id = ?2";
                                assert_eq!(change.execute(sql, [by, id]).unwrap(), 1);
                            };
                            move_money(7);
                            move_money(-7);
                        }
                        change.commit().unwrap();
                        // As short a pause as gives the others their turn: the lock has no line.
                        thread::sleep(Duration::from_micros(500));
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        ends.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    assert!(seen.iter().all(|&sums| sums > 0), "a reader saw nothing: {seen:?}");
    check(&db);
    drop(db);
    check(&Connection::open(&path).unwrap());
}

#[test]
fn connections_in_threads_see_whole_transactions() {
    for mode in MODES {
        for frames in [64, 2048] {
            transfer(mode, frames);
        }
    }
}

/// Otherwise the pages that a connection has kept would be in the way of writers, for as long as it is open.
#[test]
fn when_a_transaction_ends_its_pages_can_be_changed() {
    for mode in MODES {
        let folder = tempfile::tempdir().unwrap();
        let (place, path) = (Place::of_frames(2048), folder.path().join("db"));
        let (writer, reader) = (place.open(&path), place.open(&path));
        set_mode(&writer, mode);
        writer
            .execute_batch(
                "CREATE TABLE t (a INTEGER PRIMARY KEY, b); \
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500) \
                 INSERT INTO t SELECT i, zeroblob(800) FROM n; \
                 PRAGMA wal_checkpoint(TRUNCATE)",
            )
            .unwrap();
        reader.execute_batch("BEGIN").unwrap();
        for id in [1, 250, 500, 2] {
            assert_eq!(number(&reader, &format!("SELECT a FROM t WHERE a = {id}")), id);
        }
        assert!(place.pool().stats().frames.pins > 0, "{mode}: pages are kept while it lasts");
        reader.execute_batch("COMMIT").unwrap();
        assert_eq!(place.pool().stats().frames.pins, 0, "{mode}");
        writer.execute_batch("UPDATE t SET b = 1; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        assert_eq!(number(&reader, "SELECT sum(b) FROM t"), 500, "{mode}");
    }
}

/// Otherwise the copy that is not needed takes a frame, and a needed page is read from the disk.
#[test]
fn a_pool_smaller_than_database_and_log_holds_each_page_once() {
    let folder = tempfile::tempdir().unwrap();
    let (place, path) = (Place::of_frames(700), folder.path().join("db"));
    let db = place.open(&path);
    set_mode(&db, "WAL");
    db.execute_batch(
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b, c); \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500) \
         INSERT INTO t SELECT i, 0, zeroblob(3000) FROM n; \
         PRAGMA wal_checkpoint(TRUNCATE); PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 10",
    )
    .unwrap();
    let read = || number(&db, "SELECT sum(b) FROM t WHERE length(c) = 3000");
    assert_eq!(read(), 0);
    let misses = || place.pool().stats().counts.misses;
    let before = misses();
    for step in 0..500 {
        // Far from the last one, so that no run of blocks is read ahead.
        let id = step * 91 % 500 + 1;
        assert_eq!(db.execute("UPDATE t SET b = b + 1 WHERE a = ?1", [id]).unwrap(), 1);
    }
    assert_eq!(read(), 500);
    let missed = misses() - before;
    assert!(missed < 50, "{missed} misses");
    let log: i64 = db.query_row("PRAGMA wal_checkpoint(RESTART)", (), |row| row.get(1)).unwrap();
    assert!(log >= 500, "{log} frames");
    assert_eq!(read(), 500);
}

#[test]
#[allow(unsafe_code)] // To ask how much memory SQLite's own cache has.
fn a_scan_borrows_its_pages_and_keeps_no_copies() {
    let folder = tempfile::tempdir().unwrap();
    let (place, path) = (Place::of_frames(4096), folder.path().join("db"));
    place
        .open(&path)
        .execute_batch(
            "CREATE TABLE t (a, b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000) \
             INSERT INTO t SELECT i, zeroblob(800) FROM n",
        )
        .unwrap();
    let cached = |db: &Connection| {
        assert_eq!(number(db, "SELECT sum(a) FROM t WHERE length(b) = 800"), 5000 * 5001 / 2);
        let (mut used, mut most) = (0, 0);
        // SAFETY: the connection is open, and both are places of a number.
        let handle = unsafe { db.handle() };
        let op = ffi::SQLITE_DBSTATUS_CACHE_USED;
        // SAFETY: as above.
        let code = unsafe { ffi::sqlite3_db_status(handle, op, &raw mut used, &raw mut most, 0) };
        assert_eq!(code, ffi::SQLITE_OK);
        used
    };
    let db = place.open(&path);
    let used = cached(&db);
    assert!(used < 100_000, "SQLite's own cache has {used} bytes of a scan of 4 MB");
    assert_eq!(place.pool().stats().frames.pinned, 0, "what was lent was given back");
    db.execute_batch("PRAGMA mmap_size = 0").unwrap();
    assert!(cached(&db) > 1_000_000, "a test of nothing");
}

/// Pages are lent in frames whose neighbours come and go.
#[test]
fn a_pool_is_resized_while_its_pages_are_lent() {
    const FRAMES: [u32; 2] = [8192, 100];
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(BufferPool::builder().frames(FRAMES[0]).frames_at_most(2 * FRAMES[0]));
    let path = folder.path().join("db");
    let db = place.open(&path);
    db.execute_batch(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text); \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) \
         INSERT INTO t SELECT i, printf('%0200d', i) FROM n",
    )
    .unwrap();
    let mut scan = db.prepare("SELECT id FROM t").unwrap();
    let mut rows = scan.query(()).unwrap();
    assert!(rows.next().unwrap().is_some() && place.pool().stats().frames.pins > 0, "a page is on loan");
    drop(rows);
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for frames in [FRAMES; 4].as_flattened() {
                place.pool().resize(*frames).wait().unwrap();
            }
            ends.store(true, Ordering::Relaxed);
        });
        while !ends.load(Ordering::Relaxed) {
            assert_eq!(number(&db, "SELECT count(*) FROM t WHERE text = printf('%0200d', id)"), 20_000);
        }
    });
    check(&db);
}

#[test]
fn the_pool_can_be_asked_by_a_pragma() {
    let folder = tempfile::tempdir().unwrap();
    let db = Place::of_frames(64).open(&folder.path().join("db"));
    let told: String = db.query_row("PRAGMA ringpool", (), |row| row.get(0)).unwrap();
    assert!(told.contains("in flight: 0"), "{told}");
}

/// Starts a process that opens the database, on a pool or by SQLite's own VFS, and keeps it open.
fn in_another_process(path: &Path, how: &str) -> Child {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_other_process", "--nocapture"])
        .env(CHILD, format!("{how} {}", path.display()))
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "open"), "it could not open the database");
    child
}

/// No test of its own: the others run it in a process.
#[test]
fn the_other_process() {
    let Ok(told) = env::var(CHILD) else { return };
    let (how, path) = told.split_once(' ').unwrap();
    let place = Place::of_frames(64);
    let db = if how == "pool" { place.open(Path::new(path)) } else { Connection::open(path).unwrap() };
    assert_eq!(number(&db, "SELECT count(*) FROM t"), 1);
    println!("\nopen");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn a_second_process_is_refused_and_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let make = Connection::open(&path).unwrap();
    set_mode(&make, "WAL");
    make.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
    drop(make);
    let place = Place::of_frames(64);
    for how in ["pool", "stock"] {
        let mut other = in_another_process(&path, how);
        let error = place.try_open(&path).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen), "{error}");
        let reason = ringpool_sqlite::ffi::vfs_calls::last_failure();
        assert!(reason.contains("is open elsewhere"), "{reason}");
        if how == "pool" {
            let stock = Connection::open(&path).unwrap();
            stock.busy_timeout(Duration::ZERO).unwrap();
            let error = stock.query_row("SELECT * FROM t", (), |_| Ok(())).unwrap_err();
            assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy), "{error}");
        }
        other.kill().unwrap();
        other.wait().unwrap();
        // The locks have ended with the process.
        assert_eq!(number(&place.open(&path), "SELECT count(*) FROM t"), 1);
    }
}

/// Two pages of the database are in one of the pool: a reader of one must not keep the other from being changed.
#[test]
fn pages_of_a_database_that_share_a_page_of_the_pool_are_read_and_changed_side_by_side() {
    let here = tempfile::tempdir().unwrap();
    let place = Place::of_frames(64);
    for mode in MODES {
        let db = place.open(&here.path().join(mode));
        db.execute_batch("PRAGMA page_size = 1024").unwrap();
        set_mode(&db, mode);
        db.execute_batch(
            "CREATE TABLE a (n); CREATE TABLE b (n); INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1)",
        )
        .unwrap();
        let mut rows = db.prepare("SELECT n FROM a").unwrap();
        let mut rows = rows.query(()).unwrap();
        assert!(rows.next().unwrap().is_some());
        db.execute("UPDATE b SET n = 2", ()).unwrap();
        assert!(rows.next().unwrap().is_some());
    }
}

/// A backup that takes the database's name is not written to, and no commit goes where no connection finds it.
#[test]
fn a_database_that_was_replaced_is_changed_no_more_and_the_file_in_its_place_is_left_alone() {
    let here = tempfile::tempdir().unwrap();
    let (path, backup) = (here.path().join("data"), here.path().join("backup"));
    Connection::open(&backup).unwrap().execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (7)").unwrap();
    let place = Place::of_frames(64);
    let db = place.open(&path);
    set_mode(&db, "DELETE");
    db.execute_batch("CREATE TABLE t (a); INSERT INTO t SELECT zeroblob(3000) FROM (VALUES (1), (2), (3))")
        .unwrap();
    std::fs::rename(&backup, &path).unwrap();
    let error = db.execute("INSERT INTO t VALUES (1)", ()).unwrap_err();
    let code = error.sqlite_error().unwrap().extended_code;
    assert_eq!(code, libsqlite3_sys::SQLITE_READONLY_DBMOVED, "{error}");
    assert!(place.try_open(&path).and_then(|db| db.execute("INSERT INTO t VALUES (1)", ())).is_err());
    drop(db);
    let db = place.open(&path);
    assert_eq!(number(&db, "SELECT sum(a) FROM t"), 7);
    check(&db);
}
