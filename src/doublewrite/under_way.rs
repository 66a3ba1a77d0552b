//! How many batches are on their way to their places.

use crate::sync::{Arc, Condvar, Mutex};

#[derive(Debug, Default)]
pub(super) struct UnderWay {
    batches: Mutex<usize>,
    none: Condvar,
}

impl UnderWay {
    /// One more batch sets out.
    pub(super) fn begin(self: &Arc<Self>) -> OnTheirWay {
        *self.batches.lock() += 1;
        OnTheirWay(Arc::clone(self))
    }

    /// Waits until all have arrived, or have been given up.
    pub(super) fn wait(&self) {
        let mut batches = self.batches.lock();
        while *batches > 0 {
            batches = self.none.wait(batches);
        }
    }
}

/// A batch whose copies are durable and whose pages may be written to their places. Shared by its writes; each keeps it until
/// it has come back and its file is known to want a sync.
#[derive(Debug)]
pub(crate) struct OnTheirWay(Arc<UnderWay>);

impl Drop for OnTheirWay {
    fn drop(&mut self) {
        let mut batches = self.0.batches.lock();
        *batches -= 1;
        if *batches == 0 {
            self.0.none.notify_all();
        }
    }
}
