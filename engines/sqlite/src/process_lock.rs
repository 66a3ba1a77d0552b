//! One process at a time has a database on a pool.
//!
//! The pool's pages are in the memory of one process, so no other process may change the file, or read it while it is changed. Two
//! locks keep others out, and both end with the process, however it ends. The pool locks each of its files against other pools
//! (`flock`). [`ProcessLock`] locks the bytes of the database that SQLite's own VFS locks before it reads, so that the `sqlite3`
//! shell and every other program with SQLite in it is told that the database is locked.
//!
//! It is a lock of the open file description, so it also holds against connections of this process by the stock VFS.

use std::{fs::File, io};

use crate::ffi::byte_lock;

/// The bytes that SQLite's own VFS locks: the pending byte at 1 GiB, the reserved byte, and 510 bytes for readers.
const PENDING_BYTE: i64 = 0x4000_0000;
const BYTES: i64 = 512;

/// The right of this process to a database. It ends when this is dropped.
#[derive(Debug)]
pub struct ProcessLock {
    /// With it the lock ends. `None` on a disk that no other process sees.
    _file: Option<File>,
    writable: bool,
}

impl ProcessLock {
    /// Takes the lock, to write or only to read. Returns `None` if another process has the database open.
    ///
    /// # Errors
    /// Those of the system.
    pub fn take(file: File, writable: bool) -> io::Result<Option<Self>> {
        let taken = byte_lock::try_lock(&file, PENDING_BYTE, BYTES, writable)?;
        Ok(taken.then_some(Self { _file: Some(file), writable }))
    }

    /// Makes the lock of a file that no other process sees: one on a simulated disk.
    #[must_use]
    pub fn of_no_file() -> Self {
        Self { _file: None, writable: true }
    }

    /// Returns whether the file may be written.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writable
    }
}
