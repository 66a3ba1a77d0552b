//! The handle to the disk: its files, its faults, its gates and its log.
//!
//! All of it lies behind one lock, in [`SimState`]; how an operation goes through it is in [`operation`](super::operation).

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{
    durable_image::Medium,
    fault::{Asked, Fault, Op, Which},
    gate::{Gate, GateState, HeldStage},
    log::{Event, Moment},
    open_file::OpenFile,
    operation::{Hub, SimState},
    rng::Dice,
    sim_file::SimFile,
};
use crate::{
    id::PageSize,
    io::{
        file::{
            atomic_writes::{self, AtomicUnits},
            open_options::OpenOptions,
        },
        options::Fallback,
        storage::{Opened, Storage, WhyNot},
    },
    sync::Arc,
};

/// What offsets and lengths of direct transfers must be multiples of.
pub(super) const SECTOR: u32 = 512;

/// A disk in memory that fails where the test says so. All clones are one disk.
///
/// The [module](super) has an example with a pool.
///
/// # Examples
/// A power cut, after which of each sector that was not synced the old or the new bytes are there:
/// ```
/// use ringpool::testing::SimDisk;
///
/// let disk = SimDisk::with_seed(7);
/// let log = disk.file("log");
/// log.write_all_at(&[1; 512], 0)?;
/// log.sync()?;
/// log.write_all_at(&[2; 512], 0)?;
/// assert_eq!(disk.image("log").unwrap(), [2; 512]);
/// assert_eq!(disk.durable_image("log").unwrap(), [1; 512]);
///
/// let found = disk.after_power_cut(3).image("log").unwrap();
/// assert!(found == [1; 512] || found == [2; 512]);
/// // The process alone was killed:
/// assert_eq!(disk.after_kill(3).image("log").unwrap(), [2; 512]);
///
/// // A workload that ends in its second operation:
/// disk.cut_power_during(2);
/// assert!(log.write_all_at(&[3; 512], 0).is_ok());
/// assert!(log.sync().is_err() && disk.is_without_power());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A disk that is full, and one that disturbs its callers:
/// ```
/// use ringpool::testing::SimDisk;
///
/// let disk = SimDisk::new();
/// disk.put("heap", vec![0; 512]);
/// disk.set_capacity(Some(1024));
/// let log = disk.file("log");
/// assert!(log.write_all_at(&[1; 1024], 0).is_err());
/// disk.set_capacity(None);
/// disk.set_atomic_writes(8192); // for files that a pool opens from now on
/// disk.transfer_in_pieces();
///
/// disk.disturb(2);
/// log.write_all_at(&[1; 1024], 0)?; // continued or repeated as often as it takes
/// println!("{} transfers were disturbed", disk.strikes());
/// disk.heal();
/// assert_eq!(log.read_all()?, [1; 1024]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct SimDisk(pub(super) Arc<Hub>);

#[derive(Clone)]
pub(super) struct FileState {
    pub(super) path: PathBuf,
    pub(super) medium: Medium,
    name: Name,
}

/// Whether a file's folder has its name. A file that was removed is found by no open, and works for every holder that has it open.
#[derive(Copy, Clone)]
struct Name {
    is_there: bool,
    /// As it was at the last sync of the folder.
    was_there: bool,
    /// The file exists: an opening has made it, and did not fail.
    is_made: bool,
}

impl Name {
    const NEW: Self = Self { is_there: true, was_there: false, is_made: true };
    const DURABLE: Self = Self { is_there: true, was_there: true, is_made: true };
    /// Of a file that is to be made.
    const WANTED: Self = Self { is_there: false, was_there: false, is_made: false };
}

