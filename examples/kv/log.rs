//! The log: records in the order of their changes, and one sync for all commits that wait meanwhile.
//!
//! A position is a byte of the file. Its first eight bytes say where redo starts.

use std::{
    fs::File,
    io,
    mem::take,
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
};

use ringpool::{DurableLsn, LogRecord, Lsn, Wal, testing::SimFile};

/// Where the first record begins.
const START: u64 = 8;
/// A record is its body's length and checksum, and the body: the block, and what became of it.
const HEADER: usize = 8;

/// What the log needs of its file, be it the system's or the simulated disk's.
pub(crate) trait LogFile: Send + Sync + 'static {
    fn read_all(&self) -> io::Result<Vec<u8>>;
    fn write_and_sync(&self, bytes: &[u8], at: u64) -> io::Result<()>;
}

impl LogFile for File {
    fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.metadata()?.len() as usize];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn write_and_sync(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)?;
        self.sync_data()
    }
}

impl LogFile for SimFile {
    fn read_all(&self) -> io::Result<Vec<u8>> {
        SimFile::read_all(self)
    }

    fn write_and_sync(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)?;
        self.sync()
    }
}

/// A record that survived.
pub(crate) struct Redo {
    pub(crate) record: LogRecord,
    pub(crate) block: u32,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Log {
    file: Box<dyn LogFile>,
    tail: Mutex<Tail>,
    durable: DurableLsn,
    pub(crate) syncs: AtomicU64,
    work: Sender<()>,
}

/// What is not written yet.
struct Tail {
    bytes: Vec<u8>,
    end: u64,
    /// Where the log ended when the last checkpoint began: a page without a record since then is logged whole.
    checkpoint: u64,
}

impl Log {
    /// Opens the log, with the records from where redo starts. What is behind the last whole record was cut off by a crash.
    pub(crate) fn open(file: Box<dyn LogFile>) -> io::Result<(Arc<Self>, Vec<Redo>)> {
        let bytes = file.read_all()?;
        let word =
            |at: usize| bytes.get(at..at + 8).map(|word| u64::from_le_bytes(word.try_into().expect("eight")));
        let start = word(0).unwrap_or(START).max(START);
        let (mut end, mut records) = (start as usize, Vec::new());
        while let Some(header) = word(end) {
            let (len, checksum) = (header as u32 as usize, (header >> 32) as u32);
            let Some(body) = bytes.get(end + HEADER..end + HEADER + len).filter(|body| body.len() >= 4)
            else {
                break;
            };
            if checksum != sum(end as u64, body) {
                break;
            }
            let record = LogRecord::from(Lsn(end as u64)..Lsn((end + HEADER + len) as u64));
            let (block, body) = body.split_at(4);
            records.push(Redo {
                record,
                block: u32::from_le_bytes(block.try_into().expect("four")),
                body: body.to_vec(),
            });
            end += HEADER + len;
        }
        let (work, asked) = channel();
        let tail = Mutex::new(Tail { bytes: Vec::new(), end: end as u64, checkpoint: start });
        // What was found may be in the system's cache alone.
        file.write_and_sync(&[], 0)?;
        let durable = DurableLsn::new(Lsn(end as u64));
        let log = Arc::new(Self { file, tail, durable, syncs: AtomicU64::new(0), work });
        let weak = Arc::downgrade(&log);
        thread::spawn(move || {
            while asked.recv().is_ok() {
                // All that was asked for by now is done at once.
                asked.try_iter().for_each(drop);
                let Some(log) = weak.upgrade() else { return };
                match log.write() {
                    Ok(end) => log.durable.advance(end),
                    Err(error) => return log.durable.fail(error),
                }
            }
        });
        Ok((log, records))
    }

    /// Adds the record of a change. The caller has the page latched and has changed it already, so that a checkpoint which begins behind the record
    /// finds the page dirty. `body` gives the change, or the whole page where it is the first since the last checkpoint began.
    pub(crate) fn append<'a>(
        &self,
        block: u32,
        last: Lsn,
        body: impl FnOnce(bool) -> &'a [u8],
    ) -> (LogRecord, bool) {
        let mut tail = self.tail();
        let is_image = last.0 <= tail.checkpoint;
        let body = [&block.to_le_bytes(), body(is_image)].concat();
        let begin = tail.end;
        tail.bytes.extend((body.len() as u32).to_le_bytes());
        tail.bytes.extend(sum(begin, &body).to_le_bytes());
        tail.bytes.extend(&body);
        tail.end += (HEADER + body.len()) as u64;
        (LogRecord::from(Lsn(begin)..Lsn(tail.end)), is_image)
    }

    /// Waits until the log is durable up to there. Occupies no thread.
    pub(crate) async fn commit(&self, end: Lsn) -> io::Result<()> {
        let _ = self.work.send(());
        self.durable.reached(end).await.map(drop)
    }

    /// Begins a checkpoint: returns where the log ends.
    pub(crate) fn begin_checkpoint(&self) -> Lsn {
        let mut tail = self.tail();
        tail.checkpoint = tail.end;
        Lsn(tail.end)
    }

    /// Has redo start there from now on.
    pub(crate) fn start_redo_at(&self, lsn: Lsn) -> io::Result<()> {
        self.file.write_and_sync(&lsn.0.to_le_bytes(), 0)
    }

    /// Writes and syncs what was added so far. Called by the log's thread alone.
    fn write(&self) -> io::Result<Lsn> {
        let (bytes, end) = {
            let mut tail = self.tail();
            (take(&mut tail.bytes), tail.end)
        };
        if !bytes.is_empty() {
            self.file.write_and_sync(&bytes, end - bytes.len() as u64)?;
            self.syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Lsn(end))
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A checksum of the body in its place: FNV-1a.
fn sum(at: u64, body: &[u8]) -> u32 {
    let bytes = at.to_le_bytes().into_iter().chain(body.iter().copied());
    bytes.fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What the pool asks of the log before it writes pages.
pub(crate) struct LogFirst(pub(crate) Arc<Log>);

impl Wal for LogFirst {
    fn flushed_lsn(&self) -> Lsn {
        self.0.durable.get()
    }

    fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
        let _ = self.0.work.send(());
        self.0.durable.reached(up_to).wait()
    }
}
