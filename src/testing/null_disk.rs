//! A disk that does nothing, for measuring what everything else costs.

use std::{
    io::{self, IoSlice, IoSliceMut},
    path::Path,
};

use super::sim_disk::SECTOR;
use crate::{
    id::PageSize,
    io::{
        file::open_options::OpenOptions,
        storage::{BlockingFile, Opened, Storage},
    },
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A disk whose files answer at once and never touch a byte: for measuring the pool's own cost, and for nothing else.
///
/// **Its pages have undefined contents.** A read leaves in the frame what was there before; a write is forgotten. There is a file
/// of the same length at every path, a new one each time that it is opened. Every I/O method works; with
/// [`IoMethod::Sync`](crate::IoMethod::Sync) a transfer costs no more than a few function calls.
///
/// ```
/// use ringpool::{BufferPool, OpenOptions, testing::NullDisk};
///
/// let pool = BufferPool::builder().frames(16).storage(NullDisk::new(1 << 40)).build()?;
/// let file = pool.open_file("of a terabyte", OpenOptions::new())?;
/// assert_eq!(pool.blocks(file)?, 1 << 27);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct NullDisk {
    file_bytes: u64,
    opened: Arc<AtomicU64>,
}

impl NullDisk {
    /// Makes a disk on which every file has `file_bytes` bytes when it is opened. They take no memory. Example: [`NullDisk`].
    #[must_use]
    pub fn new(file_bytes: u64) -> Self {
        Self { file_bytes, opened: Arc::new(AtomicU64::new(0)) }
    }
}

impl Storage for NullDisk {
    fn open(&self, path: &Path, _: &OpenOptions, _: PageSize) -> io::Result<Opened> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let file = Box::new(NullFile { bytes: AtomicU64::new(self.file_bytes) });
        let opened = Opened::buffered(file, (0, number), self.file_bytes);
        Ok(Opened { name: Some(path.to_owned()), offset_align: SECTOR, direct: Ok(()), ..opened })
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct NullFile {
    bytes: AtomicU64,
}

impl NullFile {
    fn grow(&self, end: u64) {
        self.bytes.fetch_max(end, Ordering::Relaxed);
    }
}

impl BlockingFile for NullFile {
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let wanted: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let there = self.bytes.load(Ordering::Relaxed).saturating_sub(offset);
        Ok(wanted.min(usize::try_from(there).unwrap_or(usize::MAX)))
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let bytes = buffers.iter().map(|buffer| buffer.len()).sum();
        self.grow(offset + bytes as u64);
        Ok(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.load(Ordering::Relaxed))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.grow(offset + len);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::{BufferPool, CheckpointOptions, Error, IoMethod, PageId, Result};

    const BLOCKS: u32 = 100;

    fn pool(method: IoMethod, frames: u32) -> Result<BufferPool> {
        let disk = NullDisk::new(u64::from(BLOCKS) * 4096);
        BufferPool::builder().frames(frames).page_size(4096).io_method(method).storage(disk).build()
    }

    #[test]
    fn every_page_is_read_at_once_and_no_byte_of_it() {
        let pool = pool(IoMethod::Sync, 1).unwrap();
        let file = pool.open_file("anything", OpenOptions::new()).unwrap();
        pool.fetch(PageId::new(file, 0)).wait().unwrap().write().unwrap().fill(7);
        pool.checkpoint(CheckpointOptions::new()).wait().unwrap();
        for block in 1..BLOCKS {
            let page = pool.fetch(PageId::new(file, block)).wait().unwrap();
            assert!(page.read().iter().all(|&byte| byte == 7), "the frame was touched");
        }
        assert!(matches!(pool.fetch(PageId::new(file, BLOCKS)).wait(), Err(Error::PastEof { .. })));
        assert_eq!(pool.stats().counts.pages_read, u64::from(BLOCKS));
    }

    #[test]
    fn files_are_as_long_as_they_were_made_and_each_is_its_own() {
        for method in [IoMethod::Auto, IoMethod::worker(), IoMethod::Sync] {
            let pool = pool(method, 8).unwrap();
            let [one, other] = [(); 2].map(|()| pool.open_file("same", OpenOptions::new()).unwrap());
            pool.extend(one, NonZeroU32::new(5).unwrap()).wait().unwrap();
            pool.truncate(other, 3).wait().unwrap();
            assert_eq!((pool.blocks(one).unwrap(), pool.blocks(other).unwrap()), (BLOCKS + 5, 3));
            pool.fetch(PageId::new(one, BLOCKS + 4)).wait().unwrap();
            assert!(pool.fetch(PageId::new(other, 3)).wait().is_err());
        }
    }
}
