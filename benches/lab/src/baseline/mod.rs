//! The baselines with which every figure is compared: the [bare ring](ring) and [plain calls](plain), both without any part of a
//! buffer pool.
//!
//! Both take the files already open, so the caller decides between `O_DIRECT` and the page cache, and the list of
//! [places](crate::places) that all arms share. Neither ever writes unless it is asked to.

mod kernel;
pub mod plain;
pub mod ring;
mod script;

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use crate::Place;

/// What ends a run of writes, inside the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The last completion.
    Written,
    /// One `fdatasync` a file after the last completion.
    Synced,
}

impl Ending {
    fn carry_out(self, files: &[File]) -> io::Result<()> {
        match self {
            Self::Written => Ok(()),
            Self::Synced => files.iter().try_for_each(File::sync_data),
        }
    }
}

/// Returns the length of each file, found by seeking, which works for block devices too.
///
/// # Errors
///
/// If a file cannot be sought.
pub fn lengths(files: &[File]) -> io::Result<Vec<u64>> {
    files.iter().map(|mut file| file.seek(SeekFrom::End(0))).collect()
}

/// Returns how many bytes a read of `request_size` at `place` must bring; less than that at the end of the file.
fn readable(lengths: &[u64], place: Place, page_size: u32, request_size: u32) -> io::Result<usize> {
    let left = lengths[place.file as usize].saturating_sub(place.offset(page_size));
    match left.min(u64::from(request_size)) {
        0 => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{place:?} is past the end of its file"),
        )),
        readable => Ok(readable as usize),
    }
}
