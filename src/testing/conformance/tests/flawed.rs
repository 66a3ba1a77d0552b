//! Files in memory that keep all promises, or all but one.

use std::{
    collections::HashMap,
    io, mem,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::flawed_kinds::{Called, Served};
use crate::{
    OpenOptions, PageSize,
    storage::{Atomicity, Capabilities, Opened, Storage},
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
    ReusesIdentities,
    CountsIdentities,
    RemovesNothing,
    RemovesBytes,
    NeverEndsOneRead,
    NeverEndsOneWrite,
    NeverEndsOneSync,
    HangsInLen,
    DropsOneRead,
    DropsOneWrite,
    DropsOneSync,
    InterruptsSyncs,
    PanicsInSetLen,
    EndsUnderItsLock,
    WaitsInRead,
    WaitsInWrite,
    WaitsInSync,
    WaitsInVersion,
    VersionWaitsForSyncs,
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
    ReopensWithoutWritesDuringSyncs,
    FailsEmptySync,
    VersionIsStuck,
    VersionFalls,
    LosesSynced,
    LosesWritesDuringSyncs,
    ForgetsCuts,
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
    is_changed: bool,
}

/// One file, however often it is open.
#[derive(Debug)]
pub(super) struct FlawedFile {
    flaw: Option<Flaw>,
    page: usize,
    number: u64,
    bytes: Mutex<FlawedBytes>,
    version: AtomicU64,
    operations: AtomicU64,
    is_of_a_pool: bool,
}

impl FlawedFile {
    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn lock(&self) -> MutexGuard<'_, FlawedBytes> {
        self.bytes.lock().unwrap()
    }

    /// Returns whether the flaw shows now: in the twentieth operation that it is asked for.
    pub(super) fn strikes(&self, flaw: Flaw) -> bool {
        self.has(flaw) && self.operations.fetch_add(1, Ordering::Relaxed) == 19
    }

    pub(super) fn read(&self, pieces: &mut [&mut [u8]], offset: u64) -> usize {
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

    pub(super) fn write(&self, pieces: &[&[u8]], offset: u64) -> usize {
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

    pub(super) fn sync(&self) -> io::Result<()> {
        if self.has(Flaw::InterruptsSyncs) && self.operations.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.loses_writes_during_syncs() {
            let at_its_beginning = self.begin_sync();
            self.end_sync(at_its_beginning);
            return Ok(());
        }
        let mut bytes = self.lock();
        if !bytes.is_changed && self.has(Flaw::FailsEmptySync) {
            return Err(io::Error::other("there is nothing to publish"));
        }
        if mem::take(&mut bytes.is_changed) && !self.has(Flaw::VersionIsStuck) {
            self.version.fetch_add(1, Ordering::Relaxed);
        }
        if self.has(Flaw::VersionWaitsForSyncs) {
            thread::sleep(Duration::from_millis(3));
        }
        let len = if self.has(Flaw::SyncsNotAll) { bytes.now.len() / 2 } else { bytes.now.len() };
        if !self.has(Flaw::LosesSynced) {
            let now = bytes.now.clone();
            bytes.synced.resize(now.len(), 0);
            bytes.synced[..len].copy_from_slice(&now[..len]);
        }
        Ok(())
    }

    pub(super) fn loses_writes_during_syncs(&self) -> bool {
        self.has(Flaw::LosesWritesDuringSyncs) || self.has(Flaw::ReopensWithoutWritesDuringSyncs)
    }

    /// Begins a sync: looks at what there is, unless all is clean.
    pub(super) fn begin_sync(&self) -> Option<Vec<u8>> {
        let bytes = self.lock();
        bytes.is_changed.then(|| bytes.now.clone())
    }

    /// Ends a sync, after some time, and takes all for clean, also what has come meanwhile.
    pub(super) fn end_sync(&self, at_its_beginning: Option<Vec<u8>>) {
        if let Some(at_its_beginning) = at_its_beginning {
            thread::sleep(Duration::from_millis(5));
            let mut bytes = self.lock();
            (bytes.synced, bytes.is_changed) = (at_its_beginning, false);
            self.version.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn len(&self) -> u64 {
        if self.has(Flaw::HangsInLen) && self.operations.fetch_add(1, Ordering::Relaxed) == 3 {
            loop {
                thread::park();
            }
        }
        let bytes = self.lock();
        let counted = if self.has(Flaw::LengthOfTheLastSync) { &bytes.synced } else { &bytes.now };
        counted.len() as u64
    }

    pub(super) fn set_len(&self, len: u64) {
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

    pub(super) fn reserve(&self, offset: u64, len: u64) {
        let mut bytes = self.lock();
        let end = (offset + len) as usize;
        if !self.has(Flaw::ReservesNothing) && bytes.now.len() < end {
            bytes.now.resize(end, if self.has(Flaw::ReservesOnes) { 1 } else { 0 });
        }
    }

    pub(super) fn version(&self) -> u64 {
        if self.has(Flaw::WaitsInVersion) {
            thread::sleep(Duration::from_micros(100));
        }
        if self.has(Flaw::VersionWaitsForSyncs) {
            drop(self.lock());
        }
        self.version.load(Ordering::Relaxed)
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
        if self.has(Flaw::ForgetsCuts) {
            found.extend_from_slice(&bytes.cut_off);
        }
        let after = FlawedBytes { now: found.clone(), synced: found, ..FlawedBytes::default() };
        Self {
            bytes: Mutex::new(after),
            version: AtomicU64::new(self.version.load(Ordering::Relaxed)),
            operations: AtomicU64::new(0),
            ..*self
        }
    }
}

/// A storage in memory. All clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct FlawedStorage {
    flaw: Option<Flaw>,
    is_asynchronous: bool,
    atomicity: Atomicity,
    files: Arc<Mutex<HashMap<PathBuf, Arc<FlawedFile>>>>,
    made: Arc<AtomicU64>,
    /// Of files that were removed.
    free_numbers: Arc<Mutex<Vec<u64>>>,
}

impl FlawedStorage {
    pub(super) fn new(flaw: Option<Flaw>, is_asynchronous: bool, atomicity: Atomicity) -> Self {
        Self { flaw, is_asynchronous, atomicity, ..Self::default() }
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

    fn new_file(&self, page: usize, files: usize, is_of_a_pool: bool) -> Arc<FlawedFile> {
        let now = if self.has(Flaw::CreatesWithAPage) { vec![0; page] } else { Vec::new() };
        let free = self.free_numbers.lock().unwrap().pop();
        Arc::new(FlawedFile {
            flaw: self.flaw,
            page,
            number: match self.has(Flaw::CountsIdentities) {
                true => files as u64,
                false => free.unwrap_or_else(|| self.made.fetch_add(1, Ordering::Relaxed)),
            },
            version: AtomicU64::new(0),
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
            None if may_create => self.new_file(page_size.bytes(), files.len(), options.initial_blocks > 0),
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
                Some(Flaw::ReopensWithoutWritesDuringSyncs) => bytes.now = bytes.synced.clone(),
                Some(Flaw::VersionFalls) => file.version.store(0, Ordering::Relaxed),
                _ => {}
            }
        }
        if self.has(Flaw::LosesNewFiles) && file.version() == 0 && file.lock().now.is_empty() {
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
            match self.flaw {
                Some(Flaw::RemovesBytes) => removed.lock().now.clear(),
                Some(Flaw::ReusesIdentities) => self.free_numbers.lock().unwrap().push(removed.number),
                _ => {}
            }
        }
        Ok(())
    }
}
