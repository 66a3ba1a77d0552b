//! The arms: a pool, the stock VFS with its page cache, the stock VFS with the file mapped.

use std::{
    ffi::CString,
    fmt,
    path::{Path, PathBuf},
};

use ringpool::{BufferPool, options::Fallback};
use ringpool_sqlite::{PoolVfs, VfsOptions};
use rusqlite::{Connection, OpenFlags};

/// Memory beside the pool, or beside the mapping, for SQLite's own cache: its default.
const OWN_CACHE: usize = 2 << 20;

/// How much of the database fits.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Memory {
    All,
    Eighth,
}

impl Memory {
    /// Returns the memory for a database of so many bytes.
    pub fn of(self, bytes: usize) -> usize {
        match self {
            Self::All => bytes + bytes / 4 + (8 << 20),
            Self::Eighth => bytes / 8,
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "memory for all",
            Self::Eighth => "memory for an eighth",
        })
    }
}

/// One way to run SQLite.
pub struct Arm {
    pub label: &'static str,
    vfs: CString,
    cache_bytes: usize,
    mapped_bytes: usize,
    /// Where its files are.
    pub folder: PathBuf,
}

impl Arm {
    /// Returns the same arm with another page cache for each connection.
    pub fn with_cache(&self, bytes: usize) -> Self {
        Self { vfs: self.vfs.clone(), folder: self.folder.clone(), cache_bytes: bytes, ..*self }
    }

    pub fn open(&self, path: &Path) -> Connection {
        let db =
            Connection::open_with_flags_and_vfs(path, OpenFlags::default(), self.vfs.as_c_str()).unwrap();
        db.execute_batch(&format!("PRAGMA cache_size = -{}", self.cache_bytes >> 10)).unwrap();
        if self.label != "pool" {
            db.execute_batch(&format!("PRAGMA mmap_size = {}", self.mapped_bytes)).unwrap();
        }
        db
    }
}

/// Makes the arms, the pool first, each with so much memory; `direct`: whether the pool's files bypass the system's page cache.
pub fn arms(bytes: usize, folder: &Path, direct: Fallback) -> (PoolVfs, [Arm; 3]) {
    let own = OWN_CACHE.min(bytes / 8);
    let pool = BufferPool::builder().page_size(4096).memory_bytes(bytes - own).build().unwrap();
    let vfs = PoolVfs::register_with("bench", &pool, VfsOptions { direct, ..VfsOptions::default() }).unwrap();
    let arm = |label, vfs, cache_bytes, mapped_bytes| {
        let folder = folder.join(label);
        let _ = std::fs::create_dir(&folder);
        Arm { label, vfs: CString::new(vfs).unwrap(), cache_bytes, mapped_bytes, folder }
    };
    let arms = [
        arm("pool", "bench", own, 0),
        arm("cache", "unix", bytes, 0),
        arm("mapped", "unix", own, bytes - own),
    ];
    (vfs, arms)
}

pub fn method(vfs: &PoolVfs) -> String {
    vfs.pool().stats().method.to_string()
}
