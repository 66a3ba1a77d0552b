//! Files in memory that keep all promises, or all but one.

use std::{
    collections::HashMap,
    io::{self, IoSlice, IoSliceMut},
    mem,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use crate::{
    OpenOptions, PageSize,
    storage::{
        Atomicity, BlockingFile, Capabilities, Opened, ReadRequest, Storage, StorageFile, SyncRequest,
        WriteRequest,
    },
};

/// What a storage does wrong.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    OpensWhatIsMissing,
    HasAnotherErrorForMissing,
    CreatesWithAPage,
    LosesNewFiles,
    IdentityOfTheOpening,
    OneIdentity,
    RemovesNothing,
    RemovesBytes,
    NeverEndsOneRead,
    NeverEndsOneWrite,
    NeverEndsOneSync,
    HangsInLen,
    DropsOneRead,
    DropsOneWrite,
    DropsOneSync,
    PanicsInSetLen,
    EndsUnderItsLock,
    WaitsInRead,
    WaitsInWrite,
    WaitsInSync,
    ForgetsAByte,
    ForgetsASector,
    ReadsOldBytes,
    ShiftsOffsets,
    AppliesWritesLate,
    ReversesPieces,
    LosesNeighbours,
    EndsReadsUnfilled,
    FillsAllButTheLastSector,
    ReadsMemoryLate,
    FillsMemoryLate,
    ReadsBehindTheEnd,
    CountsWhatIsMissing,
    LengthOfTheLastSync,
    CutsNothing,
    GrowsByOldBytes,
    KeepsWhatIsCut,
    ReservesOnes,
    ReservesNothing,
    SyncsNotAll,
    CutsWhenReopened,
    FailsEmptySync,
    VersionIsStuck,
    VersionFalls,
    LosesSynced,
    TearsPages,
    MixesSyncs,
    ForgetsWritesOfPools,
}

#[derive(Debug, Default)]
struct FlawedBytes {
    now: Vec<u8>,
    synced: Vec<u8>,
    before: Vec<u8>,
    cut_off: Vec<u8>,
    version: u64,
    is_changed: bool,
}

/// One file, however often it is open.
#[derive(Debug)]
struct FlawedFile {
    flaw: Option<Flaw>,
    page: usize,
    number: u64,
    bytes: Mutex<FlawedBytes>,
    operations: AtomicU64,
    is_of_a_pool: bool,
}

