//! An open file: how long it is, whether it has writes that are not durable, and whether a sync of it ever failed.
//!
//! Invariants:
//! * Every block below `blocks` can be read: see [`size`](super::file::size).
//! * `unsynced` is true whenever a write has come back that no sync began after; and at first, since the process that wrote the
//!   file before may have been killed without a sync: what is read may be in the system's cache alone.
//! * A sync that failed poisons the file for good: the kernel may have dropped the dirty pages it could not write, so a
//!   later sync would report success for bytes that are gone.
//! * A file has one sync at a time, begun and ended by any thread: the call that waits for it, or the end of a request.
//!
//! Lock order: `size`, which is held across its I/O, and never taken by a transfer; then `growth`, which is short. The lock of the syncs is a
//! leaf, and not held across one.

pub(crate) mod atomic_writes;
pub(crate) mod growth;
pub(crate) mod open;
pub(crate) mod open_options;
pub(crate) mod plain_transfer;
pub(crate) mod read_budget;
pub(crate) mod size;

use std::{
    io,
    num::NonZeroU32,
    ops::{Deref, Range},
    path::Path,
};

use crate::{
    codec::PageCodec,
    error::{Error, IoOp, Result},
    events,
    id::{BlockNo, FileId, PageId, PageSize},
    io::{
        file::{growth::Growth, read_budget::ReadBudget},
        storage::{Opened, request::SyncRequest},
    },
    observe::{Counter, Counters, Measure, file_activity::FileActivity},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
        callback,
        on_drop::OnDrop,
        time::{self, Instant},
        turns::{Turn, Turns},
    },
};

#[derive(Debug)]
pub(crate) struct File {
    pub(crate) id: FileId,
    /// The path as it was given, for errors.
    pub(crate) path: Arc<Path>,
    pub(crate) opened: Opened,
    /// The pages of a transfer that its storage likes best; 0 where it has not said.
    pub(crate) best_pages: usize,
    pub(crate) page_size: PageSize,
    pub(crate) read_only: bool,
    /// Whether its folder is synced when it is opened for writing, and when it is removed.
    pub(crate) durable_name: bool,
    /// The engine's own number for the file, for the page codec.
    pub(crate) tag: u64,
    /// The codec that seals the pages that are added to it, and verifies those that are read.
    pub(crate) codec: Option<Arc<dyn PageCodec>>,
    pub(crate) keeps_lsn: bool,
    /// Whether pages of zeros are new ones, and not shown to the codec.
    pub(crate) sparse: bool,
    /// The most requests in flight, if the options say so. Then all of its requests go by one queue, and threads that transfer by
    /// themselves take [turns](Self::take_turn).
    pub(crate) max_in_flight: Option<NonZeroU32>,
    turns: Option<Turns>,
    pub(crate) activity: Box<FileActivity>,
    pub(crate) read_budget: ReadBudget,
    /// The length; a last block that is not whole counts.
    blocks: AtomicU32,
    /// No block from here on has a page that stays in the pool. Greater than the length only until a cut has succeeded or failed.
    pages_end: AtomicU32,
    unsynced: AtomicBool,
    closed: AtomicBool,
    sync: Mutex<SyncState>,
    sync_ended: Condvar,
    /// Held by the thread that changes the length on disk, or ends the file.
    pub(in crate::io) size: Mutex<()>,
    /// Held while `blocks` is written.
    pub(in crate::io) growth: Mutex<Growth>,
}

impl Deref for File {
    type Target = Opened;

    fn deref(&self) -> &Opened {
        &self.opened
    }
}

impl File {
    /// Returns the length in blocks, a last one that is not whole included.
    pub(crate) fn blocks(&self) -> u32 {
        self.blocks.load(Ordering::Acquire)
    }

    /// Returns how many pages one write may have, in a pool that combines so many unless the storage likes larger transfers.
    pub(crate) fn pages_a_write(&self, combine: usize) -> usize {
        // Pages that are written atomically are written one by one.
        if self.atomic_pages.is_ok() { 1 } else { combine.max(self.best_pages) }
    }

    /// Publishes another length. What is on disk is the part of [`size`](super::file::size). A thread that publishes a lesser
    /// one, and a thread that has mapped a page and now checks whether it is there, each need a fence to see what the other has
    /// done.
    pub(crate) fn set_blocks(&self, blocks: u32) {
        self.pages_end.fetch_max(blocks, Ordering::Relaxed);
        self.blocks.store(blocks, Ordering::Release);
    }

