//! A disk in memory whose transfers can be interrupted in the middle, by any other thread.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::BorrowedFd,
    path::Path,
};

use crate::{
    id::PageSize,
    io::{
        file::open_options::OpenOptions,
        storage::{BlockingFile, Opened, Storage},
    },
    sync::{Arc, Condvar, Mutex, thread},
    testing::model_check::PAGE,
};

/// One file, and how many of the next reads fail. Beside it a second one, of zeros, that can be made to answer late.
#[derive(Clone, Debug)]
pub(super) struct SteppedDisk(Arc<Mutex<SteppedState>>, Arc<DiskGate>);

/// The path of the file that can be made to answer late.
pub(super) const LATE: &str = "late";

#[derive(Debug, Default)]
struct DiskGate {
    shut: Mutex<bool>,
    opened: Condvar,
}

#[derive(Debug, Default)]
struct SteppedState {
    bytes: Vec<u8>,
    failing_reads: u32,
    failing_writes: u32,
    writes: u32,
}

impl SteppedDisk {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(SteppedState::default())), Arc::default())
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().bytes.clone()
    }

    /// Returns how many writes have begun.
    pub(super) fn writes(&self) -> u32 {
        self.0.lock().writes
    }

    pub(super) fn fail_reads(&self, count: u32) {
        self.0.lock().failing_reads = count;
    }

    pub(super) fn fail_writes(&self, count: u32) {
        self.0.lock().failing_writes = count;
    }

    /// Has reads of the late file wait, or go on.
    pub(super) fn hold_late(&self, hold: bool) {
        *self.1.shut.lock() = hold;
        self.1.opened.notify_all();
    }

    /// Moves each half of the range by itself.
    fn in_halves(&self, len: usize, mut half: impl FnMut(&mut SteppedState, std::ops::Range<usize>)) {
        let middle = len.min(PAGE / 2);
        for range in [0..middle, middle..len] {
            half(&mut self.0.lock(), range);
            thread::yield_now();
        }
    }
}

impl Storage for SteppedDisk {
    fn open(&self, path: &Path, _: &OpenOptions, _: PageSize) -> io::Result<Opened> {
        let opened = if path == Path::new(LATE) {
            Opened::buffered(Box::new(LateFile(Arc::clone(&self.1))), (0, 1), 8 * PAGE as u64)
        } else {
            Opened::buffered(Box::new(self.clone()), (0, 0), self.bytes().len() as u64)
        };
        Ok(Opened { name: Some(path.to_owned()), ..opened })
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn may_remove(&self, _: &Path, _: (u64, u64)) -> io::Result<bool> {
        Ok(true)
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        self.0.lock().bytes.clear();
        Ok(())
    }
}

fn io_error() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn take_one(count: &mut u32) -> bool {
    let any = *count > 0;
    *count = count.saturating_sub(1);
    any
}

impl BlockingFile for SteppedDisk {
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        if take_one(&mut self.0.lock().failing_reads) {
            return Err(io_error());
        }
        let mut done = 0;
        for buffer in buffers {
            let at = offset as usize + done;
            let len = buffer.len().min(self.0.lock().bytes.len().saturating_sub(at));
            self.in_halves(len, |state, range| {
                buffer[range.clone()].copy_from_slice(&state.bytes[at + range.start..at + range.end]);
            });
            done += len;
        }
        Ok(done)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.0.lock().writes += 1;
        if take_one(&mut self.0.lock().failing_writes) {
            return Err(io_error());
        }
        let mut done = 0;
        for buffer in buffers {
            let at = offset as usize + done;
            self.in_halves(buffer.len(), |state, range| {
                let end = at + range.end;
                let len = state.bytes.len().max(end);
                state.bytes.resize(len, 0);
                state.bytes[at + range.start..end].copy_from_slice(&buffer[range]);
            });
            done += buffer.len();
        }
        Ok(done)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().bytes.resize(len as usize, 0);
        Ok(())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A file of zeros whose reads wait at a gate.
#[derive(Debug)]
struct LateFile(Arc<DiskGate>);

impl BlockingFile for LateFile {
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], _: u64) -> io::Result<usize> {
        let mut shut = self.0.shut.lock();
        while *shut {
            shut = self.0.opened.wait(shut);
        }
        buffers.iter_mut().for_each(|buffer| buffer.fill(0));
        Ok(buffers.iter().map(|buffer| buffer.len()).sum())
    }

    fn write_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(8 * PAGE as u64)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
