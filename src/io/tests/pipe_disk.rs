//! A file whose reads stay with the kernel until a test lets them end.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use crate::{
    id::{FileId, PageSize},
    io::{
        file::{File, open_options::OpenOptions},
        storage::{BlockingFile, Opened, Storage},
        tests::support::stamped,
    },
    sync::Arc,
};

/// The bytes of the file, which are one page.
pub(in crate::io) const PAGE: u64 = 8192;

/// A disk whose one file is a pipe for a ring, whose reads wait until a test writes; plain reads do not wait.
#[derive(Clone, Debug)]
struct PipeDisk(Arc<io::PipeReader>);

impl Storage for PipeDisk {
    fn open(&self, _: &Path, _: &OpenOptions, _: PageSize) -> io::Result<Opened> {
        Ok(Opened::buffered(Box::new(self.clone()), (0, 0), PAGE))
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn may_remove(&self, _: &Path, _: (u64, u64)) -> io::Result<bool> {
        Ok(false)
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl BlockingFile for PipeDisk {
    fn read_at(&self, buffers: &mut [io::IoSliceMut<'_>], _: u64) -> io::Result<usize> {
        buffers[0].copy_from_slice(&stamped(PAGE as usize));
        Ok(PAGE as usize)
    }

    fn write_at(&self, _: &[io::IoSlice<'_>], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(PAGE)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

/// Opens the file. Returns it, and what ends its reads: bytes that are written there, or its drop.
pub(in crate::io) fn pipe_file(id: FileId) -> (Arc<File>, io::PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    let disk = PipeDisk(Arc::new(reader));
    let file = File::open(&disk, id, Path::new("pipe"), &OpenOptions::new(), PageSize::DEFAULT);
    (Arc::new(file.unwrap()), writer)
}
