//! Keeps a B+tree in an object store, with a pool of frames as its cache: [`Engine`].
//!
//! The tree is the one of the library's `btree` example, with a log that keeps nothing: a checkpoint appears in the store whole or not
//! at all, so recovery has nothing to redo. What was inserted after the last checkpoint ends with the process.
//!
//! [`Engine::contents`] reads the whole tree and proves what it can of it: keys 0 to *n* are there, each once, *n* is what the checkpoints up
//! to this version inserted, and no writer's keys lie among those of another.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use object_store::ObjectStore;
use ringpool::{BufferPool, CheckpointOptions, FileId, OpenOptions, Shutdown};
use ringpool_object_store::{ObjectFiles, Requests, Settings};

use crate::tree::log::LogFile;
use crate::tree::{Log, Result, Tree};

/// Keys that a batch inserts. After each batch there is a checkpoint.
pub(crate) const BATCH: u64 = 2_000;

/// Frames of the pool, fewer than the tree has pages: pages are evicted, and fetched again from the store.
pub(crate) const FRAMES: u32 = 64;

const PAGE_BYTES: u32 = 4096;

/// A process's tree, with the pool and the store below it.
pub(crate) struct Engine {
    tree: Tree,
    file: FileId,
    pool: BufferPool,
    files: ObjectFiles,
    /// How many keys the tree has: the next key's number.
    keys: u64,
}

impl Engine {
    /// Opens the tree that the store keeps. Opened for writing, it fences each process that has it open for writing.
    pub(crate) fn open(store: Arc<dyn ObjectStore>, options: OpenOptions) -> Result<Self> {
        let files = ObjectFiles::with_own_runtime(store, "takeover", Settings::default(), 2)?;
        let pool =
            BufferPool::builder().frames(FRAMES).page_size(PAGE_BYTES).storage(files.clone()).build()?;
        let file = pool.open_file("tree", options)?;
        let (log, nothing) = Log::open(NoLog)?;
        let tree = Tree::open(&pool, file, &log, &nothing)?;
        Ok(Self { tree, file, pool, files, keys: 0 })
    }

    /// Reads the whole tree, and checks it. The next batch begins behind its last key.
    pub(crate) fn contents(&mut self) -> Result<Contents> {
        // The writer of each key, by the key's number.
        let mut writers = Vec::new();
        let (mut count, mut wrong, mut last) = (0, 0, Vec::new());
        self.tree.scan(&[], |found, writer| {
            let number = number_of(found);
            wrong += u64::from(found <= last.as_slice() || found != key(number) || writer == 0);
            last = found.to_vec();
            if wrong == 0 {
                writers.resize(writers.len().max(number as usize + 1), 0);
                writers[number as usize] = writer;
            }
            count += 1;
            ControlFlow::Continue(())
        })?;
        if wrong > 0 || writers.len() != count {
            return Err(
                format!("{count} keys, of which {wrong} are wrong, up to number {}", writers.len()).into()
            );
        }
        if !writers.is_sorted() {
            return Err("keys of one writer lie among those of another".into());
        }
        for number in in_order(0..count as u64).into_iter().step_by(7) {
            if self.tree.get(&key(number))? != Some(writers[number as usize]) {
                return Err(format!("a search does not find key {number}, which a scan found").into());
            }
        }
        self.keys = count as u64;
        let checkpoint = self.version()?;
        if self.keys != checkpoint * BATCH {
            return Err(format!("{count} keys are not those of checkpoint {checkpoint}").into());
        }
        let of_writer = |chunk: &[u64]| (chunk[0], chunk.len() as u64);
        let by_writer = writers.chunk_by(|one, next| one == next).map(of_writer).collect();
        let pages = self.pool.blocks(self.file)?;
        Ok(Contents { checkpoint, keys: self.keys, pages, by_writer })
    }

    /// Inserts the next batch of keys, with the writer's number as their value.
    pub(crate) fn insert_batch(&mut self, writer: u64) -> Result<()> {
        for number in in_order(self.keys..self.keys + BATCH) {
            if self.tree.insert(&key(number), writer)?.is_some() {
                return Err(format!("key {number} was there before it was inserted").into());
            }
        }
        self.keys += BATCH;
        Ok(())
    }

    /// Makes a checkpoint, and returns what it was. The file's version is its number.
    pub(crate) fn checkpoint(&self) -> Result<Checkpoint> {
        let before = self.requests();
        self.pool.checkpoint(CheckpointOptions::new()).wait()?;
        let after = self.requests();
        Ok(Checkpoint {
            number: self.version()?,
            keys: self.keys,
            requests: total(after) - total(before),
            bytes: after.written_bytes - before.written_bytes,
        })
    }

    /// Ends the pool. All was in the last checkpoint.
    pub(crate) fn close(self) -> Result<()> {
        self.pool.shutdown(Shutdown::Flush)?;
        Ok(())
    }

    /// Returns how many requests the process has sent to the store.
    pub(crate) fn requests(&self) -> Requests {
        self.files.requests()
    }

    fn version(&self) -> Result<u64> {
        let version = self.pool.file_info(self.file)?.version;
        version.ok_or_else(|| "a file in an object store has a version".into())
    }
}

/// Counts requests of all kinds.
pub(crate) fn total(requests: Requests) -> u64 {
    requests.gets + requests.puts + requests.lists + requests.deletes
}

/// Keys that follow each other are far apart in the tree: a batch changes most of its leaves.
fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Returns numbers in the order of their keys: so each leaf is fetched once, however few pages the pool has.
fn in_order(numbers: Range<u64>) -> Vec<u64> {
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable_by_key(|number| key(*number));
    numbers
}

/// Returns the number of a key. A key that [`key`] did not make gives any number.
fn number_of(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |number| u64::from_be_bytes(*number))
}

/// What was found in the tree, which is whole.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) checkpoint: u64,
    pub(crate) keys: u64,
    pub(crate) pages: u32,
    /// Writers in their order, and how many keys each inserted.
    pub(crate) by_writer: Vec<(u64, u64)>,
}

impl Display for Contents {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "checkpoint {}: {} keys, pages: {}", self.checkpoint, self.keys, self.pages)?;
        self.by_writer.iter().try_for_each(|(writer, keys)| write!(f, ", {keys} of writer {writer}"))
    }
}

/// A checkpoint that succeeded, and the requests that it took.
pub(crate) struct Checkpoint {
    number: u64,
    keys: u64,
    requests: u64,
    bytes: u64,
}

impl Display for Checkpoint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { number, keys, requests, bytes } = self;
        write!(f, "checkpoint {number}: {keys} keys; {requests} requests, {} kB", bytes / 1000)
    }
}

/// A log that keeps nothing.
struct NoLog;

impl LogFile for NoLog {
    fn read_all(&self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
