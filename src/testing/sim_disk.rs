//! The disk: its files, its faults, its gates and its log, behind one lock, and the handle to all of them.
//!
//! An operation goes through the same stages whatever it is: it is logged; it waits while a gate holds it; faults strike
//! it; it happens, in one step under the lock; its end is logged. The lock is never held across a wait.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{
    TestDisk,
    fault::{Fault, Op, Struck, Which},
    log::{Event, Moment},
    medium::{Chance, Medium},
    sim_file::SimFile,
};
use crate::{
    config::{Fallback, OpenOptions},
    id::PageSize,
    io::{
        atomic::{self, AtomicUnits},
        disk::{DirectRefused, Disk, Opened},
    },
    sync::{
        Arc, Condvar, Mutex, thread,
        time::{self, Duration},
    },
};

/// What offsets and lengths of direct transfers must be multiples of.
pub(super) const SECTOR: u32 = 512;

/// What every operation gives while the power is off.
const EIO: i32 = 5;

/// How long [`Gate::wait_for`] waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// A disk in memory that fails where it is told to. All clones are one disk.
///
/// See the [module](super) for an example.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Hub>);

#[derive(Default)]
struct Hub {
    state: Mutex<State>,
    /// A gate was opened, or an operation came to one.
    moved: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) files: Vec<FileState>,
    faults: Vec<Fault>,
    gates: Vec<GateState>,
    log: Vec<Event>,
    operations: u64,
    capacity: Option<u64>,
    /// The longest atomic write; 0 for none.
    atomic_bytes: u32,
    /// The number of the operation during which the power goes off.
    power_cut: Option<u64>,
}

/// A file, under the path that it has or had.
pub(super) struct FileState {
    path: PathBuf,
    pub(super) medium: Medium,
    /// It was removed: whoever has it open goes on with it, and nobody finds it.
    removed: bool,
}

struct GateState {
    number: u64,
    which: Which,
    held: usize,
}

impl SimDisk {
    /// An empty disk without limits that does everything right.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a file on the disk, durably, or changes the one that is there, as another program would.
    pub fn put(&self, path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) {
        let mut state = self.0.state.lock();
        let file = state.file_or_new(path.as_ref());
        state.files[file].medium = Medium::new(bytes.into());
    }

    /// A file's bytes, as they are read now.
    #[must_use]
    pub fn image(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.0.state.lock();
        state.find(path.as_ref()).map(|file| state.files[file].medium.bytes().to_vec())
    }

    /// A file's bytes, as they were when the last sync that went well began: what a power cut cannot take.
    #[must_use]
    pub fn durable_image(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.0.state.lock();
        state.find(path.as_ref()).map(|file| state.files[file].medium.durable().to_vec())
    }

    /// Lets all files together have so many bytes; what would exceed that fails with `ENOSPC`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.state.lock().capacity = bytes;
    }

    /// Lets files that are opened from now on, directly, have atomic writes of up to so many bytes; 0 for none, as at first.
    pub fn set_atomic_writes(&self, bytes: u32) {
        self.0.state.lock().atomic_bytes = bytes;
    }

    /// Another disk, as this one may be found if its power is cut now: of every 512-byte sector that was written since its file
    /// was synced, either the old bytes are there or the new ones, and a file has one of the lengths that it had since then.
    /// Files were removed, or are there, for good. The same seed makes the same of the same.
    #[must_use]
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let (state, mut chance) = (self.0.state.lock(), Chance::new(seed));
        let found = Self::new();
        found.set_atomic_writes(state.atomic_bytes);
        found.0.state.lock().files = state
            .files
            .iter()
            .filter(|file| !file.removed)
            .map(|file| FileState {
                path: file.path.clone(),
                medium: file.medium.after_power_cut(&mut chance),
                removed: false,
            })
            .collect();
        found
    }

    /// Cuts the power during the n-th operation from now on; the next one is the first. To that one anything may happen that
    /// happens in a power cut, and it and all later ones fail.
    pub fn cut_power_during(&self, n: u64) {
        let mut state = self.0.state.lock();
        state.power_cut = Some(state.operations + n);
    }

    /// Whether the power was cut.
    #[must_use]
    pub fn is_without_power(&self) -> bool {
        let state = self.0.state.lock();
        state.power_cut.is_some_and(|last| last <= state.operations)
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.0.state.lock().faults.push(fault);
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        self.0.state.lock().faults.clear();
    }

    /// Holds operations, from now on, until the gate is opened or dropped. Faults strike when they go on.
    #[must_use = "the gate opens when it is dropped"]
    pub fn hold(&self, which: impl Into<Which>) -> Gate {
        let mut state = self.0.state.lock();
        state.operations += 1;
        let number = state.operations;
        state.gates.push(GateState { number, which: which.into(), held: 0 });
        Gate { disk: self.clone(), number }
    }

    /// All that happened since the disk was made, or the log was cleared.
    #[must_use]
    pub fn log(&self) -> Vec<Event> {
        self.0.state.lock().log.clone()
    }

    /// Forgets the log.
    pub fn clear_log(&self) {
        self.0.state.lock().log.clear();
    }

    /// How many of these operations the log has, whether they are over or not.
    #[must_use]
    pub fn count(&self, which: impl Into<Which>) -> usize {
        let which = which.into();
        let state = self.0.state.lock();
        let begun = state.log.iter().filter(|event| event.moment == Moment::Begin);
        begun.filter(|event| which.covers(event.op, &event.path)).count()
    }

    /// Takes an operation through its stages. `act` does it, given the most bytes that it may transfer.
    pub(super) fn operate(
        &self,
        (op, file, offset, len): (Op, usize, u64, usize),
        act: impl FnOnce(&mut State, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        state.operations += 1;
        let path = state.files[file].path.clone();
        let begin = Event { number: state.operations, op, path, offset, len, moment: Moment::Begin };
        state.log.push(begin.clone());
        while let Some(gate) = state.gates.iter_mut().find(|gate| gate.which.covers(op, &begin.path)) {
            let number = gate.number;
            gate.held += 1;
            self.0.moved.notify_all();
            while state.gates.iter().any(|gate| gate.number == number) {
                state = self.0.moved.wait(state);
            }
        }
        let mut struck = Struck::default();
        let bytes = offset..offset + len as u64;
        state.faults.iter_mut().for_each(|fault| fault.strike(op, &begin.path, &bytes, &mut struck));
        if !struck.delay.is_zero() {
            drop(state);
            sleep(struck.delay);
            state = self.0.state.lock();
        }
        let power_cut = state.power_cut.unwrap_or(u64::MAX);
        let outcome = match struck.errno {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None if begin.number > power_cut => Err(io::Error::from_raw_os_error(EIO)),
            None if begin.number == power_cut => {
                // What it changed is unsynced. A sync that nobody hears of is none.
                if op != Op::Sync {
                    let _ = act(&mut state, usize::MAX);
                }
                Err(io::Error::from_raw_os_error(EIO))
            }
            None => act(&mut state, struck.at_most.unwrap_or(usize::MAX)),
        };
        let told = outcome.as_ref().map_err(|error| error.raw_os_error().unwrap_or(0));
        state.log.push(Event { moment: Moment::End(told.copied()), ..begin });
        outcome
    }

    /// Looks at the files without that being an operation.
    pub(super) fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.0.state.lock())
    }
}

