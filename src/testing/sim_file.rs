//! A file that an engine keeps beside the pool.

use std::io::{self, IoSlice, IoSliceMut};

use super::open_file::OpenFile;
use crate::io::{
    buffers::Direction,
    storage::BlockingFile,
    transfer::{Progress, drive},
};

/// A file of a [`SimDisk`](super::SimDisk), for what an engine keeps beside the pool: its log. Made by
/// [`SimDisk::file`](super::SimDisk::file).
///
/// ```
/// use ringpool::testing::SimDisk;
///
/// let log = SimDisk::new().file("log");
/// assert!(log.is_empty());
/// log.write_all_at(b"one two", 0)?;
/// assert_eq!(log.write_at(b"ONE", 0)?, 3);
/// log.sync()?;
/// let mut word = [0; 3];
/// assert_eq!(log.read_at(&mut word, 4)?, 3);
/// assert_eq!(&word, b"two");
/// log.set_len(3)?;
/// assert_eq!((log.len(), log.read_all()?), (3, b"ONE".to_vec()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SimFile(pub(super) OpenFile);

impl SimFile {
    /// Reads bytes from `offset` on and returns how many were read; 0 at the end of the file. Example: [`SimFile`].
    ///
    /// # Errors
    /// What a [fault](super::Fault) says.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(&mut [IoSliceMut::new(bytes)], offset)
    }

    /// Writes bytes from `offset` on and returns how many were written. Example: [`SimFile`].
    ///
    /// # Errors
    /// What a [fault](super::Fault) says; `ENOSPC` where the disk is full.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(&[IoSlice::new(bytes)], offset)
    }

    /// Writes all bytes from `offset` on, by the same rule as the pool: what ends short is continued, what ends with `EINTR`,
    /// `EAGAIN` or `ECANCELED` is repeated, up to 32 times in a row. Example: [`SimFile`].
    ///
    /// # Errors
    /// Those of [`write_at`](Self::write_at); [`io::ErrorKind::WriteZero`] where the disk takes no byte and reports no error.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let progress = Progress::new(Direction::Write, bytes.len(), 1);
        drive(progress, None, |done| self.write_at(&bytes[done..], offset + done as u64)).map(drop)
    }

    /// Reads the whole file, by the same rule as [`write_all_at`](Self::write_all_at). Example: [`SimFile`].
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at).
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len() as usize];
        let progress = Progress::new(Direction::Read, bytes.len(), 1);
        let count = drive(progress, None, |done| self.read_at(&mut bytes[done..], done as u64))?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Makes what was written durable. Example: [`SimFile`].
    ///
    /// # Errors
    /// What a [fault](super::Fault) says. What was written may then be lost, although a later sync succeeds.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// Cuts the file, or adds zeros to it. Example: [`SimFile`].
    ///
    /// # Errors
    /// What a [fault](super::Fault) says; `ENOSPC` where the disk is full.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        BlockingFile::set_len(&self.0, len)
    }

    /// Returns the number of its bytes. Example: [`SimFile`].
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.bytes_now()
    }

    /// Returns whether it has no bytes. Example: [`SimFile`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
