//! Transactions over two databases: their super-journal is removed, and the process ends before the journals are; and what a journal with its
//! name leaves behind.

mod support;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use ringpool::BufferPool;
use ringpool_sqlite::{
    names::{Names, SystemNames},
    process_lock::ProcessLock,
};
use rusqlite::Connection;
use support::{Place, check, number, set_mode};

/// The system's names; copies the folder at each moment at which a super-journal has just been removed.
struct Copying {
    to: PathBuf,
    copies: Arc<AtomicU32>,
}

impl Names for Copying {
    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        SystemNames.len(path)
    }

    fn set_len(&self, path: &Path, bytes: u64) -> io::Result<()> {
        SystemNames.set_len(path, bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemNames.remove(path)?;
        if path.to_string_lossy().contains("-mj") {
            self.copies.fetch_add(1, Ordering::Relaxed);
            for entry in fs::read_dir(path.parent().unwrap())? {
                let entry = entry?;
                fs::copy(entry.path(), self.to.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        SystemNames.sync_folder(path)
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        SystemNames.mode(path)
    }

    fn lock(&self, path: &Path, create: Option<u32>) -> io::Result<Option<ProcessLock>> {
        SystemNames.lock(path, create)
    }
}

#[test]
fn once_the_super_journal_is_gone_both_databases_have_the_transaction() {
    let (here, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let paths = ["one", "two"].map(|name| here.path().join(name));
    let copies = Arc::new(AtomicU32::new(0));
    let names = Copying { to: copy.path().to_owned(), copies: Arc::clone(&copies) };
    let place = Place::with_names(BufferPool::builder().frames(64), Box::new(names));
    let db = place.open(&paths[0]);
    db.execute("ATTACH ?1 AS two", [paths[1].to_str().unwrap()]).unwrap();
    for schema in ["main", "two"] {
        set_mode(&db, "DELETE");
        db.execute_batch(&format!("PRAGMA {schema}.synchronous = FULL; CREATE TABLE {schema}.t (n)"))
            .unwrap();
    }
    for n in 1..=3_i64 {
        db.execute_batch(&format!(
            "BEGIN; INSERT INTO main.t VALUES ({n}); INSERT INTO two.t VALUES ({n}); COMMIT"
        ))
        .unwrap();
        // The process might have been killed at the moment of the copy.
        for name in ["one", "two"] {
            let journal = fs::metadata(copy.path().join(format!("{name}-journal"))).unwrap();
            assert!(journal.len() > 0, "a test of nothing");
            let found = Connection::open(copy.path().join(name)).unwrap();
            check(&found);
            assert_eq!(
                number(&found, "SELECT max(n) FROM t"),
                n,
                "{name} was rolled back, and the other not"
            );
        }
    }
    assert!(copies.load(Ordering::Relaxed) >= 3, "a test of nothing");
}

/// The name of a super-journal that is gone, at the end of a journal, says that the transaction is over.
#[test]
fn after_a_transaction_with_a_super_journal_the_next_one_is_rolled_back() {
    for mode in support::MODES {
        let here = tempfile::tempdir().unwrap();
        let place = Place::of_frames(256);
        let path = here.path().join("one");
        let db = place.open(&path);
        db.execute("ATTACH ?1 AS two", [here.path().join("two").to_str().unwrap()]).unwrap();
        set_mode(&db, mode);
        db.execute_batch(
            "PRAGMA synchronous = FULL; CREATE TABLE main.t (a); CREATE TABLE two.t (a);
             WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM n WHERE x < 500)
             INSERT INTO main.t SELECT zeroblob(300) FROM n;
             BEGIN IMMEDIATE; UPDATE main.t SET a = zeroblob(299); COMMIT;
             PRAGMA cache_size = 1",
        )
        .unwrap();
        let sum = "SELECT sum(length(a)) FROM t";
        // More than the cache has room for: pages are written before the end of the transaction.
        db.execute_batch("BEGIN; UPDATE main.t SET a = zeroblob(200) WHERE rowid < 100; ROLLBACK").unwrap();
        assert_eq!(number(&db, sum), 500 * 299, "{mode}");
        db.execute_batch("BEGIN; UPDATE main.t SET a = zeroblob(200) WHERE rowid < 100").unwrap();
        // As a kill of the process would leave it, but for WAL's index.
        if mode != "WAL" {
            let copy = tempfile::tempdir().unwrap();
            for name in ["one", "one-journal"] {
                fs::copy(here.path().join(name), copy.path().join(name)).unwrap();
            }
            let found = Connection::open(copy.path().join("one")).unwrap();
            assert_eq!(number(&found, sum), 500 * 299, "{mode}, killed");
            check(&found);
        }
        db.execute_batch("ROLLBACK").unwrap();
        check(&db);
    }
}
