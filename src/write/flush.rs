//! Flushes: which dirty pages of files are written, and waited for, without a sync; and the sync of one file.

use crate::{
    buffer::frame::state::State,
    error::Result,
    id::{BlockNo, FileId, PageId},
    io::{file::File, operation::Urgency},
    runtime::shared::Shared,
    sync::time::{self, Duration, Instant},
    write::write_out::{Candidate, Patience, may_hold_changes, write_all},
};

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

/// Writes one page to its file, without a sync.
pub(crate) fn flush_page(shared: &Shared, page: PageId) -> Result<()> {
    shared.check_open()?;
    shared.files.open_file(page.file)?;
    flush_candidates(shared, find_changed(shared, page).into_iter().collect()).map(drop)
}

pub(crate) fn flush_many(shared: &Shared, pages: &[PageId]) -> Result<FlushReport> {
    shared.check_open()?;
    let begun = time::now();
    for group in pages.chunk_by(|page, next| page.file == next.file) {
        shared.files.open_file(group[0].file)?;
    }
    flush_and_report(shared, begun, pages.iter().filter_map(|&page| find_changed(shared, page)).collect())
}

fn find_changed(shared: &Shared, page: PageId) -> Option<Candidate> {
    shared.pool.find(page, State::may_hold_changes).map(|no| (page, no))
}

fn flush_candidates(shared: &Shared, changed: Vec<Candidate>) -> Result<u64> {
    write_all(shared, changed, Urgency::Demand, Patience::of_callers(shared), None)
}

fn flush_and_report(shared: &Shared, begun: Instant, changed: Vec<Candidate>) -> Result<FlushReport> {
    let pages_written = flush_candidates(shared, changed)?;
    Ok(FlushReport { pages_written, took: time::now() - begun, ..FlushReport::default() })
}

pub(crate) fn flush_file(shared: &Shared, file: FileId) -> Result<FlushReport> {
    shared.check_open()?;
    let file = shared.files.open_file(file)?;
    let begun = time::now();
    flush_and_report(shared, begun, changed_pages_of(shared, &file))
}

/// Writes a file's dirty pages except those that another thread changes: for a caller that must not wait for them.
pub(crate) fn flush_idle(shared: &Shared, file: &File) -> Result<()> {
    let changed = changed_pages_of(shared, file);
    write_all(shared, changed, Urgency::Demand, Patience::Try, None).map(drop)
}

pub(crate) fn sync_file(shared: &Shared, file: FileId) -> Result<bool> {
    shared.check_open()?;
    let file = shared.files.open_file(file)?;
    file.sync(&shared.counters)
}

/// Returns the pages of one file with bytes that the disk may not have.
fn changed_pages_of(shared: &Shared, file: &File) -> Vec<Candidate> {
    let pages = shared.pool.pages_of(file.id, file.pages_from(BlockNo(0)));
    let changed = pages.into_iter().filter(|&(no, _)| may_hold_changes(shared.pool.frame(no)));
    changed.map(|(no, page)| (page, no)).collect()
}
