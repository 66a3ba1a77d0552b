//! What the tests share: databases on a pool and on the stock VFS, and what is asked of each of them.
#![allow(dead_code)] // Each test program uses a part of it.

pub mod simulated;

use std::{
    ffi::{CStr, CString},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use ringpool::{BufferPool, Builder};
use ringpool_sqlite::{
    PoolVfs, VfsOptions,
    names::{Names, SystemNames},
};
use rusqlite::{Connection, OpenFlags, ffi, types::Value};

/// The journal modes that a database on a pool has.
pub const MODES: [&str; 4] = ["DELETE", "TRUNCATE", "PERSIST", "WAL"];

/// A pool that SQLite knows by a name of its own.
pub struct Place {
    pub vfs: PoolVfs,
    name: CString,
}

impl Place {
    pub fn new(builder: Builder) -> Self {
        Self::with_names(builder, Box::new(SystemNames))
    }

    pub fn with_names(builder: Builder, names: Box<dyn Names>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let pool = builder.page_size(4096).build().unwrap();
        let vfs =
            PoolVfs::register_with(&name, &pool, VfsOptions { names, ..VfsOptions::default() }).unwrap();
        Self { vfs, name: CString::new(name).unwrap() }
    }

    /// Makes a pool of so many frames.
    pub fn of_frames(frames: u32) -> Self {
        Self::new(BufferPool::builder().frames(frames))
    }

    pub fn try_open(&self, path: &Path) -> rusqlite::Result<Connection> {
        let db = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), self.name.as_c_str())?;
        db.busy_timeout(Duration::from_secs(10))?;
        Ok(db)
    }

    pub fn open(&self, path: &Path) -> Connection {
        self.try_open(path).unwrap()
    }

    #[allow(unsafe_code)] // To ask for that number.
    /// Opens a database by SQLite's C interface. Returns the system's number of the error, where that fails.
    pub fn errno_of_open(&self, path: &CStr, flags: i32) -> Option<i32> {
        let mut db = std::ptr::null_mut();
        // SAFETY: both are strings, and SQLite puts a connection in its place.
        let done = unsafe { ffi::sqlite3_open_v2(path.as_ptr(), &raw mut db, flags, self.name.as_ptr()) };
        // SAFETY: a connection that could not be opened tells why, until it is closed.
        let errno = unsafe { ffi::sqlite3_system_errno(db) };
        // SAFETY: it is closed once.
        unsafe { ffi::sqlite3_close(db) };
        (done != ffi::SQLITE_OK).then_some(errno)
    }

    pub fn pool(&self) -> &BufferPool {
        self.vfs.pool()
    }
}

/// Sets the journal mode of all databases of a connection, which must be the one that the first then has.
pub fn set_mode(db: &Connection, mode: &str) {
    set(db, "PRAGMA journal_mode", mode);
}

/// Sets the journal mode of one of them, which must be the one that it then has.
pub fn set_mode_of(db: &Connection, schema: &str, mode: &str) {
    set(db, &format!("PRAGMA {schema}.journal_mode"), mode);
}

fn set(db: &Connection, pragma: &str, mode: &str) {
    let set: String = db.query_row(&format!("{pragma} = {mode}"), (), |row| row.get(0)).unwrap();
    assert!(set.eq_ignore_ascii_case(mode), "{set} instead of {mode}");
}

/// Asserts that SQLite finds nothing wrong with the database.
#[track_caller]
pub fn check(db: &Connection) {
    let mut statement = db.prepare("PRAGMA integrity_check").unwrap();
    let found: Vec<String> =
        statement.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(found, ["ok"]);
}

/// Runs a statement. Returns its rows, or the code of its error.
pub fn outcome(db: &Connection, sql: &str) -> Result<Vec<Vec<Value>>, String> {
    let run = || {
        let mut statement = db.prepare(sql)?;
        let columns = statement.column_count();
        let rows = statement.query_map((), |row| (0..columns).map(|at| row.get(at)).collect())?;
        rows.collect::<rusqlite::Result<_>>()
    };
    run().map_err(|error| error.to_string())
}

/// Returns one number.
pub fn number(db: &Connection, sql: &str) -> i64 {
    db.query_row(sql, (), |row| row.get(0)).unwrap()
}
