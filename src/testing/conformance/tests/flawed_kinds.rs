//! The two kinds of a flawed file: one whose transfers are calls, and one whose transfers end later.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use super::flawed::{Flaw, FlawedFile};
use crate::storage::{BlockingFile, ReadRequest, StorageFile, SyncRequest, WriteRequest};

/// The file as one whose transfers are calls.
#[derive(Clone, Debug)]
pub(super) struct Called(pub(super) Arc<FlawedFile>);

impl BlockingFile for Called {
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let mut pieces: Vec<&mut [u8]> = buffers.iter_mut().map(|buffer| &mut **buffer).collect();
        Ok(self.0.read(&mut pieces, offset))
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let pieces: Vec<&[u8]> = buffers.iter().map(|buffer| &**buffer).collect();
        Ok(self.0.write(&pieces, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.reserve(offset, len);
        Ok(())
    }
}

enum ServedRequest {
    Read(ReadRequest),
    Write(WriteRequest),
    Sync(SyncRequest),
}

/// The file as one whose transfers end later: a thread serves them, one after the other.
#[derive(Debug)]
pub(super) struct Served {
    file: Arc<FlawedFile>,
    asked: mpsc::Sender<ServedRequest>,
    /// Held while a request ends, where that is the flaw.
    while_it_ends: Arc<Mutex<()>>,
}

impl Served {
    pub(super) fn new(file: &Arc<FlawedFile>) -> Self {
        let (asked, arriving) = mpsc::channel();
        let while_it_ends = Arc::new(Mutex::new(()));
        let (file, held) = (Arc::clone(file), Arc::clone(&while_it_ends));
        let serving = Arc::clone(&file);
        thread::spawn(move || {
            for request in arriving {
                let _held = serving.has(Flaw::EndsUnderItsLock).then(|| held.lock().unwrap());
                serve(&serving, request);
            }
        });
        Self { file, asked, while_it_ends }
    }

    fn ask(&self, request: ServedRequest, waits: Flaw) {
        if self.file.has(Flaw::EndsUnderItsLock) {
            drop(self.while_it_ends.lock());
        }
        if self.file.has(waits) {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.asked.send(request);
    }
}

fn serve(file: &Arc<FlawedFile>, request: ServedRequest) {
    match request {
        ServedRequest::Read(request) if file.strikes(Flaw::DropsOneRead) => drop(request),
        ServedRequest::Write(request) if file.strikes(Flaw::DropsOneWrite) => drop(request),
        ServedRequest::Sync(request) if file.has(Flaw::DropsOneSync) => drop(request),
        ServedRequest::Read(request) if file.strikes(Flaw::NeverEndsOneRead) => mem::forget(request),
        ServedRequest::Write(request) if file.strikes(Flaw::NeverEndsOneWrite) => mem::forget(request),
        ServedRequest::Sync(request) if file.has(Flaw::NeverEndsOneSync) => mem::forget(request),
        ServedRequest::Read(request) => serve_read(file, request),
        ServedRequest::Write(request) => serve_write(file, request),
        ServedRequest::Sync(request) if file.loses_writes_during_syncs() => {
            // Writes are served meanwhile.
            let (file, at_its_beginning) = (Arc::clone(file), file.begin_sync());
            thread::spawn(move || {
                file.end_sync(at_its_beginning);
                request.finish(Ok(()));
            });
        }
        ServedRequest::Sync(request) => request.finish(file.sync()),
    }
}

fn serve_read(file: &FlawedFile, mut request: ReadRequest) {
    let offset = request.offset();
    let mut pieces: Vec<&mut [u8]> = request.pieces().collect();
    if file.has(Flaw::FillsAllButTheLastSector) {
        let last = pieces.pop().unwrap();
        let (but_the_last, _) = last.split_at_mut(last.len() - 512);
        pieces.push(but_the_last);
    }
    let count = file.read(&mut pieces, offset);
    let first = pieces[0].as_mut_ptr();
    let count = match file.has(Flaw::FillsAllButTheLastSector) && count > 0 {
        true => request.len(),
        false => count,
    };
    request.finish(Ok(count));
    if file.strikes(Flaw::FillsMemoryLate) {
        thread::sleep(Duration::from_millis(300));
        // SAFETY: not sound: that is the flaw. The memory is there, since the kit keeps that of the last requests to look at it.
        #[allow(unsafe_code)]
        unsafe {
            first.write_volatile(7);
        }
    }
}

fn serve_write(file: &Arc<FlawedFile>, request: WriteRequest) {
    let offset = request.offset();
    if file.has(Flaw::AppliesWritesLate) && offset > 0 {
        let bytes = request.to_vec();
        let len = request.len();
        request.finish(Ok(len));
        // The reads that follow overtake it.
        let file = Arc::clone(file);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(2));
            file.write(&[&bytes], offset);
        });
        return;
    }
    let pieces: Vec<&[u8]> = request.pieces().collect();
    if file.has(Flaw::ReadsMemoryLate) {
        let addresses: Vec<(*const u8, usize)> =
            pieces.iter().map(|piece| (piece.as_ptr(), piece.len())).collect();
        let len = request.len();
        request.finish(Ok(len));
        thread::sleep(Duration::from_millis(2));
        // SAFETY: not sound: that is the flaw. The memory is there, since the kit keeps that of the last requests to look at it.
        #[allow(unsafe_code)]
        let late: Vec<&[u8]> =
            addresses.iter().map(|&(at, len)| unsafe { std::slice::from_raw_parts(at, len) }).collect();
        file.write(&late, offset);
        return;
    }
    let count = file.write(&pieces, offset);
    request.finish(Ok(count));
}

impl StorageFile for Served {
    fn read(&self, request: ReadRequest) {
        self.ask(ServedRequest::Read(request), Flaw::WaitsInRead);
    }

    fn write(&self, request: WriteRequest) {
        self.ask(ServedRequest::Write(request), Flaw::WaitsInWrite);
    }

    fn sync(&self, request: SyncRequest) {
        self.ask(ServedRequest::Sync(request), Flaw::WaitsInSync);
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len);
        Ok(())
    }

    fn version(&self) -> Option<u64> {
        Some(self.file.version())
    }
}
