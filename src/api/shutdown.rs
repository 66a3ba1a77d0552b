//! The end of a pool: of its background work (the background writer, and the threads of its jobs), and the one that is asked for.
//!
//! The thread that ends the background work waits for it, for as long as [`BufferPool`](crate::BufferPool) says. A thread of the pool
//! itself calls wakers, logs and codecs, and any of those may hold the last clone: it only begins the end. What is under way ends by itself,
//! and the last of it frees the pool's memory.
//!
//! At a shutdown everything is written first, unless it is to be thrown away, with the pool open until the checkpoint is done. What other
//! threads change too late for that stays dirty and is counted; what they wrote meanwhile is synced at the end.

use crate::{
    error::Result,
    events::{self, spans},
    files::extent,
    io::doublewrite::DoubleWrite,
    runtime::shared::Shared,
    sync::{Arc, pool_end::EndStage, thread, time},
    write::{
        background_writer::WriterThread,
        checkpoint::{CheckpointOptions, CheckpointReport, checkpoint, sync_all},
        flush::FlushReport,
    },
};

pub(crate) struct Background {
    writer: WriterThread,
    pub(super) shared: Arc<Shared>,
}

impl Background {
    pub(crate) fn start(shared: Arc<Shared>) -> Self {
        Self { writer: WriterThread::start(&shared), shared }
    }

    /// Ends it, and returns when nothing is under way any more; on a thread of the pool it returns at once. Idempotent.
    pub(crate) fn end(&self) {
        let shared = &self.shared;
        shared.end.reach(EndStage::Ending);
        // Threads that pause see it now.
        shared.checkpoints.wake_the_pausing();
        shared.jobs.threads.wake_all();
        shared.pool.clean_list.look_again();
        let own = thread::current().id();
        // A thread that runs this work, or something that the work waits for, would wait for itself.
        if !(self.writer.is(own) || shared.jobs.threads.has(own) || shared.method.has(own)) {
            self.writer.wait_until_gone();
            shared.jobs.threads.wait_until_gone();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A forked process has none of these threads, and nothing to wait for.
        if self.shared.pool.process.is_current() {
            self.end();
        }
    }
}

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
