//! What all checks have in common: the storage, what is asked for now, and which promises were checked.
//!
//! The checks run in a thread of their own, beside which a second one watches: a call of the storage that never returns ends the run, not
//! the test. Each step says first which promise it is about and what it asks for.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver},
};

use super::{
    promise::{
        BrokenPromise, ConformanceReport,
        StoragePromise::{
            self, EndsEach, EndsOutsideItsLocks, FailsNever, IdentityIsOfTheFile, LeavesMemoryAlone,
        },
    },
    stamp::{self, Unlike},
};
use crate::{
    OpenOptions, PageSize,
    io::{
        aligned::AlignedZeros,
        storage::{Opened, Storage},
    },
    sync::{
        Arc, Mutex, thread,
        time::{self, Duration, Instant},
    },
    testing::Dice,
};

/// The outcome of a check.
pub(super) type Kept<T = ()> = Result<T, BrokenPromise>;

#[derive(Clone, Debug)]
pub(super) struct CheckSettings {
    pub(super) folder: PathBuf,
    pub(super) seed: u64,
    pub(super) page_size: PageSize,
    pub(super) rounds: u32,
    pub(super) patience: Duration,
    pub(super) longest_file: Option<u64>,
}

pub(super) struct Checker {
    pub(super) storage: Mutex<Arc<dyn Storage>>,
    pub(super) settings: CheckSettings,
    watched: Mutex<Watched>,
    ended: Mutex<EndedMemory>,
}

/// Memory whose requests have ended, marked as such.
#[derive(Default)]
struct EndedMemory {
    kept: VecDeque<AlignedZeros>,
    found: Option<Unlike>,
}

impl EndedMemory {
    fn look(&mut self, memory: &AlignedZeros) {
        if let Err(found) = stamp::check_ended(memory.as_slice()) {
            self.found.get_or_insert(found);
        }
    }
}

const ENDED: usize = 512;

/// How long a storage has to touch memory that is not its own any more.
const AFTER_THE_END: Duration = Duration::from_millis(30);

struct Watched {
    step: CheckStep,
    since: Instant,
    files: u32,
    names: BTreeSet<PathBuf>,
    /// Of the files that are there.
    identities: BTreeMap<PathBuf, (u64, u64)>,
    kept: BTreeSet<StoragePromise>,
    report: ConformanceReport,
}

/// What the storage is asked for, and which promise is broken if that does not do.
#[derive(Clone, Debug)]
pub(super) struct CheckStep {
    promise: StoragePromise,
    asked: String,
    seed: u64,
}

impl CheckStep {
    pub(super) fn broken(&self, found: impl Into<String>) -> BrokenPromise {
        self.broken_as(self.promise, found)
    }

    pub(super) fn broken_as(&self, promise: StoragePromise, found: impl Into<String>) -> BrokenPromise {
        BrokenPromise { promise, asked: self.asked.clone(), found: found.into(), seed: self.seed }
    }

    pub(super) fn done<T>(&self, outcome: io::Result<T>) -> Kept<T> {
        outcome.map_err(|error| self.broken_as(FailsNever, format!("an error: {error}")))
    }

    /// Names a call that has failed by this step's promise, where it is about just that call.
    pub(super) fn own<T>(&self, outcome: Kept<T>) -> Kept<T> {
        outcome.map_err(|broken| match broken.promise {
            FailsNever => BrokenPromise { promise: self.promise, ..broken },
            _ => broken,
        })
    }

    pub(super) fn ensure(&self, is_so: bool, found: impl FnOnce() -> String) -> Kept {
        if is_so { Ok(()) } else { Err(self.broken(found())) }
    }

    pub(super) fn like(&self, compared: Result<(), Unlike>) -> Kept {
        compared.map_err(|(broken, found)| self.broken_as(broken.unwrap_or(self.promise), found))
    }

    /// Makes the fault of a call, or a request, that has not ended. One that can only end outside of a lock is named by that.
    pub(super) fn late(&self, patience: Duration, what: &str) -> BrokenPromise {
        let promise = match self.promise {
            EndsOutsideItsLocks => self.promise,
            _ => EndsEach,
        };
        self.broken_as(promise, format!("{what} has not ended after {patience:?}"))
    }
}

impl Checker {
    pub(super) fn new(storage: Arc<dyn Storage>, settings: CheckSettings) -> Self {
        let watched = Watched {
            step: CheckStep { promise: EndsEach, asked: "nothing yet".to_owned(), seed: settings.seed },
            since: time::now(),
            files: 0,
            names: BTreeSet::new(),
            identities: BTreeMap::new(),
            kept: BTreeSet::new(),
            report: ConformanceReport::default(),
        };
        Self { storage: Mutex::new(storage), settings, watched: Mutex::new(watched), ended: Mutex::default() }
    }

    /// Runs the checks in a thread of its own, and gives up where a call does not return.
    pub(super) fn run(
        self,
        checks: impl FnOnce(&Arc<Self>) -> Kept + Send + 'static,
    ) -> Kept<ConformanceReport> {
        let checker = Arc::new(self);
        let of_thread = Arc::clone(&checker);
        let (ending, ended) = mpsc::channel();
        let spawned = thread::spawn("ringpool-conform".to_owned(), move || {
            let checked = catch_unwind(AssertUnwindSafe(|| checks(&of_thread)));
            let outcome = checked.unwrap_or_else(|panic| Err(of_thread.panicked(&*panic)));
            let settled = of_thread.settle();
            of_thread.remove_files();
            let _ = ending.send(outcome.and(settled));
        });
        checker.watched.lock().step.done(spawned)?;
        checker.watch(&ended)?;
        let watched = checker.watched.lock();
        Ok(ConformanceReport { kept: watched.kept.iter().copied().collect(), ..watched.report.clone() })
    }

