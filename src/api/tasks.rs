//! Operations that a task awaits where a thread would block. A job opens a file. The end of a pool waits for the threads of all
//! jobs, so it has a thread of its own.

use std::{
    fmt,
    hash::{Hash, Hasher},
    mem,
    path::Path,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use rustc_hash::FxHasher;

use crate::{
    api::{
        background::Background,
        buffer_pool::{BufferPool, ShutdownError},
        shutdown::Shutdown,
    },
    buffer::memory::process::Process,
    error::{Callback, Error},
    files,
    id::FileId,
    io::file::open_options::OpenOptions,
    runtime::{
        completion::{Completion, Promise},
        jobs::WaitsFor,
    },
    sync::{Arc, Mutex, Weak, callback, thread},
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
        ShuttingDown(ShutdownState::Idle(self, how))
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
pub struct ShuttingDown(ShutdownState);

type EndOfPool = Result<FlushReport, ShutdownError>;

enum ShutdownState {
    Idle(BufferPool, Shutdown),
    Running(RunningShutdown),
    Collected,
}

/// A shutdown that a thread of the pool's process has in hand.
struct RunningShutdown {
    promise: Arc<Promise<EndOfPool>>,
    process: Process,
    /// For a process that is forked meanwhile.
    pool: Weak<Background>,
}

impl RunningShutdown {
    fn poll(&self, waker: &Waker) -> Poll<EndOfPool> {
        if self.process.is_current() {
            return self.promise.poll(waker);
        }
        // No thread goes on with it here, nor releases what it had locked at the fork.
        let forked = self.pool.upgrade();
        let forked = forked.map(|of| Err(ShutdownError::new(BufferPool::of(of), Error::Forked)));
        let ended = forked.or_else(|| self.promise.take_at_once());
        Poll::Ready(
            ended.expect("this process was forked at the very end of the pool, and has no result of that"),
        )
    }
}

/// Has a thread end the pool. Returns the outcome where the calling thread had to do it, since the system gives no other.
fn start(pool: BufferPool, how: Shutdown) -> Result<RunningShutdown, EndOfPool> {
    if pool.shared().check_process().is_err() {
        return Err(pool.shutdown(how));
    }
    let promise = Arc::new(Promise::new());
    let process = pool.shared().pool.process.clone();
    let running = RunningShutdown { promise: Arc::clone(&promise), process, pool: pool.downgrade() };
    // Handed over for good, so that no clone is left for this thread to drop; and taken back if there is no thread.
    let hand_over = Arc::new(Mutex::new(Some(pool)));
    let body = {
        let hand_over = Arc::clone(&hand_over);
        move || {
            let pool = hand_over.lock().take();
            if let Some(outcome) = pool.map(|pool| end(pool, how)) {
                promise.set(outcome);
            }
        }
    };
    if thread::spawn("ringpool-shutdown".into(), body).is_ok() {
        return Ok(running);
    }
    let pool = hand_over.lock().take();
    Err(end(pool.expect("no thread was started"), how))
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
        let state = &mut self.0;
        if matches!(state, ShutdownState::Idle(..))
            && let ShutdownState::Idle(pool, how) = mem::replace(state, ShutdownState::Collected)
        {
            match start(pool, how) {
                Ok(running) => *state = ShutdownState::Running(running),
                Err(outcome) => return Poll::Ready(outcome),
            }
        }
        let ShutdownState::Running(running) = state else {
            panic!("a shutdown was polled after it had given its result");
        };
        let polled = running.poll(cx.waker());
        if polled.is_ready() {
            *state = ShutdownState::Collected;
        }
        polled
    }
}

impl fmt::Debug for ShuttingDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            ShutdownState::Idle(..) => "ShuttingDown(not started)",
            ShutdownState::Running(_) => "ShuttingDown(running)",
            ShutdownState::Collected => "ShuttingDown(collected)",
        })
    }
}