    /// Returns the range of blocks from `block` on that may have pages in the pool. It stays so while the caller holds the lock
    /// `size` and has published a lesser length or that the file is being closed.
    pub(crate) fn pages_from(&self, block: BlockNo) -> Range<u32> {
        block.0..self.pages_end.load(Ordering::Relaxed)
    }

    /// Waits until the calling thread may transfer by itself, if the file allows only so many at once.
    pub(crate) fn take_turn(&self) -> Option<Turn<'_>> {
        self.turns.as_ref().map(Turns::take)
    }

    pub(crate) fn has(&self, block: BlockNo) -> bool {
        block.0 < self.blocks()
    }

    /// Returns an error that says what is wrong where `block` does not lie within the file.
    pub(crate) fn check(&self, block: BlockNo) -> Result<()> {
        let blocks = self.blocks();
        if block.0 < blocks {
            Ok(())
        } else {
            Err(Error::PastEof { page: PageId::new(self.id, block), path: self.path.clone(), blocks })
        }
    }

    /// Publishes that the file takes no new pages any more; taken back when the returned value is dropped, unless it is kept. As with a lesser length, it takes a fence. The caller holds the lock `size`, so the length stays
    /// too.
    pub(crate) fn begin_closing(&self) -> OnDrop<impl FnOnce()> {
        // An extension that needs no lock of the size looks at this under its own lock.
        let _growth = self.growth.lock();
        self.closed.store(true, Ordering::Release);
        OnDrop::of(|| self.closed.store(seeded!("failed_close_not_undone"), Ordering::Release))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Returns an error unless a page may come into the pool: the file is open and has this block.
    pub(crate) fn check_open(&self, block: BlockNo) -> Result<()> {
        if self.is_closed() { Err(Error::NotOpen { file: self.id }) } else { self.check(block) }
    }

    /// Notes that a write has come back. Called before its frame stops counting as being written, so that a checkpoint which
    /// finds the frame clean finds the file unsynced.
    pub(crate) fn note_written(&self) {
        self.unsynced.store(!seeded!("write_not_noted"), Ordering::SeqCst);
    }

    /// Returns whether a sync would have something to do, or an error to report.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.unsynced.load(Ordering::SeqCst)
    }

    pub(in crate::io) fn poisoned_by(&self, source: &Arc<io::Error>) -> Error {
        Error::SyncPoisoned { file: self.id, path: self.path.clone(), source: Arc::clone(source) }
    }

    /// Makes the error where another file, which is open, has the tag of this one.
    pub(crate) fn tag_taken(&self, other: &Self) -> Error {
        let (path, open_path) = (self.path.clone(), other.path.clone());
        Error::TagTaken { path, tag: self.tag, file: other.id, open_path }
    }

    pub(crate) fn error(&self, op: IoOp, source: impl Into<Arc<io::Error>>) -> Error {
        Error::File { op, path: self.path.clone(), source: source.into() }
    }
}

/// The sync of a file that is under way, and what came of those before it.
#[derive(Debug, Default)]
struct SyncState {
    is_under_way: bool,
    /// The error of the first one that failed.
    poison: Option<Arc<io::Error>>,
}

