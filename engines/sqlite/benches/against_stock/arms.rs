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

/// Which arm.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Label {
    Pool,
    Cache,
    Mapped,
}

impl Label {
    /// The arms, the pool first.
    pub const ALL: [Self; 3] = [Self::Pool, Self::Cache, Self::Mapped];

    /// Returns the arm of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn of(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|label| label.to_string() == name).ok_or(format!("{name}: no arm"))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pool => "pool",
            Self::Cache => "cache",
            Self::Mapped => "mapped",
        })
    }
}

/// One way to run SQLite.
pub struct Arm {
    pub label: Label,
    vfs: CString,
    cache_bytes: usize,
    mapped_bytes: usize,
    /// Where its files are.
    pub folder: PathBuf,
}

impl Arm {
    /// Makes an arm with so much memory; `direct`: whether the pool's files bypass the system's page cache. Returns the pool too, if
    /// it is on one.
    pub fn new(label: Label, bytes: usize, folder: &Path, direct: Fallback) -> (Option<PoolVfs>, Self) {
        let own = OWN_CACHE.min(bytes / 8);
        let (vfs, cache_bytes, mapped_bytes) = match label {
            Label::Pool => ("bench", own, 0),
            Label::Cache => ("unix", bytes, 0),
            Label::Mapped => ("unix", own, bytes - own),
        };
        let pool = (label == Label::Pool).then(|| {
            let pool = BufferPool::builder().page_size(4096).memory_bytes(bytes - own).build().unwrap();
            PoolVfs::register_with(vfs, &pool, VfsOptions { direct, ..VfsOptions::default() }).unwrap()
        });
        let folder = folder.join(label.to_string());
        let _ = std::fs::create_dir(&folder);
        (pool, Self { label, vfs: CString::new(vfs).unwrap(), cache_bytes, mapped_bytes, folder })
    }

    /// Returns the same arm with another page cache for each connection.
    pub fn with_cache(&self, bytes: usize) -> Self {
        Self { vfs: self.vfs.clone(), folder: self.folder.clone(), cache_bytes: bytes, ..*self }
    }

    pub fn open(&self, path: &Path) -> Connection {
        let db =
            Connection::open_with_flags_and_vfs(path, OpenFlags::default(), self.vfs.as_c_str()).unwrap();
        db.execute_batch(&format!("PRAGMA cache_size = -{}", self.cache_bytes >> 10)).unwrap();
        if self.label != Label::Pool {
            db.execute_batch(&format!("PRAGMA mmap_size = {}", self.mapped_bytes)).unwrap();
        }
        db
    }
}
