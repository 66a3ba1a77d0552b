//! A file that an engine keeps beside the pool.

use std::io::{self, IoSlice, IoSliceMut};

use super::open_file::OpenFile;
use crate::io::disk::DiskFile;

/// A file of a [`SimDisk`](super::SimDisk), for what an engine keeps beside the pool: its log. Made by
/// [`SimDisk::file`](super::SimDisk::file).
#[derive(Debug)]
pub struct SimFile(OpenFile);

impl SimFile {
    pub(super) fn new(file: OpenFile) -> Self {
        Self(file)
    }

    /// Reads bytes from `offset` on and gives how many came; 0 at the end of the file.
    ///
    /// # Errors
    /// What a [fault](super::Fault) says.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(&mut [IoSliceMut::new(bytes)], offset)
    }

    /// Writes bytes from `offset` on and gives how many went.
    ///
    /// # Errors
    /// What a [fault](super::Fault) says; `ENOSPC` where the disk is full.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(&[IoSlice::new(bytes)], offset)
    }

    /// Writes all bytes from `offset` on, however often the disk stops short or is interrupted.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(count) => (bytes, offset) = (&bytes[count..], offset + count as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads the whole file.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len() as usize];
        let mut done = 0;
        while done < bytes.len() {
            match self.read_at(&mut bytes[done..], done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// What a [fault](super::Fault) says. What was written may then be lost, although a later sync succeeds.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// Cuts the file, or adds zeros to it.
    ///
    /// # Errors
    /// What a [fault](super::Fault) says; `ENOSPC` where the disk is full.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        DiskFile::set_len(&self.0, len)
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.bytes_now()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
