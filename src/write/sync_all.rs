//! Syncing many files at once.
//!
//! A sync waits for a device and nothing else, so files are synced side by side: the calling thread takes one after another, and
//! job threads, as far as there are any, take others. The calling thread does not rely on them: it syncs the files that no other
//! thread takes, so this ends even if every job thread waits for something.
//!
//! Lock order: the outcome's lock is taken alone.

use crate::{
    error::{Callback, Error, Result},
    events::AskingSpan,
    io::file::File,
    observe::Counters,
    runtime::{jobs::WaitsFor, shared::Shared},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
        callback,
    },
};

/// Files that are synced at once.
const AT_ONCE: usize = 4;

/// Syncs every file with unsynced writes; all of them, even if one fails. Returns their number, or the first error.
pub(crate) fn sync_all(shared: &Shared) -> Result<u64> {
    let files = shared.files.all();
    let unsynced = files.iter().filter(|file| file.is_unsynced()).count();
    let syncs = Arc::new(Syncs {
        files,
        next: AtomicUsize::new(0),
        counters: Arc::clone(&shared.counters),
        outcome: Mutex::default(),
        moved: Condvar::new(),
    });
    for _ in 1..unsynced.min(AT_ONCE) {
        let helper = Arc::clone(&syncs);
        let asking = AskingSpan::current();
        let help = move || asking.run(|| helper.take_part());
        // Where no thread can be had, there is no help.
        drop(shared.jobs.submit(WaitsFor::Disks, Box::new(help)));
    }
    syncs.take_part();
    syncs.wait()
}

struct Syncs {
    files: Vec<Arc<File>>,
    next: AtomicUsize,
    counters: Arc<Counters>,
    outcome: Mutex<Outcome>,
    moved: Condvar,
}

#[derive(Default)]
struct Outcome {
    /// Files whose sync has ended, well or not.
    done: usize,
    synced: u64,
    /// With the place of its file, so that the first error is the same in every run.
    first_error: Option<(usize, Error)>,
}

impl Syncs {
    /// Syncs files that no thread has taken yet until there is none.
    fn take_part(&self) {
        while let Some((at, file)) = self.take() {
            // One that panics is through, too: the calling thread waits for each.
            let synced = callback::contained(|| file.sync(&self.counters)).unwrap_or_else(|_| {
                Err(Error::Panicked { callback: Callback::Sync, page: None, path: Some(file.path.clone()) })
            });
            let mut outcome = self.outcome.lock();
            outcome.done += 1;
            match synced {
                Ok(did) => outcome.synced += u64::from(did),
                Err(error) if outcome.first_error.as_ref().is_none_or(|&(first, _)| at < first) => {
                    outcome.first_error = Some((at, error));
                }
                Err(_) => {}
            }
            self.moved.notify_all();
        }
    }

    fn take(&self) -> Option<(usize, &File)> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        self.files.get(at).map(|file| (at, &**file))
    }

    fn wait(&self) -> Result<u64> {
        let mut outcome = self.outcome.lock();
        while outcome.done < self.files.len() {
            outcome = self.moved.wait(outcome);
        }
        outcome.first_error.take().map_or(Ok(outcome.synced), |(_, error)| Err(error))
    }
}