impl State {
    fn find(&self, path: &Path) -> Option<usize> {
        self.files.iter().position(|file| file.path == path && !file.removed)
    }

    fn file_or_new(&mut self, path: &Path) -> usize {
        self.find(path).unwrap_or_else(|| {
            self.files.push(FileState { path: path.to_owned(), medium: Medium::default(), removed: false });
            self.files.len() - 1
        })
    }

    /// The bytes by which files may still grow.
    pub(super) fn space(&self) -> u64 {
        let used: usize = self.files.iter().filter(|file| !file.removed).map(|file| file.medium.len()).sum();
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(used as u64))
    }
}

/// Sleeps, in steps that a park which ends early cannot cut short.
fn sleep(time: Duration) {
    let until = time::now() + time;
    while time::now() < until {
        thread::park_timeout(until.saturating_duration_since(time::now()));
    }
}

impl TestDisk for SimDisk {}

impl Disk for SimDisk {
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
        let mut state = self.0.state.lock();
        if state.find(path).is_none() && !options.create {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = state.file_or_new(path);
        let buffered = options.direct == Fallback::Off;
        let offset_align = if buffered { 1 } else { SECTOR };
        let units = AtomicUnits { min: SECTOR, max: state.atomic_bytes, pieces: 1 };
        Ok(Opened {
            identity: (0, file as u64),
            len: state.files[file].medium.len() as u64,
            offset_align,
            direct: if buffered { Err(DirectRefused::NotAsked) } else { Ok(()) },
            atomic_pages: atomic::pages_at_most(Some(units), !buffered, page_size),
            file: Box::new(SimFile::new(self.clone(), file, offset_align, options.read_only, units.max)),
        })
    }

    fn may_remove(&self, path: &Path, identity: (u64, u64)) -> io::Result<bool> {
        Ok(self.look(|state| state.find(path)).is_some_and(|file| identity == (0, file as u64)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let file = self.look(|state| state.find(path)).ok_or(io::ErrorKind::NotFound)?;
        let removed = self.operate((Op::Remove, file, 0, 0), |state, _| {
            state.files[file].removed = true;
            Ok(0)
        });
        removed.map(drop)
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("SimDisk")
            .field("files", &state.files.iter().map(|file| &file.path).collect::<Vec<_>>())
            .field("faults", &state.faults)
            .field("operations", &state.operations)
            .finish_non_exhaustive()
    }
}

/// Holds operations for as long as it lives. Made by [`SimDisk::hold`].
#[derive(Debug)]
pub struct Gate {
    disk: SimDisk,
    number: u64,
}

impl Gate {
    /// How many operations are held here.
    #[must_use]
    pub fn held(&self) -> usize {
        let state = self.disk.0.state.lock();
        state.gates.iter().find(|gate| gate.number == self.number).map_or(0, |gate| gate.held)
    }

    /// Waits until so many operations are held here.
    ///
    /// # Panics
    /// If that does not come about within a minute.
    pub fn wait_for(&self, operations: usize) {
        let deadline = time::now() + PATIENCE;
        let mut state = self.disk.0.state.lock();
        loop {
            let held = state.gates.iter().find(|gate| gate.number == self.number).map_or(0, |gate| gate.held);
            if held >= operations {
                return;
            }
            assert!(time::now() < deadline, "{held} operations came to the gate, not {operations}");
            state = self.disk.0.moved.wait_until(state, deadline);
        }
    }

    /// Lets everything go on.
    pub fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.disk.0.state.lock().gates.retain(|gate| gate.number != self.number);
        self.disk.0.moved.notify_all();
    }
}
