//! Threads that the system refuses.

#[cfg(not(any(loom, shuttle)))]
use crate::sync::thread;

/// Runs `body` as if the system refused threads, for want of memory or by a limit: of the threads that a pool starts in the calling
/// thread meanwhile, `after` are started and the next `times` are refused. (Those that other threads of the pool start are not
/// refused.)
///
/// ```
/// use ringpool::{BufferPool, IoMethod, testing::refuse_threads, stats::MethodKind};
///
/// let pool = refuse_threads(0, u64::MAX, || BufferPool::builder().frames(16).build())?;
/// assert_eq!(pool.stats().method.in_use, MethodKind::Sync);
/// let refused = refuse_threads(0, 8, || BufferPool::builder().frames(16).io_method(IoMethod::worker()).build());
/// assert!(refused.is_err());
/// # Ok::<(), ringpool::Error>(())
/// ```
pub fn refuse_threads<R>(after: u64, times: u64, body: impl FnOnce() -> R) -> R {
    // A model checker has threads of its own.
    #[cfg(any(loom, shuttle))]
    return (|_, _| body())(after, times);
    #[cfg(not(any(loom, shuttle)))]
    thread::refused(after, times, body)
}
