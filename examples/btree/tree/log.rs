//! The redo log: changes go here before their pages go to disk.
//!
//! ```text
//! | where redo starts: u64 | record | record | ...        a record: | length: u32 | checksum: u32 | changes |
//! ```
//!
//! A page keeps where its last record ends: redo leaves out what the page has. One record has all changes that must be redone
//! together, such as both halves of a node. The checksum covers the place as well; the first record that is not whole is the end.
//!
//! A log that failed stays failed: after a sync that failed it is not known what is on disk. (A log for more than an example
//! would also cut off what recovery needs no more.)
//!
//! Lock order: `file`, then `tail`. Page latches come before both.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ringpool::{LogRecord, Lsn, Wal};

use super::change::Change;

/// Where the first record begins.
const FIRST: u64 = 8;

/// Length and checksum of a record.
const HEADER: usize = 8;

/// Records that wait in memory are written, though not synced, when they have this number of bytes.
const TAIL_MAX: usize = 1 << 20;

/// The file that holds the log.
pub(crate) trait LogFile: Send + 'static {
    fn read_all(&self) -> io::Result<Vec<u8>>;
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

impl LogFile for File {
    fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.metadata()?.len() as usize];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Changes in the order in which they were made.
pub(crate) struct Log {
    file: Mutex<Storage>,
    tail: Mutex<Tail>,
    /// All records that end here or before are durable.
    durable: AtomicU64,
}

struct Storage {
    file: Box<dyn LogFile>,
    failed: bool,
}

/// The records that are not in the file yet.
struct Tail {
    bytes: Vec<u8>,
    end: u64,
}

impl Log {
    /// Opens the log in this file, and returns it with the records that [recovery](Records::each) has to look at.
    pub(crate) fn open(file: impl LogFile) -> io::Result<(Arc<Self>, Records)> {
        let bytes = file.read_all()?;
        let start = bytes.first_chunk().map_or(0, |start| u64::from_le_bytes(*start)).max(FIRST);
        let records = Records { bytes, start };
        let end = records.end();
        // What comes behind the end, from before a crash, must never be taken for the continuation of what is written now.
        file.set_len(end)?;
        file.sync()?;
        let log = Self {
            file: Mutex::new(Storage { file: Box::new(file), failed: false }),
            tail: Mutex::new(Tail { bytes: Vec::new(), end }),
            durable: AtomicU64::new(end),
        };
        Ok((Arc::new(log), records))
    }

    /// Adds a record, in memory for now. The caller holds the latches of the pages that change: so the log has the changes of a
    /// page in their order.
    pub(crate) fn append(&self, changes: &[(u32, Change<'_>)]) -> io::Result<LogRecord> {
        if lock(&self.tail).bytes.len() > TAIL_MAX {
            self.write(&mut lock(&self.file))?;
        }
        let mut tail = lock(&self.tail);
        let (at, begin) = (tail.end, tail.bytes.len());
        tail.bytes.extend([0; HEADER]);
        changes.iter().for_each(|(block, change)| change.encode(*block, &mut tail.bytes));
        let (header, body) = tail.bytes[begin..].split_at_mut(HEADER);
        header[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
        header[4..].copy_from_slice(&checksum(at, body).to_le_bytes());
        tail.end += (HEADER + body.len()) as u64;
        Ok(LogRecord { begin: Lsn(at), end: Lsn(tail.end) })
    }

    /// Returns where the next record will begin.
    pub(crate) fn end(&self) -> Lsn {
        Lsn(lock(&self.tail).end)
    }

    /// Makes all records durable that end up to `lsn`, and those that were added meanwhile.
    pub(crate) fn flush(&self, lsn: Lsn) -> io::Result<()> {
        let mut storage = lock(&self.file);
        if self.durable.load(Ordering::Acquire) >= lsn.0 {
            return Ok(()); // By the thread that had the file before.
        }
        let end = self.write(&mut storage)?;
        storage.run(LogFile::sync)?;
        self.durable.store(end, Ordering::Release);
        Ok(())
    }

    /// Sets where redo starts: recovery needs nothing that is before `lsn`.
    pub(crate) fn start_redo_at(&self, lsn: Lsn) -> io::Result<()> {
        lock(&self.file).run(|file| {
            file.write_all_at(&lsn.0.to_le_bytes(), 0)?;
            file.sync()
        })
    }

    /// Brings the records in memory into the file; returns where they end.
    fn write(&self, storage: &mut Storage) -> io::Result<u64> {
        let (bytes, end) = {
            let mut tail = lock(&self.tail);
            (std::mem::take(&mut tail.bytes), tail.end)
        };
        storage.run(|file| file.write_all_at(&bytes, end - bytes.len() as u64))?;
        Ok(end)
    }
}

impl Storage {
    fn run<T>(&mut self, operation: impl FnOnce(&dyn LogFile) -> io::Result<T>) -> io::Result<T> {
        if self.failed {
            return Err(io::Error::other("the log has failed before"));
        }
        operation(&*self.file).inspect_err(|_| self.failed = true)
    }
}

/// What the pool asks of the log before it writes pages.
pub(crate) struct LogFirst(pub(crate) Arc<Log>);

impl Wal for LogFirst {
    fn flushed_lsn(&self) -> Lsn {
        Lsn(self.0.durable.load(Ordering::Acquire))
    }

    fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
        self.0.flush(up_to)?;
        Ok(self.flushed_lsn())
    }
}

/// What survived of a log.
pub(crate) struct Records {
    bytes: Vec<u8>,
    start: u64,
}

impl Records {
    /// Returns the whole records from the start of redo on, each with its changes.
    pub(crate) fn each(&self) -> impl Iterator<Item = (LogRecord, Vec<(u32, Change<'_>)>)> {
        let mut at = self.start;
        std::iter::from_fn(move || {
            let (begin, mut body) = (at, self.body(at)?);
            at += (HEADER + body.len()) as u64;
            let mut changes = Vec::new();
            while let Some((change, rest)) = Change::decode(body) {
                changes.push(change);
                body = rest;
            }
            Some((LogRecord { begin: Lsn(begin), end: Lsn(at) }, changes))
        })
    }

    fn end(&self) -> u64 {
        let mut at = self.start;
        while let Some(body) = self.body(at) {
            at += (HEADER + body.len()) as u64;
        }
        at
    }

    fn body(&self, at: u64) -> Option<&[u8]> {
        let bytes = self.bytes.get(usize::try_from(at).ok()?..)?;
        let (len, bytes) = bytes.split_first_chunk()?;
        let (sum, bytes) = bytes.split_first_chunk()?;
        let body = bytes.get(..u32::from_le_bytes(*len) as usize)?;
        (!body.is_empty() && u32::from_le_bytes(*sum) == checksum(at, body)).then_some(body)
    }
}

fn checksum(at: u64, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&at.to_le_bytes()), body)
}

/// Locks, also after a panic: what these locks protect is consistent at any moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
