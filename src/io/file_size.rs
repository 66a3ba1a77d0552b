//! Growing and cutting a file on disk.
//!
//! A [`SizeLock`] is the right to do so; while one exists, the length of its file has one author. Invariants: a block is
//! published only when it is zeroed on disk, so that no transfer ever has to turn unwritten space into written space
//! (which file systems do slowly, and one at a time); an extension that fails leaves no block behind.

use std::io::{self, IoSlice};

use crate::{
    error::{IoOp, Result},
    io::{
        file::File,
        request::Direction,
        transfer::{self, Progress},
        zeros::AlignedZeros,
    },
    stats::Counters,
    sync::MutexGuard,
};

/// The most zeros that are written at once.
const PIECE: usize = 1 << 20;

/// The lock `size` of one file.
#[derive(Debug)]
pub(crate) struct SizeLock<'a> {
    file: &'a File,
    _held: MutexGuard<'a, ()>,
}

impl<'a> SizeLock<'a> {
    pub(in crate::io) fn new(file: &'a File) -> Self {
        Self { file, _held: file.size.lock() }
    }

    /// Makes the file `blocks` long, if it is shorter: space is reserved, zeroed, and only then published.
    pub(crate) fn grow(&self, blocks: u32, counters: &Counters) -> Result<()> {
        let file = self.file;
        if blocks <= file.blocks() {
            return Ok(());
        }
        // From the first whole new block on: nothing below is written, because its frames may be on their way out.
        let from = self.bytes(file.blocks());
        let to = self.bytes(blocks);
        let grown = self.make_room(from, to).and_then(|()| self.write_zeros(from, to, counters));
        // Even a failed one may have changed the length.
        file.note_written();
        if let Err(error) = grown {
            // Not to an odd length that it may have had before: the last block may have been written in full meanwhile.
            // If this fails too, the blocks are on disk but not in the pool, and the next extension zeroes them again.
            let _ = file.disk.set_len(from);
            return Err(file.error(IoOp::Extend, error));
        }
        file.set_blocks(blocks);
        Ok(())
    }

    /// Cuts the file to `blocks` on disk. The caller has published the new length before, and seen to the frames.
    pub(crate) fn cut(&self, blocks: u32) -> Result<()> {
        let cut = self.file.disk.set_len(self.bytes(blocks));
        self.file.note_written();
        cut.map_err(|error| self.file.error(IoOp::Truncate, error))
    }

    fn bytes(&self, blocks: u32) -> u64 {
        u64::from(blocks) * self.file.page_size.bytes() as u64
    }

    /// Has the file system find the space, or say that there is none. It completes a last block that is not whole with
    /// zeros itself, as it does for anything that begins behind the end.
    fn make_room(&self, from: u64, to: u64) -> io::Result<()> {
        match self.file.disk.allocate(from, to - from) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            other => other,
        }
    }

    fn write_zeros(&self, from: u64, to: u64, counters: &Counters) -> io::Result<()> {
        let file = self.file;
        let zeros = AlignedZeros::new(PIECE.min((to - from) as usize), file.page_size.bytes().max(4096));
        let mut at = from;
        while at < to {
            let piece = zeros.as_slice().len().min((to - at) as usize);
            let progress = Progress::new(Direction::Write, piece, file.offset_align);
            transfer::drive(progress, counters, |done| {
                file.disk.write_at(&[IoSlice::new(&zeros.as_slice()[done..piece])], at + done as u64)
            })?;
            at += piece as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Fallback, OpenOptions},
        error::Error,
        io::testing::{FakeDisk, os_file},
    };

    const PAGE: usize = 8192;

    #[test]
    fn growing_zeroes_and_keeps_what_was_there() {
        for direct in [Fallback::Off, Fallback::Prefer] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let old: Vec<u8> = (0..PAGE + 1808).map(|at| (at % 251) as u8 + 1).collect();
            std::fs::write(file.path(), &old).unwrap();
            let open = os_file(file.path(), &OpenOptions::new().direct(direct)).unwrap();
            assert_eq!(open.blocks(), 2);
            // More than one piece, and not a multiple of it.
            open.lock_size().grow(2 + 301, &Counters::new()).unwrap();
            open.lock_size().grow(7, &Counters::new()).unwrap();
            assert_eq!(open.blocks(), 303);
            let bytes = std::fs::read(file.path()).unwrap();
            assert_eq!(bytes.len(), 303 * PAGE);
            assert_eq!(bytes[..old.len()], old);
            assert!(bytes[old.len()..].iter().all(|&byte| byte == 0));
            assert!(open.sync(&Counters::new()).unwrap(), "the new length is not durable yet");
        }
    }

    #[test]
    fn growing_by_short_writes_zeroes_all_the_same() {
        let disk = FakeDisk::new(vec![7; 2 * PAGE]);
        let file = disk.open_file(PAGE as u32).unwrap();
        disk.transfer_at_most([100, 5000, 3].repeat(3));
        file.lock_size().grow(5, &Counters::new()).unwrap();
        let bytes = disk.bytes();
        assert_eq!(bytes.len(), 5 * PAGE);
        assert!(
            bytes[..2 * PAGE].iter().all(|&byte| byte == 7)
                && bytes[2 * PAGE..].iter().all(|&byte| byte == 0)
        );
    }

    #[test]
    fn an_extension_that_fails_leaves_no_block_behind() {
        let disk = FakeDisk::new(vec![7; 2 * PAGE]);
        let file = disk.open_file(PAGE as u32).unwrap();
        // Once the first piece is on disk.
        disk.fail_write(1, 28);
        let error = file.lock_size().grow(200, &Counters::new()).unwrap_err();
        assert!(matches!(error, Error::File { op: IoOp::Extend, .. }));
        assert_eq!(error.raw_os_error(), Some(28));
        assert_eq!((file.blocks(), disk.bytes().len()), (2, 2 * PAGE));
        file.lock_size().grow(5, &Counters::new()).unwrap();
        assert_eq!(disk.bytes().len(), 5 * PAGE);
    }

    #[test]
    fn cutting_is_left_to_be_synced() {
        let disk = FakeDisk::new(vec![7; 3 * PAGE]);
        let file = disk.open_file(PAGE as u32).unwrap();
        file.set_blocks(1);
        file.lock_size().cut(1).unwrap();
        assert_eq!(disk.bytes().len(), PAGE);
        assert!(file.sync(&Counters::new()).unwrap());
    }
}
