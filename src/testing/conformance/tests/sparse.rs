//! Files of pages of which only those take memory that were written, so that their offsets may be far out.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, IoSlice, IoSliceMut},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    OpenOptions, PageSize,
    storage::{BlockingFile, Opened, Storage},
};

/// How the places of bytes are found.
#[derive(Copy, Clone, Debug)]
pub(super) enum Places {
    /// Each offset is one.
    Apart,
    /// Offsets that differ by a multiple of 2 to this power are one place.
    Wrapped(u32),
    /// The same, also for reads behind the end.
    WrappedBehindTheEnd(u32),
    /// All offsets from this one on are one place.
    Last(u64),
}

/// A storage of such files.
#[derive(Clone, Debug)]
pub(super) struct SparseStorage {
    pub(super) places: Places,
    /// How long a file may be, in bytes.
    pub(super) longest: u64,
    files: Arc<Mutex<HashMap<PathBuf, SparseFile>>>,
}

impl SparseStorage {
    pub(super) fn new(places: Places, longest: u64) -> Self {
        Self { places, longest, files: Arc::default() }
    }
}

#[derive(Clone, Debug)]
struct SparseFile {
    storage: SparseStorage,
    page: usize,
    number: u64,
    pages: Arc<Mutex<SparsePages>>,
}

#[derive(Debug, Default)]
struct SparsePages {
    written: BTreeMap<u64, Vec<u8>>,
    len: u64,
}

impl SparseFile {
    fn lock(&self) -> MutexGuard<'_, SparsePages> {
        self.pages.lock().unwrap()
    }

    fn place(&self, offset: u64) -> u64 {
        match self.storage.places {
            Places::Apart => offset,
            Places::Wrapped(shift) | Places::WrappedBehindTheEnd(shift) => offset & ((1 << shift) - 1),
            Places::Last(last) => offset.min(last),
        }
    }
}

impl BlockingFile for SparseFile {
    /// Reads one page at a time.
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let pages = self.lock();
        let end = match self.storage.places {
            Places::WrappedBehindTheEnd(_) => self.place(offset),
            _ => offset,
        };
        if end >= pages.len {
            return Ok(0);
        }
        let first = &mut buffers[0][..self.page];
        match pages.written.get(&self.place(offset)) {
            Some(page) => first.copy_from_slice(page),
            None => first.fill(0),
        }
        Ok(self.page)
    }

    /// Writes one page at a time.
    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let end = offset + self.page as u64;
        if end > self.storage.longest {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let place = self.place(offset);
        let mut pages = self.lock();
        pages.len = pages.len.max(end);
        pages.written.insert(place, buffers[0][..self.page].to_vec());
        Ok(self.page)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut pages = self.lock();
        pages.written.retain(|place, _| *place < len);
        pages.len = len;
        Ok(())
    }
}

impl Storage for SparseStorage {
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
        let mut files = self.files.lock().unwrap();
        let number = files.len() as u64;
        if options.create {
            files.entry(path.to_owned()).or_insert_with(|| SparseFile {
                storage: self.clone(),
                page: page_size.bytes(),
                number,
                pages: Arc::default(),
            });
        }
        let file = files.get(path).ok_or(io::ErrorKind::NotFound)?.clone();
        let number = file.number;
        Opened::blocking(file, (0, number))
    }
}
