//! Flushes and checkpoints: which pages are written, and when their files are synced.
//!
//! A checkpoint takes what may hold changes at its start: pages that are dirty, those whose write is under way (it may
//! fail), and those somebody is changing right now (the change becomes known when the guard goes). New work goes on
//! meanwhile. When every write has come back, each file with unsynced writes is synced once.
//!
//! Must not be called by a thread that holds a write guard: it would wait for itself.

use std::time::Duration;

use crate::{
    error::{Error, Result},
    events,
    id::{FileId, Lsn, PageId},
    pool::frame_pool::Lookup,
    shared::Shared,
    sync::time,
    write::write_out::{Candidate, Patience, write_out},
};

/// How a checkpoint is taken.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointOptions {}

impl CheckpointOptions {
    /// As fast as the disk takes it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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

/// What a checkpoint did, and from where recovery would have to start.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointReport {
    /// Pages that were written.
    pub pages_written: u64,
    /// Files that were synced.
    pub files_synced: u64,
    /// The lowest recLSN among the pages that are dirty again: where redo must start for them. `None` where there is none.
    ///
    /// Changes made since the checkpoint began may not be in it, so the engine starts redo at the lower of this and the
    /// end of its log as it was *before* it called the checkpoint.
    pub redo_lsn: Option<Lsn>,
    /// How long it took.
    pub took: Duration,
}

/// Everything that was dirty at the start is on disk and synced.
pub(crate) fn checkpoint(shared: &Shared, _options: CheckpointOptions) -> Result<CheckpointReport> {
    shared.check_open()?;
    let begun = time::now();
    let written = clean(shared, changed_pages(shared, |_| true));
    // A page that could not be written is no reason to leave the other files unsynced.
    let synced = sync_all(shared);
    let (pages_written, files_synced) = (written?, synced?);
    Ok(CheckpointReport {
        pages_written,
        files_synced,
        redo_lsn: redo_lsn(shared),
        took: time::now() - begun,
    })
}

/// One page is in its file, not yet synced.
pub(crate) fn flush_page(shared: &Shared, page: PageId) -> Result<()> {
    shared.check_open()?;
    shared.files.open_file(page.file)?;
    match shared.pool.lookup(page) {
        Lookup::Pinned(pin) => clean(shared, vec![(page, pin.frame_no())]).map(drop),
        Lookup::Absent => Ok(()),
        Lookup::TooManyPins => Err(Error::TooManyPins { page }),
    }
}

/// All of a file's pages are in it, not yet synced.
pub(crate) fn flush_file(shared: &Shared, file: FileId) -> Result<FlushReport> {
    shared.check_open()?;
    shared.files.open_file(file)?;
    let begun = time::now();
    let pages_written = clean(shared, changed_pages(shared, |page| page.file == file))?;
    Ok(FlushReport { pages_written, took: time::now() - begun, ..FlushReport::default() })
}

/// What was written to the file so far is durable. Gives whether there was anything.
pub(crate) fn sync_file(shared: &Shared, file: FileId) -> Result<bool> {
    shared.check_open()?;
    let file = shared.files.open_file(file)?;
    file.sync(&shared.counters).inspect_err(|error| events::poisoned(file.id, error))
}

/// Writes the candidates that are dirty and waits for them.
fn clean(shared: &Shared, mut candidates: Vec<Candidate>) -> Result<u64> {
    write_out(shared, &mut candidates, Patience::Wait).wait()
}

/// The pages, among those that `wanted` picks, with bytes that the disk may not have.
fn changed_pages(shared: &Shared, wanted: impl Fn(PageId) -> bool) -> Vec<Candidate> {
    let changed = shared.pool.frames().filter(|(_, frame)| frame.state.load().may_hold_changes());
    changed.map(|(no, frame)| (frame.page(), no)).filter(|&(page, _)| wanted(page)).collect()
}

/// Syncs every file with unsynced writes; all of them, whatever becomes of one. The number, or the first error.
fn sync_all(shared: &Shared) -> Result<u64> {
    let mut first_error: Option<Error> = None;
    let mut synced = 0;
    for file in shared.files.all() {
        match file.sync(&shared.counters) {
            Ok(did) => synced += u64::from(did),
            Err(error) => {
                events::poisoned(file.id, &error);
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(synced), Err)
}

fn redo_lsn(shared: &Shared) -> Option<Lsn> {
    let changed = shared.pool.frames().filter(|(_, frame)| frame.state.load().may_hold_changes());
    changed.map(|(_, frame)| frame.rec_lsn()).filter(|&lsn| lsn != Lsn::UNLOGGED).min()
}
