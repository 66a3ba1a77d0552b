//! Operations that a task awaits where a thread would block. A job opens a file. The end of a pool waits for the threads of all
//! jobs, so it has a thread of its own.

use std::{
    fmt,
    hash::{Hash, Hasher},
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use rustc_hash::FxHasher;

use crate::{
    api::{
        buffer_pool::{BufferPool, ShutdownError},
        shutdown::{Background, Shutdown},
    },
    buffer::memory::process::Process,
    error::{Callback, Error},
    files,
    id::FileId,
    io::file::open_options::OpenOptions,
    runtime::{completion::Completion, jobs::WaitsFor},
    sync::{
        Arc, Mutex, Weak, callback,
        promise::{LazyWork, Promise},
        thread,
    },
    write::flush::FlushReport,
};

/// # Operations for tasks
impl BufferPool {
    /// Opens a file as [`open_file`](Self::open_file) does, without blocking the task that awaits it: a job thread opens it.
    /// Nothing begins before the future is polled. At most three jobs open files of one folder at once. If 1,024 jobs wait for a
    /// thread already, or the system gives no thread, the thread that polls opens the file.
    ///
    /// If the future is dropped after it was polled, the opening continues, and leaves the file open. To open that file again is
    /// [`Error::AlreadyOpen`](crate::Error::AlreadyOpen), which has its id.
    ///
    /// # Errors
    /// Those of `open_file`, and [`Error::ShutDown`](crate::Error::ShutDown).
    ///
    /// # Examples
    /// ```
    /// # use ringpool::{BufferPool, FileId, OpenOptions, Result};
    /// async fn open(pool: &BufferPool) -> Result<FileId> {
    ///     pool.open_file_async("pages", OpenOptions::new().create(true)).await
    /// }
    /// ```
    pub fn open_file_async(&self, path: impl AsRef<Path>, options: OpenOptions) -> Completion<FileId> {
        let path = path.as_ref().to_owned();
        let mut folder = FxHasher::default();
        path.parent().hash(&mut folder);
        self.operation(WaitsFor::Folder(folder.finish()), move |shared| files::open(shared, &path, &options))
    }

    /// Ends the pool's work as [`shutdown`](Self::shutdown) does, without blocking the task that awaits it: a thread is started for
    /// it, which also drops this clone of the pool, with the pool's memory if the clone is the last. If the system gives no thread,
    /// the thread that polls does it. Nothing begins before the future is polled.
    ///
    /// With [`Shutdown::Discard`] it replaces, for tasks, the drop of the last clone, which would block.
    ///
    /// # Errors
    /// Those of `shutdown`, with the pool.
    ///
    /// # Examples
    /// ```
    /// # use ringpool::{BufferPool, Shutdown, ShutdownError, report::FlushReport};
    /// async fn close(pool: BufferPool) -> Result<FlushReport, ShutdownError> {
    ///     pool.shutdown_async(Shutdown::Flush).await
    /// }
    /// # pollster::block_on(close(BufferPool::builder().frames(4).build().unwrap())).unwrap();
    /// ```
    pub fn shutdown_async(self, how: Shutdown) -> ShuttingDown {
        let (process, pool) = (self.shared().pool.process.clone(), self.downgrade());
        ShuttingDown { state: LazyWork::Idle((self, how)), process, pool }
    }
}

/// A shutdown, from [`BufferPool::shutdown_async`]: `.await` it.
///
/// Nothing begins before it is polled, and then the shutdown goes on to its end whether or not this is dropped. It has the pool meanwhile,
/// so dropped before it is polled, it drops a clone of the pool, perhaps the last one.
///
/// In a process that is [forked](BufferPool#processes-that-are-forked) meanwhile it is [`Error::Forked`], with the pool. Where the pool had ended by
/// then it gives the outcome, or panics if that was not there yet.
#[must_use = "a pool is not shut down before this is awaited"]
pub struct ShuttingDown {
    state: LazyWork<(BufferPool, Shutdown), EndOfPool>,
    process: Process,
    /// For a process that is forked meanwhile.
    pool: Weak<Background>,
}

type EndOfPool = Result<FlushReport, ShutdownError>;

/// Has a thread end the pool, or does so where the system gives none.
fn start((pool, how): (BufferPool, Shutdown), promise: &Arc<Promise<EndOfPool>>) {
    if pool.shared().check_process().is_err() {
        return promise.set(pool.shutdown(how));
    }
    // Handed over for good, so that no clone is left for this thread to drop; and taken back if there is no thread.
    let hand_over = Arc::new(Mutex::new(Some(pool)));
    let body = {
        let (hand_over, promise) = (Arc::clone(&hand_over), Arc::clone(promise));
        move || {
            let pool = hand_over.lock().take();
            pool.into_iter().for_each(|pool| promise.set(end(pool, how)));
        }
    };
    if thread::spawn("ringpool-shutdown".into(), body).is_err() {
        let pool = hand_over.lock().take();
        promise.set(end(pool.expect("no thread was started"), how));
    }
}

/// Ends the pool, and drops it if that succeeds.
fn end(pool: BufferPool, how: Shutdown) -> EndOfPool {
    let kept = pool.clone();
    let ended = callback::contained(|| pool.shutdown(how))
        .unwrap_or_else(|_| Err(ShutdownError::new(kept.clone(), Error::panicked(Callback::Unknown))));
    // With the last clone go the engine's log and codec, whose drop may panic. The pool has ended all the same.
    let _ = callback::contained(|| drop(kept));
    ended
}

impl Future for ShuttingDown {
    type Output = EndOfPool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<EndOfPool> {
        if let LazyWork::Running(promise) = &self.state
            && !self.process.is_current()
        {
            // No thread goes on with it here, nor releases what it had locked at the fork.
            let forked = self.pool.upgrade();
            let forked = forked.map(|of| Err(ShutdownError::new(BufferPool::of(of), Error::Forked)));
            let ended = forked.or_else(|| promise.take_at_once());
            return Poll::Ready(
                ended
                    .expect("this process was forked at the very end of the pool, and has no result of that"),
            );
        }
        self.state.poll(cx.waker(), start)
    }
}

impl fmt::Debug for ShuttingDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShuttingDown({})", self.state.stage())
    }
}