impl SimDisk {
    /// Makes an empty disk without limits and without faults, with seed 0. Example: [`Fault`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an empty disk without limits and without faults, with this seed, which decides all that faults leave to chance.
    ///
    /// Which operations a [rare](Fault::one_in) fault strikes, where a transfer is cut, which sectors are torn: all that is a
    /// function of the seed and of the operation (its kind, its file and place, and how often it was asked for before), not of what
    /// else goes on. So the same operations have the same outcome in whatever order several threads bring them.
    ///
    /// Example: [`SimDisk`].
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        let disk = Self::new();
        disk.0.state.lock().faults.seed = seed;
        disk
    }

    // ---- files ------------------------------------------------------------------------------------------------------

    /// Puts a file on the disk, durably, or changes the one that is there, as another program would. Example: [`SimDisk`].
    pub fn put(&self, path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) {
        let mut state = self.0.state.lock();
        let file = state.file_or_new(path.as_ref(), Name::DURABLE);
        state.files[file].medium = Medium::new(bytes.into());
    }

    /// Opens a file for what an engine keeps beside the pool, its log as a rule: made, durably, where there is none. The same
    /// faults, gates and power cuts affect it, and its operations are in the log with all others. Example: [`SimDisk`].
    #[must_use]
    pub fn file(&self, path: impl AsRef<Path>) -> SimFile {
        let file = self.0.state.lock().file_or_new(path.as_ref(), Name::DURABLE);
        SimFile(OpenFile::buffered(self.clone(), file))
    }

    /// Returns a file's bytes, as they are read now. Example: [`SimDisk`].
    #[must_use]
    pub fn image(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.look(|state| state.find(path.as_ref()).map(|file| state.files[file].medium.bytes().to_vec()))
    }

    /// Returns a file's bytes, as they were when the last successful sync began: what a power cut cannot take. `None` where it can
    /// take the name. Example: [`SimDisk`].
    #[must_use]
    pub fn durable_image(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.look(|state| {
            let file = &state.files[state.find(path.as_ref())?];
            file.name.was_there.then(|| file.medium.durable().to_vec())
        })
    }

    /// Sets the most bytes of all files together; what would exceed that fails with `ENOSPC`. After a crash the disk has the same
    /// size. Example: [`SimDisk`].
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.state.lock().capacity = bytes;
    }

    /// Sets the longest atomic write, in bytes, of files that are opened for direct I/O from now on; 0 for none, as at first.
    /// Example: [`SimDisk`].
    pub fn set_atomic_writes(&self, bytes: u32) {
        self.0.state.lock().atomic_bytes = bytes;
    }

    // ---- faults -----------------------------------------------------------------------------------------------------

    /// Adds a fault. Example: [`Fault`].
    pub fn inject(&self, fault: Fault) {
        self.0.state.lock().faults.all.push(fault);
    }

    /// Disturbs one transfer in `n`, by chance, in one of the ways that a system may disturb any transfer: it is cut short
    /// anywhere, or fails with `EINTR`, `EAGAIN` or `ECANCELED`. No caller of the pool should notice. Example: [`SimDisk`].
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn disturb(&self, n: u64) {
        self.0.state.lock().faults.disturb(n);
    }

    /// Forgets all faults. Example: [`SimDisk`].
    pub fn heal(&self) {
        self.0.state.lock().faults.all.clear();
    }

    /// Returns how often faults have struck so far. Example: [`SimDisk`].
    #[must_use]
    pub fn strikes(&self) -> u64 {
        self.look(|state| state.faults.strikes)
    }

    /// Makes another disk, as this one may be found if its power is cut now: of every 512-byte sector that was written since its
    /// file was synced, either the old bytes are there or the new ones, and a file has one of the lengths that it had since then. A
    /// file that was made since its folder was synced may not be there, and one that was removed may be back. The same seed makes
    /// the same disk of the same disk, and is the new disk's seed. Example: [`SimDisk`].
    #[must_use]
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        self.found_with(seed, |files| {
            let mut found: Vec<FileState> =
                files.iter().filter_map(|file| file.after_power_cut(&mut dice)).collect();
            // Of two files that had one name in turn a folder has the later one, or the earlier one.
            let paths: Vec<_> = found.iter().map(|file| file.path.clone()).collect();
            let mut at = 0..;
            found.retain(|file| at.next().is_none_or(|at: usize| !paths[at + 1..].contains(&file.path)));
            found
        })
    }

    /// Makes another disk, as this one is found if the process is killed now, and the system runs on: everything that was written
    /// can be read, and what was not synced can still be lost. Example: [`SimDisk`].
    #[must_use]
    pub fn after_kill(&self, seed: u64) -> Self {
        self.found_with(seed, <[FileState]>::to_vec)
    }

    fn found_with(&self, seed: u64, find: impl FnOnce(&[FileState]) -> Vec<FileState>) -> Self {
        let found = Self::with_seed(seed);
        self.look(|state| {
            let mut new = found.0.state.lock();
            new.atomic_bytes = state.atomic_bytes;
            new.capacity = state.capacity;
            new.in_pieces = state.in_pieces;
            new.files = find(&state.files);
        });
        found
    }

    /// Cuts the power during the n-th operation from now on; the next one is the first. That operation may be done in full, in part
    /// or not at all, as in a power cut. It and all later ones fail. Example: [`SimDisk`].
    pub fn cut_power_during(&self, n: u64) {
        let mut state = self.0.state.lock();
        state.power_cut = Some(state.operations + n);
    }

    /// Returns whether the power was cut. Example: [`SimDisk`].
    #[must_use]
    pub fn is_without_power(&self) -> bool {
        self.look(|state| state.power_cut.is_some_and(|last| last <= state.operations))
    }

    // ---- operations -------------------------------------------------------------------------------------------------

    /// Holds operations that begin from now on, until the gate is opened or dropped. Faults strike when they go on.
    ///
    /// # Examples
    /// ```
    /// use std::thread;
    /// use ringpool::testing::{Op, SimDisk};
    ///
    /// let disk = SimDisk::new();
    /// let log = disk.file("log");
    /// let gate = disk.hold(Op::Write);
    /// thread::scope(|scope| {
    ///     scope.spawn(|| log.write_all_at(&[1; 512], 0));
    ///     gate.wait_for(1);
    ///     assert_eq!((gate.held(), log.len()), (1, 0)); // it is under way, and nothing is written yet
    ///     gate.open();
    /// });
    /// assert_eq!(log.read_all()?, [1; 512]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the gate opens when it is dropped"]
    pub fn hold(&self, which: impl Into<Which>) -> Gate {
        self.hold_at(HeldStage::Begin, which.into())
    }

    /// Holds reads and writes of more than one sector, of those that begin from now on, in the middle: when their first sector is copied,
    /// and before the next one is. So a test sees what a pool does with a page that is half read or half written: a page that is changed
    /// meanwhile where it is lent to a write arrives with sectors of before and after the change.
    ///
    /// # Examples
    /// ```
    /// use std::thread;
    /// use ringpool::{BufferPool, OpenOptions, PageId, testing::{Op, SimDisk}};
    ///
    /// let disk = SimDisk::new();
    /// disk.put("heap", vec![0; 8192]);
    /// let pool = BufferPool::builder().frames(16).storage(disk.clone()).build()?;
    /// let page = PageId::new(pool.open_file("heap", OpenOptions::new())?, 0);
    /// pool.write(page).wait()?.fill(1);
    ///
    /// let gate = disk.hold_midway(Op::Write);
    /// thread::scope(|scope| {
    ///     let flush = scope.spawn(|| pool.flush(page).wait());
    ///     gate.wait_for(1);
    ///     pool.write(page).wait()?.fill(2); // while the first change is half written
    ///     gate.open();
    ///     flush.join().unwrap()
    /// })?;
    /// assert_eq!(disk.image("heap").unwrap(), [1; 8192]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the gate opens when it is dropped"]
    pub fn hold_midway(&self, which: impl Into<Which>) -> Gate {
        self.hold_at(HeldStage::Midway, which.into())
    }

    fn hold_at(&self, stage: HeldStage, which: Which) -> Gate {
        let mut state = self.0.state.lock();
        state.gates_made += 1;
        let number = state.gates_made;
        state.gates.push(GateState { number, which, stage, held: 0 });
        Gate { disk: self.clone(), number }
    }

    /// Has transfers that begin from now on copy their bytes sector by sector, and let other threads run in between. A transfer is one
    /// step otherwise, which never shows that another thread touches the bytes meanwhile. Example: [`SimDisk`].
    pub fn transfer_in_pieces(&self) {
        self.0.state.lock().in_pieces = true;
    }

    /// Returns all events since the disk was made, or the log was cleared.
    ///
    /// # Examples
    /// ```
    /// use ringpool::testing::{Op, SimDisk};
    ///
    /// let disk = SimDisk::new();
    /// let log = disk.file("log");
    /// log.write_all_at(b"record", 0)?;
    /// log.sync()?;
    /// let events = disk.log();
    /// let written = events.iter().position(|event| event.succeeds(Op::Write, "log"));
    /// let synced = events.iter().position(|event| event.begins(Op::Sync, "log"));
    /// assert!(written < synced);
    /// disk.clear_log();
    /// assert_eq!(disk.count(Op::Sync), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn log(&self) -> Vec<Event> {
        self.look(|state| state.log.clone())
    }

    /// Forgets the log. Example: [`Self::log`].
    pub fn clear_log(&self) {
        self.0.state.lock().log.clear();
    }

    /// Returns how many of these operations the log has, whether they are over or not. Example: [`Which`].
    #[must_use]
    pub fn count(&self, which: impl Into<Which>) -> usize {
        let which = which.into();
        self.look(|state| {
            let begun = state.log.iter().filter(|event| event.moment == Moment::Begin);
            begun.filter(|event| which.covers(event.op, &event.path)).count()
        })
    }

    pub(super) fn look<R>(&self, look: impl FnOnce(&SimState) -> R) -> R {
        look(&self.0.state.lock())
    }
}