impl FlawedFile {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn lock(&self) -> MutexGuard<'_, FlawedBytes> {
        self.bytes.lock().unwrap()
    }

    /// Returns whether the flaw shows now: in the twentieth operation that it is asked for.
    fn strikes(&self, flaw: Flaw) -> bool {
        self.has(flaw) && self.operations.fetch_add(1, Ordering::Relaxed) == 19
    }

    fn read(&self, pieces: &mut [&mut [u8]], offset: u64) -> usize {
        if self.has(Flaw::EndsReadsUnfilled) && offset > 0 {
            return pieces.iter().map(|piece| piece.len()).sum();
        }
        let bytes = self.lock();
        let offset = offset as usize;
        let is_old =
            self.has(Flaw::ReadsOldBytes) && self.operations.fetch_add(1, Ordering::Relaxed) % 4 == 3;
        let all = if is_old { &bytes.before } else { &bytes.now };
        if self.has(Flaw::ReadsBehindTheEnd) && offset > all.len() {
            pieces.iter_mut().for_each(|piece| piece.fill(0));
            return pieces.iter().map(|piece| piece.len()).sum();
        }
        let mut rest = all.get(offset..).unwrap_or_default();
        let mut filled = 0;
        for piece in pieces {
            let (now, later) = rest.split_at(rest.len().min(piece.len()));
            piece[..now.len()].copy_from_slice(now);
            (rest, filled) = (later, filled + now.len());
            if self.has(Flaw::CountsWhatIsMissing) && rest.is_empty() && filled > 0 {
                filled += piece.len() - now.len();
            }
        }
        filled
    }

    fn write(&self, pieces: &[&[u8]], offset: u64) -> usize {
        let count = pieces.iter().map(|piece| piece.len()).sum();
        if self.has(Flaw::ForgetsWritesOfPools)
            && self.is_of_a_pool
            && self.operations.fetch_add(1, Ordering::Relaxed) % 8 == 7
        {
            return count;
        }
        let mut new: Vec<u8> = match self.has(Flaw::ReversesPieces) && offset > 0 {
            true => pieces.iter().rev().flat_map(|piece| piece.iter()).copied().collect(),
            false => pieces.concat(),
        };
        let mut at = offset as usize;
        if self.has(Flaw::ShiftsOffsets) && at > 0 && new.len() > self.page {
            at += 512;
        }
        if self.has(Flaw::LosesNeighbours) {
            // A larger unit is read, changed and written, and others do the same meanwhile.
            let unit = 4 * self.page;
            let (start, end) = (at / unit * unit, (at + new.len()).next_multiple_of(unit));
            let mut around = self.lock().now.clone();
            around.resize(around.len().max(end), 0);
            around[at..at + new.len()].copy_from_slice(&new);
            thread::sleep(Duration::from_micros(200));
            (new, at) = (around[start..end].to_vec(), start);
        }
        let mut bytes = self.lock();
        let end = at + new.len();
        if bytes.now.len() < end {
            bytes.now.resize(end, 0);
        }
        if self.has(Flaw::ReadsOldBytes) {
            bytes.before = bytes.now.clone();
        }
        let kept = bytes.now[end - 1];
        let sector = bytes.now[end - 512..end].to_vec();
        bytes.now[at..end].copy_from_slice(&new);
        if self.strikes(Flaw::ForgetsAByte) {
            bytes.now[end - 1] = kept ^ 1;
        }
        if self.strikes(Flaw::ForgetsASector) {
            bytes.now[end - 512..end].copy_from_slice(&sector);
        }
        bytes.is_changed = true;
        count
    }

    fn sync(&self) -> io::Result<()> {
        let mut bytes = self.lock();
        if !bytes.is_changed && self.has(Flaw::FailsEmptySync) {
            return Err(io::Error::other("there is nothing to publish"));
        }
        if mem::take(&mut bytes.is_changed) && !self.has(Flaw::VersionIsStuck) {
            bytes.version += 1;
        }
        let len = if self.has(Flaw::SyncsNotAll) { bytes.now.len() / 2 } else { bytes.now.len() };
        if !self.has(Flaw::LosesSynced) {
            let now = bytes.now.clone();
            bytes.synced.resize(now.len(), 0);
            bytes.synced[..len].copy_from_slice(&now[..len]);
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        if self.has(Flaw::HangsInLen) && self.operations.fetch_add(1, Ordering::Relaxed) == 3 {
            loop {
                thread::park();
            }
        }
        let bytes = self.lock();
        let counted = if self.has(Flaw::LengthOfTheLastSync) { &bytes.synced } else { &bytes.now };
        counted.len() as u64
    }

    fn set_len(&self, len: u64) {
        assert!(!self.has(Flaw::PanicsInSetLen), "the length cannot be set");
        let mut bytes = self.lock();
        let (len, before) = (len as usize, bytes.now.len());
        if len < before {
            if self.has(Flaw::CutsNothing) {
                return;
            }
            bytes.cut_off = bytes.now.split_off(len);
        } else {
            bytes.now.resize(len, if self.has(Flaw::GrowsByOldBytes) { 1 } else { 0 });
            let kept = bytes.cut_off.len().min(len - before);
            if self.has(Flaw::KeepsWhatIsCut) {
                let old = mem::take(&mut bytes.cut_off);
                bytes.now[before..before + kept].copy_from_slice(&old[..kept]);
            }
        }
        bytes.is_changed = true;
    }

    fn reserve(&self, offset: u64, len: u64) {
        let mut bytes = self.lock();
        let end = (offset + len) as usize;
        if !self.has(Flaw::ReservesNothing) && bytes.now.len() < end {
            bytes.now.resize(end, if self.has(Flaw::ReservesOnes) { 1 } else { 0 });
        }
    }

    fn version(&self) -> u64 {
        self.lock().version
    }

    /// Makes the file as it is after a crash.
    fn after_crash(&self, atomicity: Atomicity) -> Self {
        let bytes = self.lock();
        let mut found = bytes.synced.clone();
        let page = self.page;
        match atomicity {
            Atomicity::Sync if !self.has(Flaw::MixesSyncs) => {}
            Atomicity::Sync | Atomicity::Page => {
                let pages = found.chunks_mut(page).zip(bytes.now.chunks(page)).enumerate();
                pages.filter(|(n, _)| n % 2 == 0).for_each(|(_, (old, new))| old.copy_from_slice(new));
            }
            _ => found = bytes.now.clone(),
        }
        if self.has(Flaw::TearsPages) {
            let pages = found.chunks_mut(page).zip(bytes.now.chunks(page));
            pages.for_each(|(old, new)| old[..page / 2].copy_from_slice(&new[..page / 2]));
        }
        let after = FlawedBytes {
            now: found.clone(),
            synced: found,
            version: bytes.version,
            ..FlawedBytes::default()
        };
        Self { bytes: Mutex::new(after), operations: AtomicU64::new(0), ..*self }
    }
}

