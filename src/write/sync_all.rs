//! Syncing many files at once.
//!
//! A sync waits for a device and nothing else, so files are synced side by side. Those of asynchronous files are started first, which takes
//! no thread: all are under way at once, up to 256, since a sync of a store far away takes long and costs this machine nothing. Of the
//! other files the calling thread takes one after another, and job threads, as far as there are any, take others. The calling thread does
//! not rely on them: it syncs the files that no other thread takes, so this ends even if every job thread waits for something.
//!
//! Lock order: the outcome's lock is taken alone.

use crate::{
    error::{Callback, Error, Result},
    events::AskingSpan,
    id::FileId,
    io::file::File,
    observe::Counters,
    runtime::{jobs::WaitsFor, shared::Shared},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
        callback,
    },
};

/// Files that are synced at once by threads.
const AT_ONCE: usize = 4;

/// Asynchronous files whose syncs are under way at once.
const STARTED_AT_ONCE: usize = 256;

/// Syncs every file with unsynced writes; all of them, even if one fails. Returns their number, or the first error.
pub(crate) fn sync_all(shared: &Shared) -> Result<u64> {
    let mut files = shared.files.all();
    // Asynchronous ones first, else in the same order as before.
    files.sort_by_key(|file| file.asynchronous.is_none());
    let by_threads = |file: &&Arc<File>| file.asynchronous.is_none() && file.is_unsynced();
    let by_threads = files.iter().filter(by_threads).count();
    let syncs = Arc::new(Syncs {
        files,
        next: AtomicUsize::new(0),
        counters: Arc::clone(&shared.counters),
        outcome: Mutex::default(),
        moved: Condvar::new(),
    });
    for _ in 1..by_threads.min(AT_ONCE) {
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
    /// Syncs of asynchronous files that are under way.
    started: usize,
    synced: u64,
    /// With its file, so that the first error is the same in every run.
    first_error: Option<(FileId, Error)>,
}

impl Syncs {
    /// Syncs files that no thread has taken yet until there is none.
    fn take_part(self: &Arc<Self>) {
        while let Some(file) = self.take() {
            if file.asynchronous.is_some() && !seeded!("far_syncs_one_by_one") {
                self.start(file);
                continue;
            }
            // One that panics is through, too: the calling thread waits for each.
            let synced = callback::contained(|| file.sync(&self.counters)).unwrap_or_else(|_| {
                Err(Error::Panicked { callback: Callback::Sync, page: None, path: Some(file.path.clone()) })
            });
            self.end(file.id, synced, 0);
        }
    }

    /// Starts the sync of an asynchronous file, as soon as there are few enough under way.
    fn start(self: &Arc<Self>, file: &Arc<File>) {
        let mut outcome = self.outcome.lock();
        while outcome.started >= STARTED_AT_ONCE {
            outcome = self.moved.wait(outcome);
        }
        outcome.started += 1;
        drop(outcome);
        let (syncs, id) = (Arc::clone(self), file.id);
        file.start_sync(&self.counters, move |synced| syncs.end(id, synced, 1));
    }

    /// Notes the outcome for a file; `started` is 1 if it counts as under way.
    fn end(&self, file: FileId, synced: Result<bool>, started: usize) {
        let mut outcome = self.outcome.lock();
        outcome.done += 1;
        outcome.started -= started;
        match synced {
            Ok(did) => outcome.synced += u64::from(did),
            Err(error) if outcome.first_error.as_ref().is_none_or(|&(first, _)| file < first) => {
                outcome.first_error = Some((file, error));
            }
            Err(_) => {}
        }
        drop(outcome);
        self.moved.notify_all();
    }

    fn take(&self) -> Option<&Arc<File>> {
        self.files.get(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn wait(&self) -> Result<u64> {
        let mut outcome = self.outcome.lock();
        while outcome.done < self.files.len() {
            outcome = self.moved.wait(outcome);
        }
        outcome.first_error.take().map_or(Ok(outcome.synced), |(_, error)| Err(error))
    }
}
