//! SQLite on ringpool: a VFS whose databases, rollback journals and write-ahead logs are pages of one buffer pool.
//!
//! [`PoolVfs::register`] gives a pool to SQLite under a name; a connection that is opened with that name uses it. All connections
//! of the process share the pool's frames. SQLite reads a page in its frame, without a copy.
//!
//! ```
//! use ringpool::BufferPool;
//! use ringpool_sqlite::PoolVfs;
//! use rusqlite::{Connection, OpenFlags};
//!
//! # let folder = tempfile::tempdir()?;
//! let pool = BufferPool::builder().page_size(4096).memory_bytes(16 << 20).build()?;
//! let vfs = PoolVfs::register("documented", &pool)?;
//! let path = folder.path().join("db");
//! let db = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), c"documented")?;
//! db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)")?;
//! assert_eq!(db.query_row("SELECT sum(a) FROM t", (), |row| row.get::<_, i64>(0))?, 3);
//! drop(db);
//! drop(vfs); // Before another VFS may have the name.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Entry points: [`PoolVfs`]; [`vfs`] for what is open; [`handle`] for each call of SQLite. `unsafe` is in [`ffi`] alone.
//! Invariants: one process at a time has a database ([`process_lock`]); a page that is lent does not change ([`lend`]).

pub mod bytes_file;
pub mod copies;
pub mod error;
pub mod ffi;
pub mod handle;
pub mod lend;
pub mod locks;
pub mod names;
pub mod process_lock;
pub mod read_ahead;
pub mod shm;
pub mod vfs;

pub use self::{ffi::registration::PoolVfs, vfs::VfsOptions};
