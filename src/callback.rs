//! Calls into the engine's own code: its log, its codec, its tasks' wakers.
//!
//! Any thread that reads or writes a page may have to make such a call, on behalf of a caller that never asked for that page. So a
//! panic ends here (C10): it fails the operation, and unwinds neither through the pool's own state nor through that caller.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::error::{Error, Result};

/// Runs what belongs to the engine.
///
/// # Errors
/// [`Error::Panicked`].
pub(crate) fn contained<T>(body: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        // What it panicked with may panic in turn when it is dropped.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            mem::forget(again);
        }
        Error::Panicked
    })
}
