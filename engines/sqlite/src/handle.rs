//! A file as one connection of SQLite has it: its lock level, the pages that it has borrowed, what it reads ahead.
//!
//! SQLite uses a connection in one thread at a time, so nothing here is locked; what connections share is in
//! [`OpenFile`](crate::vfs::OpenFile).

use std::sync::{Arc, MutexGuard, PoisonError, atomic::Ordering};

use crate::{
    copies::FrameWrites,
    error::{Call, Failure, Result},
    lend::Lent,
    locks::Level,
    read_ahead::ReadAhead,
    shm::{Held, WalIndex, Want},
    vfs::{Files, HowToOpen, Kind, OpenFile},
};

/// The most blocks that one connection reads ahead: 2 MiB at 4 KiB a page.
const READ_AHEAD: u32 = 512;

/// A file, for one connection.
#[derive(Debug)]
pub struct Handle {
    files: Arc<Files>,
    file: Arc<OpenFile>,
    /// The database that a log belongs to.
    database: Option<Arc<OpenFile>>,
    frame_writes: FrameWrites,
    writable: bool,
    level: Level,
    lent: Lent,
    read_ahead: ReadAhead,
    /// The locks on the WAL-index, from the first use of it on.
    index: Option<Held>,
    /// What `SQLITE_FCNTL_MMAP_SIZE` has set.
    pub mmap_limit: i64,
    /// What `SQLITE_FCNTL_PERSIST_WAL` has set.
    pub persist_wal: bool,
    /// The system's number of the last error.
    pub last_errno: i32,
}

impl Handle {
    /// Opens a file.
    ///
    /// # Errors
    /// Those of [`Files::open`].
    pub fn open(files: &Arc<Files>, path: &std::path::Path, how: HowToOpen) -> Result<Self> {
        let file = files.open(path, how)?;
        let frames = files.pool().frames();
        // A checkpoint reads the log in runs, and the pages that were written first may be out of the pool by then. Pages that were
        // not used yet have a tenth of the frames: of more than that, some would be out of the pool before SQLite asks for them.
        let ahead = if how.kind == Kind::Journal { 0 } else { READ_AHEAD.min(frames / 32) };
        Ok(Self {
            writable: how.writable && file.writable,
            files: Arc::clone(files),
            database: files.database_of(&file),
            frame_writes: FrameWrites::default(),
            file,
            level: Level::None,
            lent: Lent::new((frames / 8).clamp(1, 1024) as usize, frames),
            read_ahead: ReadAhead::new(ahead),
            index: None,
            mmap_limit: 0,
            persist_wal: false,
            last_errno: 0,
        })
    }

