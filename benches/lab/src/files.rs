//! Files to measure on: stamped or zeros, fully written, synced, out of the page cache, and removed at the end.
//!
//! A file with blocks that were allocated but never written is read without touching the device, and its first writes pay
//! for a conversion. So every block is written before any clock starts.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags, fadvise, statvfs};
use tempfile::NamedTempFile;

use crate::Result;
use crate::stamp::stamp;

/// How much is written between two calls of the progress function.
const CHUNK: usize = 1 << 20;
const MIB: u64 = 1 << 20;

/// A file that is removed when this value is dropped.
#[derive(Debug)]
pub struct TestFile {
    file: NamedTempFile,
    page_size: u32,
    blocks: u32,
}

impl TestFile {
    /// Writes a file of `blocks` stamped pages (see [`stamp`](crate::stamp)), version 0 everywhere, into the folder `dir`, and
    /// calls `progress` with the number of bytes that have been written.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] where the disk is too small; any error of the file system.
    pub fn create(
        dir: &Path,
        page_size: u32,
        blocks: u32,
        seed: u64,
        progress: impl FnMut(u64),
    ) -> Result<Self> {
        Self::filled(dir, page_size, blocks, |block, page| stamp(page, seed, block, 0), progress)
    }

    /// Makes files of the same size with zeros in all pages, as pages are that were never sealed.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] where the disk is too small; any error of the file system.
    pub fn zeroed(dir: &Path, page_size: u32, blocks: u32, progress: impl FnMut(u64)) -> Result<Self> {
        Self::filled(dir, page_size, blocks, |_, page| page.fill(0), progress)
    }

    fn filled(
        dir: &Path,
        page_size: u32,
        blocks: u32,
        fill: impl Fn(u32, &mut [u8]),
        mut progress: impl FnMut(u64),
    ) -> Result<Self> {
        let bytes = u64::from(blocks) * u64::from(page_size);
        check_room(dir, bytes)?;
        let mut file = tempfile::Builder::new().prefix("ringpool-").suffix(".pages").tempfile_in(dir)?;
        let blocks_a_chunk = (CHUNK / page_size as usize).max(1) as u32;
        let mut chunk = vec![0; (blocks_a_chunk * page_size) as usize];
        for first in (0..blocks).step_by(blocks_a_chunk as usize) {
            let count = blocks_a_chunk.min(blocks - first);
            let chunk = &mut chunk[..(count * page_size) as usize];
            for (block, page) in (first..).zip(chunk.chunks_mut(page_size as usize)) {
                fill(block, page);
            }
            file.write_all(chunk)?;
            progress(u64::from(first + count) * u64::from(page_size));
        }
        file.as_file().sync_all()?;
        drop_cache(file.as_file())?;
        Ok(Self { file, page_size, blocks })
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the size of a page in bytes.
    #[must_use]
    pub fn page_size(&self) -> u32 {
        self.page_size
    }

    /// Returns how many pages it has.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.blocks
    }
}

/// How to open a file for a baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Past the page cache (`O_DIRECT`).
    pub direct: bool,
    /// For writing too.
    pub write: bool,
}

/// Opens `path`. Never creates it and never writes to it, whatever the access.
///
/// # Errors
///
/// If it cannot be opened so; where it is direct access that is refused, the message says so.
pub fn open(path: &Path, access: Access) -> io::Result<File> {
    let flags = if access.direct { OFlags::DIRECT.bits() as i32 } else { 0 };
    OpenOptions::new().read(true).write(access.write).custom_flags(flags).open(path).map_err(|error| {
        let refused = access.direct && error.kind() == io::ErrorKind::InvalidInput;
        let why = if refused { " (its file system has no direct I/O)" } else { "" };
        io::Error::new(error.kind(), format!("cannot open {}: {error}{why}", path.display()))
    })
}

/// Takes the clean pages of `file` out of the page cache, so that buffered reads reach the device.
///
/// # Errors
///
/// If the file system refuses.
pub fn drop_cache(file: &File) -> io::Result<()> {
    fadvise(file, 0, None, Advice::DontNeed).map_err(io::Error::from)
}

/// There is not enough room for a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("needs {needs} MiB in {}, {free} MiB free: choose a smaller --size or another --dir", dir.display())]
pub struct NoRoom {
    dir: PathBuf,
    needs: u64,
    free: u64,
}

fn check_room(dir: &Path, bytes: u64) -> Result<()> {
    let found = statvfs(dir).map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("cannot use {}: {error}", dir.display()))
    })?;
    let free = found.f_bavail * found.f_frsize;
    if bytes <= free {
        return Ok(());
    }
    Err(NoRoom { dir: dir.to_owned(), needs: bytes.div_ceil(MIB), free: free / MIB }.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::stamp::check;

    #[test]
    fn a_test_file_is_stamped_throughout_and_goes_away() {
        let dir = tempfile::tempdir().unwrap();
        let mut written = 0;
        let file = TestFile::create(dir.path(), 8192, 200, 42, |bytes| written = bytes).unwrap();
        assert_eq!(written, 200 * 8192);
        let opened = open(file.path(), Access { direct: false, write: false }).unwrap();
        let mut page = [0; 8192];
        for block in 0..200 {
            opened.read_exact_at(&mut page, u64::from(block) * 8192).unwrap();
            assert_eq!(check(&page, 42, block), Ok(0));
        }
        let path = file.path().to_owned();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_of_zeros_is_written_throughout() {
        let dir = tempfile::tempdir().unwrap();
        let file = TestFile::zeroed(dir.path(), 8192, 200, |_| ()).unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!((bytes.len(), bytes.iter().all(|&byte| byte == 0)), (200 * 8192, true));
    }

    #[test]
    fn a_disk_that_is_too_small_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = TestFile::create(dir.path(), 65536, u32::MAX, 0, |_| ()).unwrap_err();
        let NoRoom { needs, .. } = error.downcast_ref().unwrap();
        assert_eq!(*needs, 268_435_456);
        assert!(error.to_string().contains("MiB free: choose a smaller --size"), "{error}");
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }
}
