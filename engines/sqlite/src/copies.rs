//! Of the two copies of a page, in the database and in the log, tells the pool of the one that is not needed.
//!
//! A transaction writes a page that it has changed to the log. Transactions that begin later read it there, and the database's copy
//! takes a frame for nothing. A checkpoint copies the page back, and then the log's copy does. So a pool that is smaller than both
//! files together holds each page once. Both are hints: a transaction with an older view, which reads the other copy, has it read
//! from the disk again.
//!
//! Entry points: [`FrameWrites`] for what is written to the log, [`Copying`] for what a checkpoint reads there.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// The bytes of the log's header.
const LOG_HEADER: u64 = 32;
/// The bytes of the header of a frame of the log, which begins with the number of the page.
const FRAME_HEADER: usize = 24;

/// Follows the writes of one connection to the log: the header of a frame, then its page.
#[derive(Debug, Default)]
pub struct FrameWrites {
    number: Option<u32>,
}

impl FrameWrites {
    /// Notes a write. Returns the block of the database whose copy is not needed any more; `page` is the size of its blocks.
    pub fn note(&mut self, bytes: &[u8], offset: u64, page: usize) -> Option<u32> {
        let number = self.number.take();
        if bytes.len() == FRAME_HEADER && offset >= LOG_HEADER {
            self.number = bytes.first_chunk().map(|number| u32::from_be_bytes(*number));
            return None;
        }
        number.filter(|_| bytes.len() == page)?.checked_sub(1)
    }
}

/// What a checkpoint that is under way has read from the log.
#[derive(Debug, Default)]
pub struct Copying {
    is_under_way: AtomicBool,
    /// How many bytes of each block.
    read: Mutex<Vec<u32>>,
}

impl Copying {
    /// Begins a checkpoint, or ends one.
    pub fn set(&self, is_under_way: bool) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.is_under_way.store(is_under_way, Ordering::Release);
    }

    /// Returns whether a checkpoint is under way.
    #[inline]
    pub fn is_under_way(&self) -> bool {
        self.is_under_way.load(Ordering::Acquire)
    }

    /// Notes that so many bytes of a block were read. Returns whether all pages that it has a part of are copied by now.
    pub fn note(&self, block: u32, bytes: usize, page: usize) -> bool {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let at = block as usize;
        if read.len() <= at {
            read.resize(at + 1, 0);
        }
        read[at] = read[at].saturating_add(bytes as u32);
        // Not read are the headers: of a frame, and of the log.
        read[at] as usize + FRAME_HEADER + LOG_HEADER as usize >= page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_written_to_the_log_is_not_needed_in_the_database() {
        let mut writes = FrameWrites::default();
        let header = |number: u32| [&number.to_be_bytes()[..], &[9; 20]].concat();
        assert_eq!(writes.note(&[1; 32], 0, 512), None, "the log's header");
        assert_eq!(writes.note(&header(7), 32, 512), None);
        assert_eq!(writes.note(&[2; 512], 56, 512), Some(6));
        assert_eq!(writes.note(&[2; 512], 56, 512), None, "without a header");
        writes.note(&header(7), 32, 512);
        assert_eq!(writes.note(&[2; 1024], 56, 512), None, "blocks of another size");
    }

    #[test]
    fn a_block_of_the_log_is_copied_when_the_parts_of_both_its_frames_are_read() {
        let copying = Copying::default();
        copying.set(true);
        assert!(copying.is_under_way());
        assert!(!copying.note(3, 1000, 4096));
        assert!(!copying.note(4, 4000, 4096));
        assert!(copying.note(3, 3072, 4096));
        copying.set(false);
        assert!(!copying.is_under_way() && !copying.note(3, 1000, 4096), "what was read before is forgotten");
    }
}
