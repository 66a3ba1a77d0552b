//! Checkpoints: which pages are written, and how their files are synced.
//!
//! A checkpoint takes the pages that may hold changes at its start: those that are dirty, those whose write is under way (it may
//! fail), and those that a thread is changing (the change becomes known when the guard ends). When every write has ended, each file with
//! unsynced writes is synced once.
//!
//! **Syncs go side by side**, since each waits for a device and nothing else. Those of asynchronous files are started first, which takes
//! no thread. Of the other files the calling thread takes one after another, and job threads, as far as there are any, take others: so this
//! ends even if every job thread waits for something.
//!
//! Checkpoints take turns. One that is spread over a time hurries as soon as another waits, so that an urgent checkpoint does not
//! wait for one that is not. Lock order: the lock of the syncs' outcome is taken alone.

use std::time::Duration;

use crate::{
    error::{Callback, Error, Result},
    events::{self, AskingSpan, spans},
    id::{FileId, Lsn},
    io::{file::File, operation::Urgency},
    observe::Counters,
    runtime::{jobs::WaitsFor, shared::Shared},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
        callback,
        time::{self, Instant},
    },
    write::write_out::{Patience, may_hold_changes, write_all},
};

/// Files that are synced at once by threads.
const AT_ONCE: usize = 4;

/// Asynchronous files whose syncs are under way at once.
const STARTED_AT_ONCE: usize = 256;

/// How a checkpoint is taken.
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, CheckpointOptions, OpenOptions, PageId};
/// use std::time::Duration;
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
///
/// pool.write(PageId::new(file, 0)).wait()?[0] = 1;
/// let spread = CheckpointOptions::new().spread_over(Duration::from_millis(10));
/// let report = pool.checkpoint(spread).wait()?;
/// assert_eq!((report.pages_written, report.files_synced), (1, 1));
/// assert_eq!(report.redo_lsn, None); // no page is dirty any more
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct CheckpointOptions {
    /// The time over which the writes are spread evenly; the syncs come after it. `None`: as fast as the disk takes them.
    pub spread_over: Option<Duration>,
}

impl CheckpointOptions {
    /// Makes options for a checkpoint as fast as the disk takes it. Example: [`CheckpointOptions`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Spreads the writes evenly over `time`, so that they leave the device to other work. If another checkpoint is asked for
    /// meanwhile (or the pool is shut down), the other pages are written at once. Example: [`CheckpointOptions`].
    pub fn spread_over(mut self, time: Duration) -> Self {
        self.spread_over = Some(time);
        self
    }
}

/// What a checkpoint did, and from where recovery must start.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointReport {
    /// Pages that were written.
    pub pages_written: u64,
    /// Files that were synced.
    pub files_synced: u64,
    /// The lowest recLSN among the pages that are dirty again: where the first record begins that redo needs for them. `None` if
    /// there is none. It follows what is on disk even if a page is changed during each of its writes, so the log can be cut.
    ///
    /// Changes made since the checkpoint began may not be in it. So the engine starts redo at the lower of this and the end of its
    /// log as it was *before* it called the checkpoint. For this, records must be appended [with their pages' guards in
    /// hand](crate::PageWrite::set_lsn).
    pub redo_lsn: Option<Lsn>,
    /// How long it took.
    pub took: Duration,
}

pub(crate) fn checkpoint(shared: &Shared, options: CheckpointOptions) -> Result<CheckpointReport> {
    let (begun, pool) = (time::now(), &shared.counters.pool);
    let _span = spans::checkpoint(pool, options.spread_over);
    let taken = take_checkpoint(shared, options, begun);
    let took = time::now() - begun;
    match &taken {
        Ok(report) => {
            let CheckpointReport { pages_written, files_synced, redo_lsn, .. } = *report;
            events::checkpoint_done(pool, pages_written, files_synced, redo_lsn, took);
        }
        Err(error) => events::checkpoint_failed(pool, error, took),
    }
    taken
}

fn take_checkpoint(shared: &Shared, options: CheckpointOptions, begun: Instant) -> Result<CheckpointReport> {
    let turn = shared.checkpoints.take();
    shared.check_open()?;
    let files = shared.files.all();
    let pace = options.spread_over.map(|over| (&turn, over));
    // The pages with bytes that the disk may not have.
    let changed = shared.pool.frames.iter().filter(|(_, frame)| may_hold_changes(*frame));
    let changed = changed.map(|(no, frame)| (frame.page(), no)).collect();
    let written = write_all(shared, changed, Urgency::Writeback, Patience::of_callers(shared), pace);
    // A page that could not be written is no reason to leave the other files unsynced.
    let synced = sync_all(shared);
    let removed = shared.removals.retry(&*shared.storage);
    let (pages_written, files_synced) = (written?, synced?);
    removed?;
    // A file that was closed meanwhile has synced itself, or was poisoned: then what was written to it here may be lost.
    files.iter().try_for_each(|file| file.poison().map_or(Ok(()), Err))?;
    Ok(CheckpointReport {
        pages_written,
        files_synced,
        redo_lsn: redo_lsn(shared),
        took: time::now() - begun,
    })
}

