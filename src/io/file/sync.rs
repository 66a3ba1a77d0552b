//! Making a file's writes durable: one sync at a time, and none that reports success after one has failed.
//!
//! A sync is begun, and ended by any thread: the call that waits for it, or the end of a request of an asynchronous file, so that many of
//! those are under way at once without a thread each. A thread that wants another meanwhile waits for its end.
//!
//! Lock order: the lock is a leaf, and not held across a sync.

use std::io;

use super::File;
use crate::{
    error::{Error, IoOp, Result},
    events,
    io::storage::request::SyncRequest,
    observe::{Counter, Counters, Measure},
    sync::{
        Arc, Condvar, Mutex,
        atomic::Ordering,
        callback,
        time::{self, Instant},
    },
};

/// The sync of a file that is under way, and what came of those before it.
#[derive(Debug, Default)]
pub(super) struct SyncTurns {
    state: Mutex<SyncState>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct SyncState {
    is_under_way: bool,
    /// The error of the first one that failed.
    poison: Option<Arc<io::Error>>,
}

/// A sync that has begun. If it is dropped it has failed.
struct BegunSync<F: AsRef<File>> {
    file: F,
    begun: Instant,
    has_ended: bool,
}

impl AsRef<Self> for File {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl File {
    /// Returns the error that every sync gives since one failed. Waits for one that is under way.
    pub(crate) fn poison(&self) -> Option<Error> {
        let mut state = self.sync.state.lock();
        while state.is_under_way {
            state = self.sync.ended.wait(state);
        }
        state.poison.as_ref().map(|source| self.poisoned_by(source))
    }

    /// Makes every write durable that has come back by now. Returns whether there was any.
    pub(crate) fn sync(&self, counters: &Counters) -> Result<bool> {
        let Some(under_way) = BegunSync::begin(self, counters)? else { return Ok(false) };
        let synced = self.disk.sync_data();
        under_way.end(synced, counters).map(|()| true)
    }

    /// Makes every write of an asynchronous file durable that has come back by now. The outcome is as of [`sync`](Self::sync), and `tell` is
    /// called with it by the thread that ends the request; it waits for none but another sync of the file.
    pub(crate) fn start_sync(
        self: &Arc<Self>,
        counters: &Arc<Counters>,
        tell: impl FnOnce(Result<bool>) + Send + 'static,
    ) {
        let begun = BegunSync::begin(Arc::clone(self), counters);
        let under_way = match begun {
            Ok(Some(under_way)) => under_way,
            Ok(None) => return tell(Ok(false)),
            Err(error) => return tell(Err(error)),
        };
        let stored = self.asynchronous.as_deref().expect("an asynchronous file");
        let counters = Arc::clone(counters);
        let request = SyncRequest::new(Box::new(move |outcome| {
            tell(under_way.end(outcome.map(drop), &counters).map(|()| true));
        }));
        // A panic drops the request, or has left it with the file, which ends it all the same.
        let _ = callback::contained(|| stored.sync(request));
    }
}

impl<F: AsRef<File>> BegunSync<F> {
    /// Begins a sync when no other is under way. Returns `None` if there is nothing to sync.
    fn begin(owner: F, counters: &Counters) -> Result<Option<Self>> {
        let file = owner.as_ref();
        let mut state = file.sync.state.lock();
        while state.is_under_way {
            state = file.sync.ended.wait(state);
        }
        if let Some(source) = &state.poison {
            return Err(file.poisoned_by(source));
        }
        // Cleared first: a write that comes back during the sync may not be covered by it and sets it again.
        if !file.unsynced.swap(false, Ordering::SeqCst) {
            return Ok(None);
        }
        state.is_under_way = true;
        drop(state);
        counters.add(Counter::Syncs, 1);
        Ok(Some(Self { file: owner, begun: time::now(), has_ended: false }))
    }

    /// Ends it, and notes how long it took.
    fn end(mut self, outcome: io::Result<()>, counters: &Counters) -> Result<()> {
        let file = self.file.as_ref();
        let took = time::now() - self.begun;
        counters.measures.add_time(Measure::Sync, took);
        file.activity.syncs.add(took.as_nanos() as u64, 1);
        file.activity.note_failure(outcome.is_err());
        let outcome = outcome.map_err(Arc::new);
        self.has_ended = true;
        file.end_sync(outcome.as_ref().err());
        let outcome = outcome.map_err(|source| {
            counters.add(Counter::Failures, 1);
            file.error(IoOp::Sync, source)
        });
        let pool = &counters.pool;
        if counters.is_slow(took.as_nanos() as u64) {
            let took = events::seconds(took);
            events::slow_io(pool, IoOp::Sync, file.id, &file.path, None, None, took);
        }
        if let Err(error) = &outcome {
            events::sync_failed(pool, file.id, &file.path, error);
        }
        outcome
    }
}

impl<F: AsRef<File>> Drop for BegunSync<F> {
    fn drop(&mut self) {
        if !self.has_ended {
            let source = Arc::new(io::Error::other("the sync did not come to an end"));
            self.file.as_ref().end_sync(Some(&source));
        }
    }
}

impl File {
    fn end_sync(&self, error: Option<&Arc<io::Error>>) {
        let mut state = self.sync.state.lock();
        state.is_under_way = false;
        state.poison = error.filter(|_| !seeded!("failed_sync_forgotten")).cloned();
        drop(state);
        self.sync.ended.notify_all();
    }
}