    /// Waits for the outcome, as long as there is progress.
    fn watch(&self, ended: &Receiver<Kept>) -> Kept {
        // A request that is late is found by the thread that waits for it; the rest is for calls that do not return.
        let patience = self.settings.patience.saturating_mul(2);
        loop {
            if let Ok(outcome) = ended.recv_timeout(patience / 8) {
                return outcome;
            }
            let watched = self.watched.lock();
            if watched.since.elapsed() > patience {
                return Err(watched.step.late(patience, "a call of the storage"));
            }
        }
    }

    fn panicked(&self, panic: &(dyn std::any::Any + Send)) -> BrokenPromise {
        let texts =
            (panic.downcast_ref::<String>().map(String::as_str), panic.downcast_ref::<&str>().copied());
        let text = texts.0.or(texts.1).unwrap_or("without a text");
        self.watched.lock().step.broken_as(FailsNever, format!("a panic: {text}"))
    }

    /// Begins to ask for something, about a promise.
    pub(super) fn step(&self, promise: StoragePromise, asked: impl Into<String>) -> CheckStep {
        let step = CheckStep { promise, asked: asked.into(), seed: self.settings.seed };
        let mut watched = self.watched.lock();
        (watched.step, watched.since) = (step.clone(), time::now());
        watched.kept.insert(promise);
        step
    }

    /// Keeps memory whose request has ended, to look at it later.
    pub(super) fn keep_ended(&self, memory: AlignedZeros) {
        let mut ended = self.ended.lock();
        ended.kept.push_back(memory);
        if ended.kept.len() > ENDED {
            let oldest = ended.kept.pop_front().expect("it was not empty");
            ended.look(&oldest);
        }
    }

    /// Waits until what comes late is there, and looks whether the memory of ended requests was left alone.
    pub(super) fn settle(&self) -> Kept {
        let step =
            self.step(LeavesMemoryAlone, "requests that ended, whose memory was then used for other things");
        std::thread::sleep(AFTER_THE_END);
        let mut ended = self.ended.lock();
        let kept = mem::take(&mut ended.kept);
        kept.iter().for_each(|memory| ended.look(memory));
        ended.found.take().map_or(Ok(()), |found| step.like(Err(found)))
    }

    /// Notes that a request has ended: there is progress.
    pub(super) fn tick(&self) {
        let mut watched = self.watched.lock();
        watched.since = time::now();
        watched.report.requests += 1;
    }

    pub(super) fn reached(&self, len: u64) {
        let longest = &mut self.watched.lock().report.longest_file;
        *longest = len.max(*longest);
    }

    pub(super) fn skip(&self, promise: StoragePromise, why: &'static str) {
        let mut watched = self.watched.lock();
        watched.kept.remove(&promise);
        watched.report.unchecked.push((promise, why));
    }

    pub(super) fn storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.storage.lock())
    }

    pub(super) fn dice(&self, check: u64) -> Dice {
        Dice::apart(self.settings.seed, [check])
    }

    pub(super) fn page_bytes(&self) -> usize {
        self.settings.page_size.bytes()
    }

    /// Returns the number and the path of a file that is not there yet.
    pub(super) fn new_path(&self) -> (u32, PathBuf) {
        let mut watched = self.watched.lock();
        watched.files += 1;
        (watched.files, self.settings.folder.join(format!("conformance-{}", watched.files)))
    }

    /// Opens a file as the pool does: one that another opening still holds for a moment is tried again.
    pub(super) fn open(
        &self,
        step: &CheckStep,
        path: &Path,
        options: &OpenOptions,
    ) -> Kept<io::Result<Opened>> {
        let late = time::deadline_after(self.settings.patience);
        loop {
            let opened = self.storage().open(path, options, self.settings.page_size);
            if !opened.as_ref().is_ok_and(|opened| opened.is_in_use) {
                if let Ok(Opened { name: Some(name), .. }) = &opened {
                    self.remember(name);
                }
                return Ok(opened);
            }
            if time::now() > late {
                return Err(step.broken_as(FailsNever, "a file that is still in use after it was closed"));
            }
            drop(opened);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Notes the identity of a file that is there: no other one has it.
    pub(super) fn note_identity(&self, step: &CheckStep, path: &Path, identity: (u64, u64)) -> Kept {
        let mut watched = self.watched.lock();
        let mut others = watched.identities.iter().filter(|(other, _)| *other != path);
        if let Some((other, _)) = others.find(|(_, of_other)| **of_other == identity) {
            let found = format!("{identity:?}, as of {}", other.display());
            return Err(step.broken_as(IdentityIsOfTheFile, found));
        }
        watched.identities.insert(path.to_owned(), identity);
        Ok(())
    }

    /// Forgets the identity of a file that was removed, or those of all files: none need be the same after a crash.
    pub(super) fn forget_identities(&self, path: Option<&Path>) {
        self.watched.lock().identities.retain(|other, _| path.is_some_and(|path| path != other));
    }

    pub(super) fn remember(&self, name: &Path) {
        self.watched.lock().names.insert(name.to_owned());
    }

    /// Removes what the checks have made. What is gone already is no fault.
    fn remove_files(&self) {
        let names = mem::take(&mut self.watched.lock().names);
        let storage = self.storage();
        let _ = catch_unwind(AssertUnwindSafe(|| names.iter().for_each(|name| drop(storage.remove(name)))));
    }
}