/// Returns the lowest recLSN among the dirty pages. A page that is being changed and is not dirty yet does not count: its recLSN is
/// still that of durable changes, and its new changes are behind the end that the log had when the checkpoint began (else the
/// checkpoint would have waited for them).
fn redo_lsn(shared: &Shared) -> Option<Lsn> {
    let changed = shared.pool.frames.iter().filter(|(_, frame)| {
        let state = frame.state.load();
        state.is_dirty() || state.is_writing()
    });
    let lowest = changed.filter_map(|(_, frame)| frame.rec_lsn()).min();
    // Looked at last: a position that a frame has given up for a newer one is here, unless it has reached the disk.
    lowest.into_iter().chain(shared.pool.lowest_older_position()).min()
}

/// Syncs every file with unsynced writes; all of them, even if one fails. Returns their number, or the first error.
pub(crate) fn sync_all(shared: &Shared) -> Result<u64> {
    let mut files = shared.files.all();
    // Asynchronous ones first, else in the same order as before.
    files.sort_by_key(|file| file.asynchronous.is_none());
    let by_threads = |file: &&Arc<File>| file.asynchronous.is_none() && file.is_unsynced();
    let by_threads = files.iter().filter(by_threads).count();
    let syncs = Arc::new(Syncs {
        files,
        next: AtomicUsize::new(0),
        counters: Arc::clone(&shared.counters),
        outcome: Mutex::default(),
        moved: Condvar::new(),
    });
    for _ in 1..by_threads.min(AT_ONCE) {
        let helper = Arc::clone(&syncs);
        let asking = AskingSpan::current();
        let help = move || asking.run(|| helper.take_part());
        // Where no thread can be had, there is no help.
        drop(shared.jobs.submit(WaitsFor::Disks, Box::new(help)));
    }
    syncs.take_part();
    syncs.wait()
}

struct Syncs {
    files: Vec<Arc<File>>,
    next: AtomicUsize,
    counters: Arc<Counters>,
    outcome: Mutex<Outcome>,
    moved: Condvar,
}

#[derive(Default)]
struct Outcome {
    /// Files whose sync has ended, well or not.
    done: usize,
    /// Syncs of asynchronous files that are under way.
    started: usize,
    synced: u64,
    /// With its file, so that the first error is the same in every run.
    first_error: Option<(FileId, Error)>,
}

impl Syncs {
    /// Syncs files that no thread has taken yet until there is none.
    fn take_part(self: &Arc<Self>) {
        while let Some(file) = self.files.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if file.asynchronous.is_some() && !seeded!("far_syncs_one_by_one") {
                self.start(file);
                continue;
            }
            // One that panics is through, too: the calling thread waits for each.
            let synced = callback::contained(|| file.sync(&self.counters)).unwrap_or_else(|_| {
                Err(Error::Panicked { callback: Callback::Sync, page: None, path: Some(file.path.clone()) })
            });
            self.end(file.id, synced, 0);
        }
    }

    /// Starts the sync of an asynchronous file, as soon as there are few enough under way.
    fn start(self: &Arc<Self>, file: &Arc<File>) {
        let mut outcome = self.outcome.lock();
        while outcome.started >= STARTED_AT_ONCE {
            outcome = self.moved.wait(outcome);
        }
        outcome.started += 1;
        drop(outcome);
        let (syncs, id) = (Arc::clone(self), file.id);
        file.start_sync(&self.counters, move |synced| syncs.end(id, synced, 1));
    }

    /// Notes the outcome for a file; `started` is 1 if it counts as under way.
    fn end(&self, file: FileId, synced: Result<bool>, started: usize) {
        let mut outcome = self.outcome.lock();
        outcome.done += 1;
        outcome.started -= started;
        match synced {
            Ok(did) => outcome.synced += u64::from(did),
            Err(error) if outcome.first_error.as_ref().is_none_or(|&(first, _)| file < first) => {
                outcome.first_error = Some((file, error));
            }
            Err(_) => {}
        }
        drop(outcome);
        self.moved.notify_all();
    }

    fn wait(&self) -> Result<u64> {
        let mut outcome = self.outcome.lock();
        while outcome.done < self.files.len() {
            outcome = self.moved.wait(outcome);
        }
        outcome.first_error.take().map_or(Ok(outcome.synced), |(_, error)| Err(error))
    }
}
