//! The end of a pool that is asked for: everything on disk first, unless it is to be thrown away.
//!
//! Until the checkpoint is through the pool is open, and a shutdown that fails leaves it so. Others may go on with it meanwhile: what
//! they change too late for the checkpoint stays dirty and is counted, and what they have had written is synced in the end.

use crate::{
    background::Background,
    config::Shutdown,
    error::Result,
    files::extent,
    shared::Shared,
    sync::{atomic::Ordering, time},
    write::{
        checkpoint::{CheckpointOptions, CheckpointReport, FlushReport, checkpoint},
        sync_all::sync_all,
    },
};

/// Ends the pool's work.
///
/// # Errors
/// The pool is open as before; or it has ended, and what was written meanwhile is not durable.
pub(crate) fn shut_down(shared: &Shared, background: &Background, how: Shutdown) -> Result<FlushReport> {
    let begun = time::now();
    let flushed = match how {
        Shutdown::Flush => flush(shared)?,
        Shutdown::Discard => shared.check_open().map(|()| CheckpointReport::default())?,
    };
    shared.shut_down.store(true, Ordering::Release);
    background.end();
    shared.method.shutdown();
    let synced_late = match how {
        Shutdown::Flush => sync_all(shared)?,
        Shutdown::Discard => 0,
    };
    Ok(FlushReport {
        pages_written: flushed.pages_written,
        files_synced: flushed.files_synced + synced_late,
        pages_discarded: shared.dirty_pages(),
        took: time::now() - begun,
    })
}

/// Leaves nothing in memory alone, nor behind the ends of files, nor in the doublewrite area, unless there is something that was
/// never looked at.
fn flush(shared: &Shared) -> Result<CheckpointReport> {
    extent::give_back_ahead(shared)?;
    let report = checkpoint(shared, CheckpointOptions::new())?;
    match &shared.doublewrite {
        Some(doublewrite) if doublewrite.pending().is_empty() => doublewrite.settle()?,
        _ => {}
    }
    Ok(report)
}