/// The file as one whose transfers are calls.
#[derive(Clone, Debug)]
struct Called(Arc<FlawedFile>);

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
struct Served {
    file: Arc<FlawedFile>,
    asked: mpsc::Sender<ServedRequest>,
    /// Held while a request ends, where that is the flaw.
    while_it_ends: Arc<Mutex<()>>,
}

impl Served {
    fn new(file: &Arc<FlawedFile>) -> Self {
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

/// A storage in memory. All clones are one.
#[derive(Clone, Debug)]
pub(super) struct FlawedStorage {
    flaw: Option<Flaw>,
    is_asynchronous: bool,
    atomicity: Atomicity,
    files: Arc<Mutex<HashMap<PathBuf, Arc<FlawedFile>>>>,
    made: Arc<AtomicU64>,
}

impl FlawedStorage {
    pub(super) fn new(flaw: Option<Flaw>, is_asynchronous: bool, atomicity: Atomicity) -> Self {
        Self { flaw, is_asynchronous, atomicity, files: Arc::default(), made: Arc::default() }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Makes the storage as it is after a crash.
    pub(super) fn after_crash(&self) -> Self {
        let files = self.files.lock().unwrap();
        let found =
            files.iter().map(|(path, file)| (path.clone(), Arc::new(file.after_crash(self.atomicity))));
        Self { files: Arc::new(Mutex::new(found.collect())), ..self.clone() }
    }

    fn new_file(&self, page: usize, is_of_a_pool: bool) -> Arc<FlawedFile> {
        let now = if self.has(Flaw::CreatesWithAPage) { vec![0; page] } else { Vec::new() };
        Arc::new(FlawedFile {
            flaw: self.flaw,
            page,
            number: self.made.fetch_add(1, Ordering::Relaxed),
            bytes: Mutex::new(FlawedBytes { now, ..FlawedBytes::default() }),
            operations: AtomicU64::new(0),
            is_of_a_pool,
        })
    }
}

impl Storage for FlawedStorage {
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
        let mut files = self.files.lock().unwrap();
        let may_create = options.create || self.has(Flaw::OpensWhatIsMissing);
        let file = match files.get(path) {
            Some(file) => Arc::clone(file),
            None if may_create => self.new_file(page_size.bytes(), options.initial_blocks > 0),
            None if self.has(Flaw::HasAnotherErrorForMissing) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        if files.insert(path.to_owned(), Arc::clone(&file)).is_some() {
            let mut bytes = file.lock();
            let is_long = bytes.now.len() > 8 * page_size.bytes();
            match self.flaw {
                Some(Flaw::SyncsNotAll) if is_long => bytes.now = bytes.synced.clone(),
                Some(Flaw::CutsWhenReopened) if is_long => bytes.now.truncate(8 * page_size.bytes()),
                Some(Flaw::VersionFalls) => bytes.version = 0,
                _ => {}
            }
        }
        if self.has(Flaw::LosesNewFiles) && file.lock().version == 0 && file.lock().now.is_empty() {
            files.remove(path);
        }
        let number = match self.flaw {
            Some(Flaw::IdentityOfTheOpening) => self.made.fetch_add(1, Ordering::Relaxed),
            Some(Flaw::OneIdentity) => 7,
            _ => file.number,
        };
        let opened = match self.is_asynchronous {
            true => Opened::asynchronous(Arc::new(Served::new(&file)), (0, number))?,
            false => Opened::blocking(Called(file), (0, number))?,
        };
        Ok(opened.name(path).capabilities(Capabilities::new().in_flight(24).atomicity(self.atomicity)))
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        if !self.has(Flaw::RemovesNothing) {
            let removed = self.files.lock().unwrap().remove(name);
            let removed = removed.ok_or(io::ErrorKind::NotFound)?;
            if self.has(Flaw::RemovesBytes) {
                removed.lock().now.clear();
            }
        }
        Ok(())
    }
}