impl SimState {
    fn find(&self, path: &Path) -> Option<usize> {
        self.files.iter().position(|file| file.path == path && file.name.is_there)
    }

    /// Returns the file that an opening finds, or makes where it may.
    fn file_to_open(&mut self, path: &Path, may_make: bool) -> Option<usize> {
        let of_failed = self.files.iter().position(|file| file.path == path && !file.name.is_made);
        match self.find(path).or(of_failed.filter(|_| may_make)) {
            None => may_make.then(|| self.file_or_new(path, Name::WANTED)),
            found => found,
        }
    }

    fn file_or_new(&mut self, path: &Path, name: Name) -> usize {
        self.find(path).unwrap_or_else(|| {
            self.files.push(FileState { path: path.to_owned(), medium: Medium::default(), name });
            self.files.len() - 1
        })
    }

    /// Returns the bytes by which files may still grow.
    pub(super) fn space(&self) -> u64 {
        let used: usize =
            self.files.iter().filter(|file| file.name.is_there).map(|file| file.medium.len()).sum();
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(used as u64))
    }
}

impl FileState {
    /// Makes the file as a power cut may leave it; `None` where its folder is found without its name.
    fn after_power_cut(&self, dice: &mut Dice) -> Option<Self> {
        let Name { is_there, was_there, .. } = self.name;
        let is_found = if is_there == was_there { is_there } else { dice.coin() };
        is_found.then(|| Self {
            path: self.path.clone(),
            medium: self.medium.after_power_cut(dice),
            name: Name::DURABLE,
        })
    }
}

