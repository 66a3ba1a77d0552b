//! Of the copies of a page, in the database and in the log, tells the pool of those that are not needed.
//!
//! A transaction writes a page that it has changed to the log. Transactions that begin later read it there, and the database's copy
//! takes a frame for nothing; so does the log's former copy of that page. A checkpoint copies the last one back, and then the log needs none. So
//! a pool that is smaller than both files together holds each page once. All are hints: a transaction with an older view, which reads
//! another copy, has it read from the disk again.
//!
//! Entry points: [`FrameWrites`] for what is written to the log, [`LogCopies`] for the blocks of the log that are not needed.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
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
    /// Notes a write. Returns the block of the database that it is a copy of, where it is one; `page` is the size of its blocks.
    pub fn note(&mut self, bytes: &[u8], offset: u64, page: usize) -> Option<u32> {
        let number = self.number.take();
        if bytes.len() == FRAME_HEADER && offset >= LOG_HEADER {
            self.number = bytes.first_chunk().map(|number| u32::from_be_bytes(*number));
            return None;
        }
        number.filter(|_| bytes.len() == page)?.checked_sub(1)
    }
}

/// Which copies in the log of a database are not needed any more: those that a later frame replaces, and those that the checkpoint under way has
/// read.
#[derive(Debug, Default)]
pub struct LogCopies {
    is_checkpointed: AtomicBool,
    uses: Mutex<LogUse>,
}

#[derive(Debug, Default)]
struct LogUse {
    /// By block of the database: where in the log its last copy begins.
    last: HashMap<u32, u64>,
    /// Of each block of the log: how many bytes a later frame replaces.
    replaced: Vec<u32>,
    /// The same of those that the checkpoint under way has read.
    read: Vec<u32>,
}

impl LogCopies {
    /// Begins a checkpoint, or ends one.
    pub fn set_checkpointed(&self, is_under_way: bool) {
        self.uses().read.clear();
        self.is_checkpointed.store(is_under_way, Ordering::Release);
    }

    /// Returns whether a checkpoint is under way.
    #[inline]
    pub fn is_checkpointed(&self) -> bool {
        self.is_checkpointed.load(Ordering::Acquire)
    }

    /// Forgets all: the log is begun anew.
    pub fn begin_anew(&self) {
        *self.uses() = LogUse::default();
    }

    /// Notes that the copy of a block of the database was written at this place of the log. Returns where its former copy begins.
    pub fn note_written(&self, block: u32, offset: u64) -> Option<u64> {
        self.uses().last.insert(block, offset).filter(|&former| former != offset)
    }

    /// Notes that so many bytes of a block of the log are replaced. Returns whether it is not needed any more.
    pub fn note_replaced(&self, block: u32, bytes: usize, page: usize) -> bool {
        let mut uses = self.uses();
        add(&mut uses.replaced, block, bytes);
        uses.is_over(block, page)
    }

    /// Notes that the checkpoint has read so many bytes of a block of the log. Returns whether it is not needed any more.
    pub fn note_read(&self, block: u32, bytes: usize, page: usize) -> bool {
        let mut uses = self.uses();
        add(&mut uses.read, block, bytes);
        uses.is_over(block, page)
    }

    fn uses(&self) -> MutexGuard<'_, LogUse> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogUse {
    fn is_over(&self, block: u32, page: usize) -> bool {
        let of = |counts: &[u32]| counts.get(block as usize).map_or(0, |&bytes| bytes as usize);
        // Neither read nor replaced are the headers: of a frame, and of the log.
        of(&self.replaced) + of(&self.read) + FRAME_HEADER + LOG_HEADER as usize >= page
    }
}

fn add(counts: &mut Vec<u32>, block: u32, bytes: usize) {
    let at = block as usize;
    if counts.len() <= at {
        counts.resize(at + 1, 0);
    }
    counts[at] = counts[at].saturating_add(bytes as u32);
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
    fn a_block_of_the_log_is_not_needed_when_both_its_frames_are_read_or_replaced() {
        let log = LogCopies::default();
        log.set_checkpointed(true);
        assert!(log.is_checkpointed());
        assert!(!log.note_read(3, 1000, 4096));
        assert!(!log.note_read(4, 4000, 4096));
        assert!(log.note_read(3, 3072, 4096));
        assert!(!log.note_replaced(5, 1000, 4096));
        assert!(log.note_read(5, 3072, 4096), "one is read, and one replaced");
        log.set_checkpointed(false);
        assert!(!log.is_checkpointed() && !log.note_read(3, 1000, 4096), "what was read before is forgotten");
        assert!(log.note_replaced(5, 3072, 4096), "what is replaced stays so");
        log.begin_anew();
        assert!(!log.note_replaced(5, 3072, 4096));
    }

    #[test]
    fn a_copy_is_replaced_by_the_next_copy_of_the_same_page() {
        let log = LogCopies::default();
        assert_eq!((log.note_written(7, 56), log.note_written(8, 600)), (None, None));
        assert_eq!(log.note_written(7, 56), None, "written once more at its place");
        assert_eq!(log.note_written(7, 1200), Some(56));
        assert_eq!(log.note_written(7, 2400), Some(1200));
        log.begin_anew();
        assert_eq!(log.note_written(7, 56), None);
    }
}
