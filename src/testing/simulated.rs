//! A run that a seed decides in full.

#[cfg(not(any(loom, shuttle)))]
use crate::sync::simulation;

/// Runs `body` so that nothing but its input decides what happens, not even the clock.
///
/// For the calling thread, as long as `body` runs:
///
/// * The clock of every pool is simulated. Each reading moves it on by a microsecond. A wait with a limit on time, and a
///   [delay](super::Fault::delay) on a disk, move it on by what they would take, and take no time. So an hour's
///   [`frame_wait`](crate::Builder::frame_wait) costs nothing.
/// * A pool starts no thread, as if the system refused all of them. So its method is [`IoMethod::Sync`](crate::IoMethod::Sync), to
///   which [`Auto`](crate::IoMethod::Auto) comes down, and those that must have threads are refused by
///   [`build`](crate::Builder::build). It has no [background writer](crate::options::BackgroundWriter), syncs one file after
///   another, and does in `poll` what a job thread would do.
/// * A pool's random numbers are a fixed sequence.
///
/// Build, use and drop the pool inside, and share it with no other thread, which would have another clock. A wait without a limit
/// on time that only another thread could end lasts for ever.
///
/// ```
/// use std::time::{Duration, Instant};
/// use ringpool::{BufferPool, Error, OpenOptions, PageId, testing::{SimDisk, simulated}};
///
/// let begun = Instant::now();
/// simulated(|| {
///     let disk = SimDisk::new();
///     disk.put("heap", vec![1; 2 * 8192]);
///     let builder = BufferPool::builder().frames(1).frame_wait(Duration::from_secs(3600));
///     let pool = builder.storage(disk).build()?;
///     let heap = pool.open_file("heap", OpenOptions::new())?;
///     let _pinned = pool.fetch(PageId::new(heap, 0)).wait()?;
///     let refused = pool.fetch(PageId::new(heap, 1)).wait();
///     assert!(matches!(refused, Err(Error::AllPinned { waited, .. }) if waited >= Duration::from_secs(3600)));
///     Ok::<(), Error>(())
/// })?;
/// assert!(begun.elapsed() < Duration::from_secs(600));
/// # Ok::<(), Error>(())
/// ```
pub fn simulated<R>(body: impl FnOnce() -> R) -> R {
    // A model checker has a clock of its own.
    #[cfg(any(loom, shuttle))]
    return body();
    #[cfg(not(any(loom, shuttle)))]
    simulation::run(body)
}
