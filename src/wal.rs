//! Write-ahead log before data: the hook by which the pool asks the engine's log to be ahead of its pages.

use std::io;

use crate::id::Lsn;

/// The engine's write-ahead log, as far as the pool needs it.
///
/// Before a batch of pages is written, the log is asked once to be durable up to the highest LSN among them (C8). Called from
/// whichever thread writes out: a checkpoint's, the background writer's, one that waits for a frame, never the I/O worker's. (Where a
/// task finds no clean frame and nobody cleans any, that is the thread that polls it: keep a background writer.) Several threads may call at once, also for
/// positions that a call of another thread is about to reach. The log must not call back into the pool, which may be waiting for it with pages in hand.
///
/// The pool knows of a record by [`set_lsn`](crate::PageWrite::set_lsn) alone. A page that is changed without that call is written
/// without asking the log: one forgotten line is lost data, or data that no record explains. So each such change is counted in
/// [`Counts::unlogged_changes`](crate::stats::Counts::unlogged_changes), and [where the engine asks for it](crate::options::UnloggedChanges::Refuse) the
/// page is not written. Changes that need no record (a hint, a free-space map, a temporary file) say so by
/// [`Lsn::UNLOGGED`].
///
/// [`DurableLsn`](crate::DurableLsn) is the part of a group commit that every log needs: threads, tasks and this trait wait there for one sync.
///
/// The pool can keep the LSN of each page in the page: [`Builder::page_lsn`](crate::Builder::page_lsn). Then a page may need the log up to
/// a record of an earlier life, so a log says from the start how far it is durable.
pub trait Wal: Send + Sync + 'static {
    /// Up to where the log is durable: all records that [end](crate::LogRecord::end) there or before. Asked first, so it should be cheap.
    fn flushed_lsn(&self) -> Lsn;

    /// Makes the log durable at least up to `up_to`, which is where a record [ends](crate::LogRecord::end), and returns how far it is now.
    ///
    /// # Errors
    /// Whatever the log's own I/O says. The pages then stay dirty, and who asked for them to be written gets
    /// [`Error::Wal`](crate::Error::Wal).
    fn flush(&self, up_to: Lsn) -> io::Result<Lsn>;
}
