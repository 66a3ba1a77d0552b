//! What a person should hear of: events through `tracing` where that feature is on, else nothing.

use std::{
    fmt::{Debug, Display},
    path::Path,
};

use crate::id::{FileId, PageId};

/// The pool was built, with this I/O method; why not with a better one; and what is registered with a ring.
pub(crate) fn opened(
    in_use: &dyn Display,
    reason: Option<&str>,
    fixed_buffers: &dyn Debug,
    fixed_files: &dyn Debug,
) {
    #[cfg(feature = "tracing")]
    tracing::info!(method = %in_use, reason, fixed_buffers = ?fixed_buffers, fixed_files = ?fixed_files, "pool opened");
    #[cfg(not(feature = "tracing"))]
    let _ = (in_use, reason, fixed_buffers, fixed_files);
}

/// A ring is of no use any more: what it did is done by threads.
#[cfg(all(feature = "uring", target_os = "linux", not(any(loom, shuttle))))]
pub(crate) fn ring_lost(reason: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(reason, "a ring of io_uring was given up: what it did is done by worker threads");
    #[cfg(not(feature = "tracing"))]
    let _ = reason;
}

/// For the first time a page was changed without a log position, in a pool with a log.
pub(crate) fn unlogged(page: PageId) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%page, "a page was changed without set_lsn in a pool with a log; further ones are only counted");
    #[cfg(not(feature = "tracing"))]
    let _ = page;
}

/// The background writer could not write something, and rests.
pub(crate) fn cleaning_failed(error: &crate::error::Error) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%error, "the background writer could not write dirty pages and will try again");
    #[cfg(not(feature = "tracing"))]
    let _ = error;
}

/// Dirty pages were thrown away.
pub(crate) fn discarded(pages: u64) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        pages,
        "dirty pages were thrown away: the pool was dropped without shutdown(Shutdown::Flush)"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = pages;
}

/// A sync failed, and the file cannot be trusted any more.
pub(crate) fn poisoned(file: FileId, error: &crate::error::Error) {
    #[cfg(feature = "tracing")]
    tracing::error!(file = file.get(), %error, "a sync failed: what was written may be lost");
    #[cfg(not(feature = "tracing"))]
    let _ = (file, error);
}

/// Writes that had failed were repeated from their copies, and failed again: the area keeps those, and soon has no room for others.
pub(crate) fn copies_needed(path: &Path, error: &crate::error::Error) {
    #[cfg(feature = "tracing")]
    tracing::error!(path = %path.display(), %error, "pages that cannot be written keep their copies in the doublewrite area");
    #[cfg(not(feature = "tracing"))]
    let _ = (path, error);
}

/// A file had copies of pages in the doublewrite area, and so many of its pages were not as their copies.
pub(crate) fn restored(path: &Path, pages: u64) {
    #[cfg(feature = "tracing")]
    tracing::warn!(path = %path.display(), pages, "pages were restored after a crash");
    #[cfg(not(feature = "tracing"))]
    let _ = (path, pages);
}

/// A waker of a task panicked. The pool goes on; the task may wait for ever.
pub(crate) fn waker_panicked() {
    #[cfg(feature = "tracing")]
    tracing::error!("a task's waker panicked: has its executor gone?");
}
