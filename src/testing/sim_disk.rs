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
    sim_file::SimFile,
};
use crate::{
    config::{Fallback, OpenOptions},
    id::PageSize,
    io::disk::{DirectRefused, Disk, Opened},
    sync::{
        Arc, Condvar, Mutex, thread,
        time::{self, Duration},
    },
};

/// What offsets and lengths of direct transfers must be multiples of.
pub(super) const SECTOR: u32 = 512;

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
}

/// A file's bytes.
pub(super) struct FileState {
    path: PathBuf,
    /// As they are read.
    pub(super) bytes: Vec<u8>,
    /// As they would be after a crash.
    pub(super) durable: Vec<u8>,
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
        state.files[file].bytes = bytes.into();
        state.files[file].durable = state.files[file].bytes.clone();
    }

    /// A file's bytes, as they are read now.
    #[must_use]
    pub fn image(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.0.state.lock();
        state.find(path.as_ref()).map(|file| state.files[file].bytes.clone())
    }

    /// A file's bytes, as they would be after a crash: as they were when the last sync that went well began.
    #[must_use]
    pub fn durable_image(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.0.state.lock();
        state.find(path.as_ref()).map(|file| state.files[file].durable.clone())
    }

    /// Lets all files together have so many bytes; what would exceed that fails with `ENOSPC`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.state.lock().capacity = bytes;
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
        let outcome = match struck.errno {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
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
        self.files.iter().position(|file| file.path == path)
    }

    fn file_or_new(&mut self, path: &Path) -> usize {
        self.find(path).unwrap_or_else(|| {
            self.files.push(FileState { path: path.to_owned(), bytes: Vec::new(), durable: Vec::new() });
            self.files.len() - 1
        })
    }

    /// The bytes by which files may still grow.
    pub(super) fn space(&self) -> u64 {
        let used: usize = self.files.iter().map(|file| file.bytes.len()).sum();
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
    fn open(&self, path: &Path, options: &OpenOptions, _: PageSize) -> io::Result<Opened> {
        let mut state = self.0.state.lock();
        if state.find(path).is_none() && !options.create {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = state.file_or_new(path);
        let buffered = options.direct == Fallback::Off;
        let offset_align = if buffered { 1 } else { SECTOR };
        Ok(Opened {
            identity: (0, file as u64),
            len: state.files[file].bytes.len() as u64,
            offset_align,
            direct: if buffered { Err(DirectRefused::NotAsked) } else { Ok(()) },
            file: Box::new(SimFile::new(self.clone(), file, offset_align, options.read_only)),
        })
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
