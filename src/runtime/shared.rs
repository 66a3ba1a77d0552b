//! The parts that every operation needs, in one place. No logic of its own.

use std::mem;

use crate::{
    buffer::residency::Residency,
    error::{Error, Result},
    events,
    id::FileId,
    io::{doublewrite::DoubleWrite, file::File, method::Method, report::MethodReport, storage::Storage},
    observe::{Counter, Counters},
    runtime::{
        config::Config,
        file_table::FileTable,
        jobs::JobPool,
        operation::{PageLease, PageOperations},
        removals::Removals,
    },
    sync::{
        Arc,
        pool_end::{EndStage, PoolEnd},
        turns::Turns,
        uncontrolled::Ordering,
    },
};

/// What the clones of a [`BufferPool`](crate::BufferPool) and its pending operations share.
///
/// The order of the fields is the order in which they are dropped: the method first finishes what is in flight.
pub(crate) struct Shared {
    pub(crate) method: Arc<dyn Method<PageLease>>,
    pub(crate) pool: Arc<Residency>,
    pub(crate) files: FileTable,
    pub(crate) removals: Removals,
    pub(crate) storage: Box<dyn Storage>,
    pub(crate) doublewrite: Option<DoubleWrite>,
    pub(crate) jobs: Arc<JobPool>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) operations: Arc<PageOperations>,
    pub(crate) config: Config,
    pub(crate) method_report: MethodReport,
    /// Checkpoints are taken one at a time.
    pub(crate) checkpoints: Turns,
    /// So are changes of the pool's size.
    pub(crate) resizes: Turns,
    pub(crate) end: Arc<PoolEnd>,
}

impl Shared {
    /// Returns an error if the pool was shut down, or belongs to another process: pinned pages can be used, but nothing is read or
    /// written.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.check_process()?;
        if self.has_ended() { Err(Error::ShutDown) } else { Ok(()) }
    }

    /// Returns an error if the pool belongs to another process than the calling one.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.pool.process.check()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.has_reached(EndStage::ShutDown)
    }

    /// Counts pages of a file that were not resident, as misses, joins or prefetches: for the pool, and for the file.
    pub(crate) fn count_for(&self, file: FileId, counter: Counter, pages: u64) {
        if pages == 0 {
            return;
        }
        match self.files.for_write_out(file) {
            Some(file) => self.count_for_file(&file, counter, pages),
            // A file that was closed meanwhile has no counts any more.
            None => self.counters.add(counter, pages),
        }
    }

    /// Counts pages of `file` that were not resident, as misses, joins or prefetches: for the pool, and for the file.
    pub(crate) fn count_for_file(&self, file: &File, counter: Counter, pages: u64) {
        self.counters.add(counter, pages);
        let of_file = match counter {
            Counter::Misses => &file.activity.misses,
            Counter::Joins => &file.activity.joins,
            Counter::Prefetches => &file.activity.prefetches,
            _ => return,
        };
        of_file.fetch_add(pages, Ordering::Relaxed);
    }

    pub(crate) fn dirty_pages(&self) -> u64 {
        self.pool.frames.iter().filter(|(_, frame)| frame.state.load().is_dirty()).count() as u64
    }
}

impl Drop for Shared {
    /// Finishes what is in flight, since the kernel may still write into the frames, and reports what is lost.
    ///
    /// In a forked process nothing is in flight. Parts whose drop waits for a thread, or may, are leaked there.
    fn drop(&mut self) {
        if !self.pool.process.is_current() {
            mem::forget(Arc::clone(&self.method));
            mem::forget(Arc::clone(&self.jobs));
            mem::forget((self.config.wal.clone(), self.config.codec.clone()));
            return;
        }
        self.method.shutdown();
        let lost = self.dirty_pages();
        if lost > 0 {
            events::pages_discarded(&self.counters.pool, lost);
        }
    }
}
