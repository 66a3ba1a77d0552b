//! Flushes and checkpoints: which pages are written, and when their files are synced.
//!
//! A checkpoint takes the pages that may hold changes at its start: those that are dirty, those whose write is under way (it may
//! fail), and those that a thread is changing (the change becomes known when the guard ends). Other calls continue meanwhile. The
//! pages are written in the order and at the times that the [schedule](super::schedule) gives. When every write has ended, each
//! file with unsynced writes is synced once, several side by side.
//!
//! Checkpoints take turns. One that is spread over a time hurries as soon as another waits, so that an urgent checkpoint does not
//! wait for one that is not. One whose completion is dropped after it was begun continues to its end.
//!
//! A thread that holds a write guard waits for itself here, for as long as [write-out](super::write_out) waits for a page that is
//! being changed. Then that page is an error, and all other pages are written.

use std::time::Duration;

use crate::{
    buffer::frame::{header::Frame, state::State},
    error::Result,
    events::{self, spans},
    id::{BlockNo, FileId, Lsn, PageId},
    io::{file::File, operation::Urgency},
    runtime::shared::Shared,
    sync::{
        batch_status::BatchStatus,
        moment_after,
        time::{self, Instant},
        turns::Turn,
    },
    write::{
        schedule,
        sync_all::sync_all,
        write_out::{Candidate, Hands, Patience, write_out_by},
    },
};

/// Pages that are written in one batch, before it is another file's turn and before a paced checkpoint may pause.
const PIECE: usize = 256;

/// Pages that a paced checkpoint writes in one batch: few, so that its load is even.
const PACED_PIECE: usize = 32;

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
pub struct CheckpointOptions {
    /// The time over which the writes are spread evenly; the syncs come after it. `None`: as fast as the disk takes them.
    pub spread_over: Option<Duration>,
}

impl CheckpointOptions {
    /// Makes options for a checkpoint as fast as the disk takes it. Example: [`CheckpointOptions`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Spreads the writes evenly over `time`, so that they leave the device to other work. If another checkpoint is asked for
    /// meanwhile (or the pool is shut down), the other pages are written at once. Example: [`CheckpointOptions`].
    #[must_use]
    pub fn spread_over(mut self, time: Duration) -> Self {
        self.spread_over = Some(time);
        self
    }
}

/// What a flush or a checkpoint did.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushReport {
    /// Pages that were written.
    pub pages_written: u64,
    /// Files that were synced.
    pub files_synced: u64,
    /// Dirty pages that were thrown away (a shutdown with [`Shutdown::Discard`](crate::Shutdown::Discard)).
    pub pages_discarded: u64,
    /// How long it took.
    pub took: Duration,
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

