//! The shutdown of a pool: everything is written to disk first, unless it is to be thrown away.
//!
//! Until the checkpoint is done the pool is open, and a shutdown that fails leaves it open. What other threads change too late for
//! the checkpoint stays dirty and is counted; what they wrote meanwhile is synced at the end.

use crate::{
    api::background::Background,
    error::Result,
    events::{self, spans},
    files::extent,
    io::doublewrite::DoubleWrite,
    runtime::shared::Shared,
    sync::{pool_end::EndStage, time},
    write::{
        checkpoint::{CheckpointOptions, CheckpointReport, checkpoint, sync_all},
        flush::FlushReport,
    },
};

/// What happens to dirty pages when a pool is shut down.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shutdown {
    /// Write and sync everything first.
    Flush,
    /// Throw them away; they are counted in the report.
    Discard,
}

/// Ends the pool's work.
///
/// # Errors
/// The pool is open as before; or it has ended, and what was written meanwhile is not durable, or only the doublewrite area still holds
/// pages.
pub(crate) fn shut_down(shared: &Shared, background: &Background, how: Shutdown) -> Result<FlushReport> {
    // A forked process calls no subscriber: its locks may be held there for ever.
    shared.check_process()?;
    let pool = &shared.counters.pool;
    let _span = spans::shutdown(pool, how == Shutdown::Flush);
    let ended = end(shared, background, how);
    match &ended {
        Ok(FlushReport { pages_written, files_synced, pages_discarded, took }) => {
            events::pool_shut_down(pool, *pages_written, *files_synced, *pages_discarded, *took);
        }
        Err(error) => events::shutdown_failed(pool, error),
    }
    ended
}

fn end(shared: &Shared, background: &Background, how: Shutdown) -> Result<FlushReport> {
    let begun = time::now();
    shared.check_open()?;
    let flushed = match how {
        Shutdown::Flush => {
            // Leaves no preallocated blocks behind the ends of files.
            extent::give_back_ahead(shared)?;
            checkpoint(shared, CheckpointOptions::new())?
        }
        Shutdown::Discard => CheckpointReport::default(),
    };
    shared.end.reach(EndStage::ShutDown);
    background.end();
    shared.method.shutdown();
    let mut files_synced = flushed.files_synced;
    if how == Shutdown::Flush {
        // What other threads wrote meanwhile.
        files_synced += sync_all(shared)?;
        shared.doublewrite.as_ref().map_or(Ok(()), DoubleWrite::end)?;
    }
    Ok(FlushReport {
        pages_written: flushed.pages_written,
        files_synced,
        pages_discarded: shared.dirty_pages(),
        took: time::now() - begun,
    })
}