    /// Returns whether the file may be written.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Returns what the file is for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.file.kind
    }

    /// Returns whether the file's name leads to no file any more, or to another.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        self.files.has_moved(&self.file)
    }

    /// Returns the files of the VFS.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Returns the lock level.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Ends the use of the file: `xClose`.
    ///
    /// # Errors
    /// Those of [`Files::release`].
    pub fn close(mut self) -> Result<()> {
        self.lent = Lent::new(0, 0);
        self.leave_index();
        self.unlock(Level::None);
        self.files.release(&self.file)
    }

    /// Reads bytes: `xRead`. Returns how many there are; zeros are put behind them.
    ///
    /// # Errors
    /// Those of the pool's reads.
    pub fn read(&mut self, bytes: &mut [u8], offset: u64) -> Result<usize> {
        self.note_read(offset, bytes.len());
        let there = match self.file.bytes.read_at(bytes, offset) {
            // A journal that its writer has just removed has no bytes for a connection that looks whether it is hot.
            Err(_) if self.file.is_removed.load(Ordering::Acquire) => 0,
            there => there?,
        };
        bytes[there..].fill(0);
        if let Some(database) = self.database.as_ref().filter(|it| it.log_copies.is_checkpointed()) {
            self.file.bytes.not_needed_once(offset, there, |block, bytes, page| {
                database.log_copies.note_read(block, bytes, page)
            });
        }
        Ok(there)
    }

    /// Notes that a checkpoint begins or ends: `SQLITE_FCNTL_CKPT_START`, `SQLITE_FCNTL_CKPT_DONE`.
    pub fn set_copying(&mut self, is_under_way: bool) {
        self.file.log_copies.set_checkpointed(is_under_way);
    }

    /// Lends a page: `xFetch`. Returns its address; `None` if it cannot be lent, and is to be read instead.
    #[inline]
    pub fn fetch(&mut self, offset: u64, bytes: usize) -> Option<*const u8> {
        let (block, _) = self.file.bytes.place(offset);
        // Each page of a database has one length, so this one ends where it did.
        if let Some(page) = self.lent.lend_again(offset, block) {
            return Some(page.as_ptr());
        }
        if !self.lent.has_room() {
            return None;
        }
        self.note_read(offset, bytes);
        // A failure is reported by the read that SQLite tries next.
        let page = self.file.bytes.page_of(offset, bytes).ok()??;
        Some(self.lent.lend(offset, block, page))
    }

    /// Takes a page back: `xUnfetch`.
    #[inline]
    pub fn give_back(&mut self, offset: u64) {
        let was_lent = self.lent.give_back(offset, self.file.bytes.place(offset).0);
        debug_assert!(was_lent, "nothing was lent at {offset}");
    }

    #[inline]
    fn note_read(&mut self, offset: u64, bytes: usize) {
        let page = self.files.pool().page_size().bytes() as u64;
        let last = (offset + (bytes as u64).max(1) - 1) >> page.trailing_zeros();
        let file = &self.file.bytes;
        if let Some(blocks) = self.read_ahead.visit(last as u32, || file.blocks()) {
            file.prefetch(blocks);
        }
    }

    /// Writes bytes: `xWrite`.
    ///
    /// # Errors
    /// Those of [`BytesFile::write_at`](crate::bytes_file::BytesFile::write_at).
    pub fn write(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        self.check_writable()?;
        self.lent.release_kept();
        // A connection that has borrowed the page itself would wait for itself.
        if self.lent.has_any_of(offset, offset + bytes.len() as u64) {
            let page = self.files.pool().page_size().bytes() as u64;
            return Err(Failure::Lent { block: (offset / page) as u32 });
        }
        self.file.bytes.write_at(bytes, offset)?;
        if let Some(database) = &self.database {
            if offset == 0 {
                // The log is begun anew: its other pages are overwritten before they are read.
                self.file.bytes.not_needed(1..self.file.bytes.blocks());
                database.log_copies.begin_anew();
            }
            let page = self.files.pool().page_size().bytes();
            if let Some(block) = self.frame_writes.note(bytes, offset, page) {
                database.bytes.not_needed(block..block + 1);
                if let Some(former) = database.log_copies.note_written(block, offset) {
                    self.file.bytes.not_needed_once(former, page, |block, bytes, page| {
                        database.log_copies.note_replaced(block, bytes, page)
                    });
                }
            }
        }
        Ok(())
    }

    /// Sets the length: `xTruncate`.
    ///
    /// # Errors
    /// Those of the pool.
    pub fn set_len(&mut self, bytes: u64) -> Result<()> {
        self.check_writable()?;
        self.lent.release_kept();
        self.file.bytes.set_len(bytes)
    }

    fn check_writable(&self) -> Result<()> {
        if self.writable { Ok(()) } else { Err(Failure::ReadOnly) }
    }

    /// Makes durable what was written: `xSync`.
    ///
    /// # Errors
    /// Those of [`Files::sync`].
    pub fn sync(&mut self) -> Result<()> {
        if self.writable { self.files.sync(&self.file) } else { Ok(()) }
    }

    /// Returns the length in bytes: `xFileSize`.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.file.bytes.len()
    }

    /// Returns whether the file has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // ---- locks ------------------------------------------------------------------------------------------------------

    /// Raises the lock level: `xLock`.
    ///
    /// # Errors
    /// [`Failure::Busy`].
    pub fn lock(&mut self, to: Level) -> Result<()> {
        let mut table = self.file.locks.lock().unwrap_or_else(PoisonError::into_inner);
        self.level = table.raise(self.level, to);
        if self.level >= to { Ok(()) } else { Err(Failure::Busy) }
    }

    /// Lowers the lock level: `xUnlock`.
    pub fn unlock(&mut self, to: Level) {
        self.lent.release_kept();
        let mut table = self.file.locks.lock().unwrap_or_else(PoisonError::into_inner);
        self.level = table.lower(self.level, to);
    }

    /// Returns whether a connection prepares a change: `xCheckReservedLock`.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.file.locks.lock().unwrap_or_else(PoisonError::into_inner).is_reserved()
    }

    // ---- the WAL-index ----------------------------------------------------------------------------------------------

    fn wal_index(&self) -> MutexGuard<'_, WalIndex> {
        self.file.wal_index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the address of a region of the index: `xShmMap`.
    pub fn index_region(&mut self, number: usize, bytes: usize, add: bool) -> Option<*mut u8> {
        if self.index.is_none() {
            self.wal_index().join();
            self.index = Some(Held::default());
        }
        self.wal_index().region(number, bytes, add)
    }

    /// Takes or releases locks of the index: `xShmLock`. `want` is `None` to release them.
    ///
    /// # Errors
    /// [`Failure::Busy`].
    pub fn index_lock(&mut self, first: usize, count: usize, want: Option<Want>) -> Result<()> {
        let held = self.index.unwrap_or_default();
        let now = match want {
            Some(want) => self.wal_index().lock(held, first, count, want).ok_or(Failure::Busy)?,
            None => {
                // The end of a transaction that reads, or that writes.
                self.lent.release_kept();
                self.wal_index().unlock(held, first, count)
            }
        };
        self.index = Some(now);
        Ok(())
    }

    /// Orders the accesses to the index before this call before those after it: `xShmBarrier`.
    pub fn index_barrier(&self) {
        std::sync::atomic::fence(Ordering::SeqCst);
        drop(self.wal_index());
    }

    /// Ends the use of the index: `xShmUnmap`.
    pub fn leave_index(&mut self) {
        self.lent.release_kept();
        if let Some(held) = self.index.take() {
            self.wal_index().leave(held);
        }
    }

    /// Notes a failure, and returns its code for SQLite.
    pub fn fail(&mut self, failure: &Failure, call: Call) -> i32 {
        self.last_errno = failure.errno();
        failure.code(call)
    }
}