impl Storage for SimDisk {
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
        let wanted = self.0.state.lock().file_to_open(path, options.create).ok_or(io::ErrorKind::NotFound)?;
        // Another call may have made or removed the file meanwhile.
        let file = self.begin(Asked::of_file(Op::Open, wanted)).finish(|state, fate| {
            let file = state.file_to_open(path, options.create).ok_or(io::ErrorKind::NotFound)?;
            if !state.files[file].name.is_made {
                state.files[file].name = Name::NEW;
            }
            fate.end(file)
        })?;
        let state = self.0.state.lock();
        let buffered = options.direct == Fallback::Off;
        let offset_align = if buffered { 1 } else { SECTOR };
        let units = AtomicUnits { min: SECTOR, max: state.atomic_bytes, pieces: 1 };
        let len = state.files[file].medium.len() as u64;
        let opened = OpenFile::new(self.clone(), file, offset_align, options.read_only, units.max);
        Ok(Opened {
            name: Some(path.to_owned()),
            offset_align,
            direct: if buffered { Err(WhyNot::NotAsked) } else { Ok(()) },
            atomic_pages: atomic_writes::check(Some(units), !buffered, page_size),
            ..Opened::buffered(Box::new(opened), (0, file as u64), len)
        })
    }

    fn sync_folder(&self, name: &Path) -> io::Result<()> {
        let found = self.look(|state| state.files.iter().rposition(|file| file.path == name));
        let asked = Asked::of_file(Op::SyncFolder, found.ok_or(io::ErrorKind::NotFound)?);
        self.begin(asked).finish(|state, fate| {
            for file in state.files.iter_mut().filter(|file| file.path.parent() == name.parent()) {
                file.name.was_there = file.name.is_there;
            }
            fate.end(0)
        })?;
        Ok(())
    }

    fn may_remove(&self, path: &Path, identity: (u64, u64)) -> io::Result<bool> {
        Ok(self.look(|state| state.find(path)).is_some_and(|file| identity == (0, file as u64)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let file = self.look(|state| state.find(path)).ok_or(io::ErrorKind::NotFound)?;
        self.begin(Asked::of_file(Op::Remove, file)).finish(|state, fate| {
            state.files[file].name.is_there = false;
            fate.end(0)
        })?;
        Ok(())
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("SimDisk")
            .field("seed", &state.faults.seed)
            .field("files", &state.files.iter().map(|file| &file.path).collect::<Vec<_>>())
            .field("faults", &state.faults.all)
            .field("operations", &state.operations)
            .finish_non_exhaustive()
    }
}
