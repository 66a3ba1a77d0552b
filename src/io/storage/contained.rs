//! Calls into a storage of the engine's: a panic there is an error of the call (C10), since the thread that calls may serve others.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::BorrowedFd,
    path::Path,
};

use super::{BlockingFile, Opened, Storage};
use crate::{PageSize, io::file::open_options::OpenOptions, sync::callback};

/// A storage, or a file of one, whose panics are errors.
#[derive(Debug)]
pub(crate) struct Contained<T>(pub(crate) T);

fn call<T>(body: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    callback::contained(body).unwrap_or_else(|_| Err(io::Error::other("the storage has panicked")))
}

impl<S: Storage> Storage for Contained<S> {
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
        call(|| self.0.open(path, options, page_size))
    }

    fn sync_folder(&self, name: &Path) -> io::Result<()> {
        call(|| self.0.sync_folder(name))
    }

    fn may_remove(&self, name: &Path, identity: (u64, u64)) -> io::Result<bool> {
        call(|| self.0.may_remove(name, identity))
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        call(|| self.0.remove(name))
    }
}

impl<F: BlockingFile> BlockingFile for Contained<F> {
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        call(|| self.0.read_at(buffers, offset))
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        call(|| self.0.write_at(buffers, offset))
    }

    fn write_atomically_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        call(|| self.0.write_atomically_at(buffers, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        if seeded!("panic_of_a_sync_goes_on") { self.0.sync_data() } else { call(|| self.0.sync_data()) }
    }

    fn len(&self) -> io::Result<u64> {
        call(|| self.0.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        call(|| self.0.set_len(len))
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        call(|| self.0.allocate(offset, len))
    }

    fn unlock(&self) {
        let _ = callback::contained(|| self.0.unlock());
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.descriptor()
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        BufferPool, CheckpointOptions, Error, IoMethod, OpenOptions, PageId, io::tests::support::FakeDisk,
    };

    #[test]
    fn c4_a_sync_that_panics_has_failed_for_good() {
        let disk = FakeDisk::stamped(8 * 512);
        let builder = BufferPool::builder().frames(8).page_size(512).io_method(IoMethod::Sync);
        let pool = builder.storage(disk.clone()).build().unwrap();
        let file = pool.open_file("data", OpenOptions::new().durable_name(false)).unwrap();
        pool.write(PageId::new(file, 1)).wait().unwrap()[0] = 1;
        disk.panic_in_sync();
        let checkpoint = || pool.checkpoint(CheckpointOptions::new()).wait();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(checkpoint));
        assert!(matches!(panicked, Ok(Err(_))), "an error, and not the caller's panic");
        assert!(matches!(pool.sync_file(file).wait(), Err(Error::SyncPoisoned { .. })));
        assert!(checkpoint().is_err());
    }
}
