//! The end of a pool: from when on nothing in it waits for a user.
//!
//! Who drops a pool, or shuts it down, waits for what goes on behind the scenes. What goes on there may want something of a user:
//! a latch, that a pin goes, that time passes. From the beginning of the end on it does without, because the one whom it waits
//! for may be the very thread that waits for it. What it could not have it reports as [`Error::ShutDown`](crate::Error::ShutDown)
//! or as it would after a long wait, and no change is lost by that. Disks are waited for as before.
//!
//! Those waits are short sleeps, after each of which this is looked at.

use crate::sync::atomic::{AtomicBool, Ordering};

#[derive(Default)]
pub(crate) struct Ending(AtomicBool);

impl Ending {
    /// Idempotent.
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