/// Writes and syncs everything that was dirty at the start.
pub(crate) fn checkpoint(shared: &Shared, options: CheckpointOptions) -> Result<CheckpointReport> {
    let (begun, pool) = (time::now(), &shared.counters.pool);
    let _span = spans::checkpoint(pool, options.spread_over);
    let taken = take_checkpoint(shared, options, begun);
    let took = events::seconds(time::now() - begun);
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
    let changed = changed_pages(shared);
    let written = clean(shared, changed, Urgency::Writeback, patient(shared), pace, Hands::Method);
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

/// Writes one page to its file, without a sync.
pub(crate) fn flush_page(shared: &Shared, page: PageId) -> Result<()> {
    shared.check_open()?;
    shared.files.open_file(page.file)?;
    flush_candidates(shared, find_changed(shared, page).into_iter().collect()).map(drop)
}

/// Writes these pages to their files, without a sync.
pub(crate) fn flush_many(shared: &Shared, pages: &[PageId]) -> Result<FlushReport> {
    shared.check_open()?;
    let begun = time::now();
    for group in pages.chunk_by(|page, next| page.file == next.file) {
        shared.files.open_file(group[0].file)?;
    }
    let changed = pages.iter().filter_map(|&page| find_changed(shared, page)).collect();
    let pages_written = flush_candidates(shared, changed)?;
    Ok(FlushReport { pages_written, took: time::now() - begun, ..FlushReport::default() })
}

fn find_changed(shared: &Shared, page: PageId) -> Option<Candidate> {
    shared.pool.find(page, State::may_hold_changes).map(|no| (page, no))
}

fn flush_candidates(shared: &Shared, changed: Vec<Candidate>) -> Result<u64> {
    clean(shared, changed, Urgency::Demand, patient(shared), None, Hands::Calling)
}

/// Writes all of a file's dirty pages, without a sync.
pub(crate) fn flush_file(shared: &Shared, file: FileId) -> Result<FlushReport> {
    shared.check_open()?;
    let file = shared.files.open_file(file)?;
    let begun = time::now();
    let changed = changed_pages_of(shared, &file);
    let pages_written = flush_candidates(shared, changed)?;
    Ok(FlushReport { pages_written, took: time::now() - begun, ..FlushReport::default() })
}

/// Writes a file's dirty pages except those that another thread changes: for a caller that must not wait for them.
pub(crate) fn flush_idle(shared: &Shared, file: &File) -> Result<()> {
    let changed = changed_pages_of(shared, file);
    clean(shared, changed, Urgency::Demand, Patience::Try, None, Hands::Calling).map(drop)
}

/// Makes durable what was written to the file so far. Returns whether there was anything.
pub(crate) fn sync_file(shared: &Shared, file: FileId) -> Result<bool> {
    shared.check_open()?;
    let file = shared.files.open_file(file)?;
    file.sync(&shared.counters)
}

/// Returns the patience that waits for a page that is being changed for as long as a fetch waits for a frame.
fn patient(shared: &Shared) -> Patience {
    Patience::Wait(shared.config.frame_wait)
}

/// Writes the candidates that are dirty and waits for them: at once, or, by the holder of the turn, spread over a time.
fn clean(
    shared: &Shared,
    mut candidates: Vec<Candidate>,
    urgency: Urgency,
    mut patience: Patience,
    pace: Option<(&Turn<'_>, Duration)>,
    hands: Hands,
) -> Result<u64> {
    candidates.sort_unstable();
    candidates.dedup();
    let pages: Vec<PageId> = candidates.iter().map(|&(page, _)| page).collect();
    let (begun, tally) = (time::now(), BatchStatus::new());
    let (mut pace, mut written) = (pace, 0);
    for piece in schedule::pieces(&pages, pace.map_or(PIECE, |_| PACED_PIECE)) {
        if let Some((turn, over)) = pace
            && !turn.pause_until(moment_after(begun, schedule::due(written, pages.len(), over)), &shared.end)
        {
            pace = None;
        }
        written += piece.len();
        // Several pieces are written side by side.
        let hands = if piece.len() < pages.len() { Hands::Method } else { hands };
        write_out_by(shared, &mut candidates[piece], urgency, &mut patience, &tally, hands);
    }
    tally.wait()
}

/// Returns the pages with bytes that the disk may not have.
fn changed_pages(shared: &Shared) -> Vec<Candidate> {
    let changed = shared.pool.frames.iter().filter(|(_, frame)| may_hold_changes(*frame));
    changed.map(|(no, frame)| (frame.page(), no)).collect()
}

/// Returns the pages of one file with bytes that the disk may not have.
fn changed_pages_of(shared: &Shared, file: &File) -> Vec<Candidate> {
    let pages = shared.pool.pages_of(file.id, file.pages_from(BlockNo(0)));
    let changed = pages.into_iter().filter(|&(no, _)| may_hold_changes(shared.pool.frame(no)));
    changed.map(|(no, page)| (page, no)).collect()
}

fn may_hold_changes(frame: Frame<'_>) -> bool {
    let state = frame.state.load();
    state.may_hold_changes() && !(state.is_writing() && seeded!("checkpoint_leaves_out_writes_under_way"))
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
    lowest.into_iter().chain(shared.pool.older_changes.lowest()).min()
}