impl File {
    fn wait_for_sync(&self) -> MutexGuard<'_, SyncState> {
        let mut state = self.sync.lock();
        while state.is_under_way {
            state = self.sync_ended.wait(state);
        }
        state
    }

    /// Returns the error of the sync that has failed, if one has by now.
    pub(crate) fn failed_sync(&self) -> Option<Arc<io::Error>> {
        self.sync.lock().poison.clone()
    }

    /// Returns the error that every sync gives since one failed. Waits for one that is under way.
    pub(crate) fn poison(&self) -> Option<Error> {
        self.wait_for_sync().poison.as_ref().map(|source| self.poisoned_by(source))
    }

    /// Makes every write durable that has come back by now. Returns whether there was any.
    pub(crate) fn sync(&self, counters: &Counters) -> Result<bool> {
        let Some(begun) = self.begin_sync(counters)? else { return Ok(false) };
        // The next sync waits for the end of this one.
        let panicked = |_| Err(io::Error::other("the sync has panicked"));
        let synced = callback::contained(|| self.disk.sync_data()).unwrap_or_else(panicked);
        self.end_sync(begun, synced, counters).map(|()| true)
    }

    /// Makes every write of an asynchronous file durable that has come back by now. The outcome is as of [`sync`](Self::sync), and `tell` is
    /// called with it by the thread that ends the request; it waits for none but another sync of the file.
    pub(crate) fn start_sync(
        self: &Arc<Self>,
        counters: &Arc<Counters>,
        tell: impl FnOnce(Result<bool>) + Send + 'static,
    ) {
        let begun = match self.begin_sync(counters) {
            Ok(Some(begun)) => begun,
            Ok(None) => return tell(Ok(false)),
            Err(error) => return tell(Err(error)),
        };
        let stored = self.asynchronous.as_deref().expect("an asynchronous file");
        let (file, counters) = (Arc::clone(self), Arc::clone(counters));
        let request = SyncRequest::new(Box::new(move |outcome| {
            tell(file.end_sync(begun, outcome.map(drop), &counters).map(|()| true));
        }));
        // A panic drops the request, or has left it with the file, which ends it all the same.
        let _ = callback::contained(|| stored.sync(request));
    }

    /// Begins a sync when no other is under way. Returns `None` if there is nothing to sync.
    fn begin_sync(&self, counters: &Counters) -> Result<Option<Instant>> {
        let mut state = self.wait_for_sync();
        if let Some(source) = &state.poison {
            return Err(self.poisoned_by(source));
        }
        // Cleared first: a write that comes back during the sync may not be covered by it and sets it again.
        if !self.unsynced.swap(false, Ordering::SeqCst) {
            return Ok(None);
        }
        state.is_under_way = true;
        drop(state);
        counters.add(Counter::Syncs, 1);
        Ok(Some(time::now()))
    }

    /// Ends it, and notes how long it took.
    fn end_sync(&self, begun: Instant, outcome: io::Result<()>, counters: &Counters) -> Result<()> {
        let took = time::now() - begun;
        counters.measures.add_time(Measure::Sync, took);
        self.activity.syncs.add(took.as_nanos() as u64);
        self.activity.note_failure(outcome.is_err());
        let outcome = outcome.map_err(Arc::new);
        let mut state = self.sync.lock();
        state.is_under_way = false;
        state.poison = outcome.as_ref().err().filter(|_| !seeded!("failed_sync_forgotten")).cloned();
        drop(state);
        self.sync_ended.notify_all();
        let outcome = outcome.map_err(|source| {
            counters.add(Counter::Failures, 1);
            self.error(IoOp::Sync, source)
        });
        let pool = &counters.pool;
        if counters.is_slow(took.as_nanos() as u64) {
            events::slow_io(pool, IoOp::Sync, self.id, &self.path, None, None, took);
        }
        if let Err(error) = &outcome {
            events::sync_failed(pool, self.id, &self.path, error);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tests::support::FakeDisk;

    #[test]
    fn a_file_is_synced_once_for_what_was_written() {
        let disk = FakeDisk::new(Vec::new());
        let file = disk.open_file(8192).unwrap();
        let counters = Counters::new();
        assert!(file.sync(&counters).unwrap(), "a process that had it open before may have been killed");
        assert!(!file.sync(&counters).unwrap());
        file.note_written();
        assert!(file.sync(&counters).unwrap());
        assert!(!file.sync(&counters).unwrap());
        assert_eq!((disk.syncs(), counters.get(Counter::Syncs)), (2, 2));
        assert_eq!(counters.measures.get(Measure::Sync).count(), 2);
    }

    #[test]
    fn a_failed_sync_poisons_the_file_for_good() {
        let disk = FakeDisk::new(Vec::new());
        let file = disk.open_file(8192).unwrap();
        let counters = Counters::new();
        file.note_written();
        disk.fail_next_sync(5);
        assert!(matches!(file.sync(&counters), Err(Error::File { op: IoOp::Sync, .. })));
        for _ in 0..2 {
            let error = file.sync(&counters).unwrap_err();
            assert!(matches!(error, Error::SyncPoisoned { .. }));
            assert_eq!(error.raw_os_error(), Some(5));
            file.note_written();
        }
        assert_eq!(disk.syncs(), 1, "a second sync would have reported success");
        assert!(disk.open_file(8192).unwrap().sync(&counters).is_ok());
    }
}
