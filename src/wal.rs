//! Write-ahead log before data: the hook by which the pool has the engine's log made durable before its pages are written.

use std::io;

use crate::id::Lsn;

/// The engine's write-ahead log, as far as the pool needs it.
///
/// Before the pool writes a batch of pages, it asks the log once to be durable up to the highest LSN among them (C8). The call
/// comes from the thread that writes out: the thread of a checkpoint, the background writer, or a thread that waits for a frame,
/// never an I/O worker. (If a task finds no clean frame and there is no background writer, it is the thread that polls the task:
/// keep a background writer.) Several threads may call at once, also for positions that a call of another thread is about to reach.
/// The log must not call the pool, which may hold pages while it waits for the log.
///
/// The pool knows of a record by [`set_lsn`](crate::PageWrite::set_lsn) alone. It writes a page that is changed without that call
/// without asking the log: one forgotten line is lost data, or data that no record explains. So each such change is counted in
/// [`Counts::unlogged_changes`](crate::stats::Counts::unlogged_changes), and the page is not written if [the engine asks for
/// that](crate::options::UnloggedChanges::Refuse). For a change that needs no record (a hint, a free-space map, a temporary file)
/// state [`Lsn::UNLOGGED`].
///
/// [`DurableLsn`](crate::DurableLsn) is the part of a group commit that every log needs: threads, tasks and this trait wait there
/// for one sync. If the pool keeps each page's LSN [in the page](crate::Builder::page_lsn), a page may need the log up to a record
/// from before a restart, so a log must know from the start how far it is durable, and its positions must
/// [rise](crate::PageLsn#positions-rise-over-all-lives-of-the-files) over all lives of the files.
///
/// # Examples
/// ```
/// use std::{io, sync::{Arc, Mutex}};
/// use ringpool::{BufferPool, Lsn, OpenOptions, PageId, Wal, options::UnloggedChanges};
///
/// /// A log in memory: the end of what was appended, and of what is durable.
/// #[derive(Clone, Default)]
/// struct Log(Arc<Mutex<(u64, u64)>>);
///
/// impl Wal for Log {
///     fn flushed_lsn(&self) -> Lsn {
///         Lsn(self.0.lock().unwrap().1)
///     }
///
///     fn flush(&self, up_to: Lsn) -> io::Result<Lsn> {
///         let mut log = self.0.lock().unwrap();
///         if up_to.0 > log.0 {
///             return Err(io::Error::other("a page is ahead of the log"));
///         }
///         log.1 = log.0; // Here the records are written, and their file synced.
///         Ok(Lsn(log.1))
///     }
/// }
///
/// let log = Log::default();
/// let refuse = UnloggedChanges::Refuse;
/// let pool = BufferPool::builder().frames(16).wal(log.clone()).unlogged_changes(refuse).build()?;
/// # let folder = tempfile::tempdir()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(2))?;
///
/// // A change: the record is appended with the guard in hand.
/// let page = PageId::new(file, 0);
/// let mut guard = pool.write(page).wait()?;
/// guard[0] = 1;
/// log.0.lock().unwrap().0 = 40;
/// guard.set_lsn(Lsn(0)..Lsn(40));
/// drop(guard);
///
/// // The page is not written before the log is.
/// pool.flush(page).wait()?;
/// assert_eq!(log.flushed_lsn(), Lsn(40));
///
/// // A change without a record.
/// pool.write(page).wait()?[0] = 2;
/// assert!(pool.flush(page).wait().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Wal: Send + Sync + 'static {
    /// Returns the position up to which the log is durable: all records that [end](crate::LogRecord::end) there or before. The pool
    /// asks this first, so it should be cheap. Example: [`Wal`].
    fn flushed_lsn(&self) -> Lsn;

    /// Makes the log durable at least up to `up_to`, where a record [ends](crate::LogRecord::end), and returns how far it is
    /// durable now.
    ///
    /// A position beyond the log's end must be an error. The log must not wait for it: no record may ever reach it. A page has such
    /// an LSN if it is damaged, or from another log, or if a wrong position was stated.
    ///
    /// Example: [`Wal`].
    ///
    /// # Errors
    /// The failure of the log's own I/O, and a position beyond its end. The pages then stay dirty, and the call that wanted them written returns
    /// [`Error::Wal`](crate::Error::Wal).
    fn flush(&self, up_to: Lsn) -> io::Result<Lsn>;
}
