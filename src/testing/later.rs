//! A storage whose files end their requests later: any other one's files, served by threads, in an order that a seed decides.

use std::{
    io::{self, IoSlice, IoSliceMut},
    path::Path,
};

use super::Dice;
use crate::{
    OpenOptions, PageSize,
    io::storage::{
        BlockingFile, Opened, Storage, StorageFile, WhyNot,
        request::{ReadRequest, SyncRequest, WriteRequest},
    },
    sync::{Arc, Condvar, Mutex, thread},
};

/// The threads of each file: as many as requests that a test may have held back at once.
const THREADS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 16 };

/// Another storage's files, whose requests end later: each file has 16 threads, which take the requests in an order that a seed
/// decides. So the path of an asynchronous [storage](crate::storage) is tested with the faults and the power cuts of a
/// [`SimDisk`](super::SimDisk). Not for [simulated](super::simulated()) runs, which have no threads.
///
/// Writes are not atomic there, whatever the other storage can do.
///
/// # Examples
/// ```
/// use ringpool::{BufferPool, Error, OpenOptions, PageId, testing::{Fault, Later, Op, SimDisk}};
///
/// let disk = SimDisk::new();
/// disk.put("heap", vec![1; 4 * 8192]);
/// let pool = BufferPool::builder().frames(16).storage(Later::new(disk.clone(), 7)).build()?;
/// let heap = pool.open_file("heap", OpenOptions::new())?;
///
/// disk.inject(Fault::error(Op::Read, 5).once());
/// assert!(matches!(pool.fetch(PageId::new(heap, 2)).wait(), Err(Error::Io { .. })));
/// assert_eq!(pool.read(PageId::new(heap, 2)).wait()?[0], 1);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Later {
    storage: Box<dyn Storage>,
    dice: Mutex<Dice>,
}

impl Later {
    /// Makes a storage of another one's files, whose requests end later, in an order that the seed decides. Example: [`Later`].
    pub fn new(storage: impl Storage, seed: u64) -> Self {
        Self { storage: Box::new(storage), dice: Mutex::new(Dice::new(seed)) }
    }
}

impl Storage for Later {
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
        let opened = self.storage.open(path, options, page_size)?;
        let dice = Dice::new(self.dice.lock().throw());
        let line = Mutex::new(Unanswered { requests: Vec::new(), dice, is_closed: false });
        let file = LaterFile(Arc::new(Serving { file: opened.disk, line, changed: Condvar::new() }));
        for _ in 0..THREADS {
            let serving = Arc::clone(&file.0);
            thread::spawn("ringpool-later".to_owned(), move || serving.serve())?;
        }
        let calls = Opened::asynchronous(Arc::new(file), opened.identity)?;
        let atomic_pages = Err(WhyNot::Unsupported("requests that end later are not atomic here".to_owned()));
        Ok(Opened {
            disk: calls.disk,
            asynchronous: calls.asynchronous,
            may_block: calls.may_block,
            atomic_pages,
            ..opened
        })
    }

    fn sync_folder(&self, name: &Path) -> io::Result<()> {
        self.storage.sync_folder(name)
    }

    fn may_remove(&self, name: &Path, identity: (u64, u64)) -> io::Result<bool> {
        self.storage.may_remove(name, identity)
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        self.storage.remove(name)
    }
}

#[derive(Debug)]
pub(super) enum LateRequest {
    Read(ReadRequest),
    Write(WriteRequest),
    Sync(SyncRequest),
}

impl LateRequest {
    pub(super) fn serve(self, file: &dyn BlockingFile) {
        match self {
            Self::Read(mut request) => {
                let offset = request.offset();
                let mut slices: Vec<_> = request.pieces().map(IoSliceMut::new).collect();
                let outcome = file.read_at(&mut slices, offset);
                drop(slices);
                request.finish(outcome);
            }
            Self::Write(request) => {
                let slices: Vec<_> = request.pieces().map(IoSlice::new).collect();
                let outcome = file.write_at(&slices, request.offset());
                drop(slices);
                request.finish(outcome);
            }
            Self::Sync(request) => request.finish(file.sync_data()),
        }
    }
}

#[derive(Debug)]
struct LaterFile(Arc<Serving>);

#[derive(Debug)]
struct Serving {
    file: Box<dyn BlockingFile>,
    line: Mutex<Unanswered>,
    changed: Condvar,
}

#[derive(Debug)]
struct Unanswered {
    requests: Vec<LateRequest>,
    dice: Dice,
    is_closed: bool,
}

impl LaterFile {
    fn ask(&self, request: LateRequest) {
        self.0.line.lock().requests.push(request);
        self.0.changed.notify_one();
    }
}

impl Serving {
    fn serve(&self) {
        let mut line = self.line.lock();
        loop {
            if let Some(request) = line.take() {
                drop(line);
                request.serve(&*self.file);
                line = self.line.lock();
            } else if line.is_closed {
                return;
            } else {
                line = self.changed.wait(line);
            }
        }
    }
}

impl Unanswered {
    fn take(&mut self) -> Option<LateRequest> {
        let count = self.requests.len() as u64;
        (count > 0).then(|| self.requests.swap_remove(self.dice.below(count) as usize))
    }
}

impl Drop for LaterFile {
    /// Nothing is asked any more: the threads end.
    fn drop(&mut self) {
        self.0.line.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl StorageFile for LaterFile {
    fn read(&self, request: ReadRequest) {
        self.ask(LateRequest::Read(request));
    }

    fn write(&self, request: WriteRequest) {
        self.ask(LateRequest::Write(request));
    }

    fn sync(&self, request: SyncRequest) {
        self.ask(LateRequest::Sync(request));
    }

    fn len(&self) -> io::Result<u64> {
        self.0.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.file.set_len(len)
    }

    fn unlock(&self) {
        self.0.file.unlock();
    }
}
