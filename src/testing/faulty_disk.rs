//! The system's disk with faults before it: for long tests on real files.
//!
//! An exposed file shows no descriptor, since what a ring submits by itself does not pass through this module. A transfer that no
//! fault touches goes straight to the file; one that is changed goes through a copy in aligned memory, as direct transfers need it.

use std::{
    collections::HashMap,
    io::{self, IoSlice, IoSliceMut},
    path::{Path, PathBuf},
};

use super::{
    durable_image::pieces,
    fault::{Asked, Fault, Op},
    faults::{Fate, Faults},
    sim_disk::SECTOR,
};
use crate::{
    id::PageSize,
    io::{
        aligned::AlignedZeros,
        file::open_options::OpenOptions,
        storage::{BlockingFile, Opened, Storage, opened::NO_DESCRIPTOR, os::LocalFiles},
    },
    sync::{Arc, Mutex},
};

/// More than any disk wants memory to be aligned to.
const MEMORY_ALIGN: usize = 4096;

/// The files of the system, with [faults](Fault) before them. All clones are one disk.
///
/// Every I/O method works on it. io_uring leaves such files to the threads beside its ring, because no fault can strike what it
/// submits by itself; it uses files that are [spared](Self::spare) as on any disk. Files are changed by the system only: a sync
/// that is made to fail loses nothing here, and the power cannot be cut. For that there is the [`SimDisk`](super::SimDisk).
///
/// ```
/// use ringpool::{BufferPool, Error, OpenOptions, PageId, testing::{Fault, FaultyDisk, Op}};
///
/// const EIO: i32 = 5;
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("heap"), vec![1; 4 * 8192])?;
/// let disk = FaultyDisk::new();
/// let pool = BufferPool::builder().frames(16).storage(disk.clone()).build()?;
/// let heap = pool.open_file(folder.path().join("heap"), OpenOptions::new())?;
///
/// disk.inject(Fault::error(Op::Read, EIO));
/// assert!(matches!(pool.fetch(PageId::new(heap, 2)).wait(), Err(Error::Io { .. })));
/// disk.heal();
/// assert_eq!(pool.fetch(PageId::new(heap, 2)).wait()?.read()[0], 1);
/// assert_eq!(disk.strikes(), 1);
///
/// // One with a seed, that leaves the log alone and disturbs the other files; no caller of a pool notices.
/// let disk = FaultyDisk::with_seed(7);
/// disk.spare(folder.path().join("log"));
/// disk.disturb(3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Arc<Mutex<FaultyState>>);

#[derive(Debug, Default)]
struct FaultyState {
    faults: Faults,
    /// What was ever opened; a file's number is its place here.
    paths: Vec<PathBuf>,
    /// The name of each file that was opened, and the path by which it was.
    names: HashMap<PathBuf, PathBuf>,
    spared: Vec<PathBuf>,
}

impl FaultyDisk {
    /// Makes a disk of the system's files without any fault, with seed 0. Example: [`FaultyDisk`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a disk of the system's files without any fault, with this seed, which decides what faults leave to chance.
    /// Example: [`FaultyDisk`].
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        let disk = Self::new();
        disk.0.lock().faults.seed = seed;
        disk
    }

    /// Leaves the file at this path alone, when it is opened from now on: no fault strikes it, and io_uring uses its descriptor.
    /// Example: [`FaultyDisk`].
    pub fn spare(&self, path: impl Into<PathBuf>) {
        self.0.lock().spared.push(path.into());
    }

    /// Adds a fault. Example: [`FaultyDisk`].
    pub fn inject(&self, fault: Fault) {
        self.0.lock().faults.all.push(fault);
    }

    /// Disturbs one transfer in `n`, by chance, as [`SimDisk::disturb`](super::SimDisk::disturb) does. Example: [`FaultyDisk`].
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn disturb(&self, n: u64) {
        self.0.lock().faults.disturb(n);
    }

    /// Forgets all faults. Example: [`FaultyDisk`].
    pub fn heal(&self) {
        self.0.lock().faults.all.clear();
    }

    /// Returns how often faults have struck so far. Example: [`FaultyDisk`].
    #[must_use]
    pub fn strikes(&self) -> u64 {
        self.0.lock().faults.strikes
    }

    /// Returns a path's number; `None` for one that is spared.
    fn number(&self, path: &Path) -> Option<usize> {
        let FaultyState { paths, spared, .. } = &mut *self.0.lock();
        if spared.iter().any(|spared| spared == path) {
            return None;
        }
        Some(paths.iter().position(|known| known == path).unwrap_or_else(|| {
            paths.push(path.to_owned());
            paths.len() - 1
        }))
    }

    /// Does something with a name, unless a fault prevents it.
    fn act_on_name(&self, op: Op, name: &Path, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let path = self.0.lock().names.get(name).cloned().unwrap_or_else(|| name.to_owned());
        match self.number(&path) {
            Some(file) => self.act(Asked::of_file(op, file), &path, act),
            None => act(),
        }
    }

    /// Does what transfers no bytes, unless a fault prevents it.
    fn act(&self, asked: Asked, path: &Path, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let fate = self.meet_fate(asked, path);
        if fate.prevents() { fate.end(0).map(drop) } else { act() }
    }

    fn meet_fate(&self, asked: Asked, path: &Path) -> Fate {
        let fate = self.0.lock().faults.draw_fate(asked, path);
        fate.take_its_time();
        fate
    }
}

impl Storage for FaultyDisk {
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
        let number = self.number(path);
        if let Some(file) = number {
            self.meet_fate(Asked::of_file(Op::Open, file), path).end(0)?;
        }
        let opened = LocalFiles.open(path, options, page_size)?;
        if let Some(name) = &opened.name {
            self.0.lock().names.insert(name.clone(), path.to_owned());
        }
        let Some(number) = number else { return Ok(opened) };
        let file = FaultyFile {
            disk: self.clone(),
            file: opened.disk,
            path: path.to_owned(),
            number,
            align: u64::from(opened.offset_align),
        };
        Ok(Opened { disk: Box::new(file), may_block: Some(NO_DESCRIPTOR.to_owned()), ..opened })
    }

    fn sync_folder(&self, name: &Path) -> io::Result<()> {
        self.act_on_name(Op::SyncFolder, name, || LocalFiles.sync_folder(name))
    }

    fn may_remove(&self, name: &Path, identity: (u64, u64)) -> io::Result<bool> {
        LocalFiles.may_remove(name, identity)
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        self.act_on_name(Op::Remove, name, || LocalFiles.remove(name))
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    file: Box<dyn BlockingFile>,
    path: PathBuf,
    number: usize,
    /// What offsets and lengths of transfers must be multiples of.
    align: u64,
}

impl FaultyFile {
    fn asked(&self, op: Op, offset: u64, len: usize) -> Asked {
        Asked { op, file: self.number, offset, len, align: self.align }
    }

    fn meet_fate(&self, op: Op, offset: u64, len: usize) -> Fate {
        self.disk.meet_fate(self.asked(op, offset, len), &self.path)
    }

    fn place(&self, fate: &mut Fate, offset: u64, len: usize) -> io::Result<u64> {
        Ok(fate.place(offset, len, self.file.len()? as usize))
    }

    fn tear(&self, fate: &mut Fate, bytes: &[u8], offset: u64) -> io::Result<()> {
        let unit = self.align.max(u64::from(SECTOR)) as usize;
        for (at, sector) in pieces(offset as usize, bytes, unit) {
            if fate.dice.coin() {
                let copy = aligned_copy([sector]);
                self.file.write_at(&[IoSlice::new(copy.as_slice())], at as u64)?;
            }
        }
        Ok(())
    }
}

impl BlockingFile for FaultyFile {
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        let mut fate = self.meet_fate(Op::Read, offset, len);
        if fate.prevents() {
            return fate.end(len.min(fate.at_most));
        }
        if fate.leaves_alone(len) {
            return self.file.read_at(buffers, offset);
        }
        let mut copy = AlignedZeros::new(len.min(fate.at_most), MEMORY_ALIGN);
        let place = self.place(&mut fate, offset, len)?;
        let count = self.file.read_at(&mut [IoSliceMut::new(copy.as_mut_slice())], place)?;
        let mut rest = &mut copy.as_mut_slice()[..count];
        fate.flip(rest);
        for buffer in buffers {
            let part;
            (part, rest) = rest.split_at_mut(rest.len().min(buffer.len()));
            buffer[..part.len()].copy_from_slice(part);
        }
        Ok(count)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        let mut fate = self.meet_fate(Op::Write, offset, len);
        if fate.prevents() {
            return fate.end(len.min(fate.at_most));
        }
        if fate.leaves_alone(len) {
            return self.file.write_at(buffers, offset);
        }
        let mut copy = aligned_copy(buffers.iter().map(|buffer| &buffer[..]));
        let bytes = &mut copy.as_mut_slice()[..len.min(fate.at_most)];
        fate.flip(bytes);
        let place = self.place(&mut fate, offset, len)?;
        if fate.is_torn {
            self.tear(&mut fate, bytes, place)?;
            return fate.end(bytes.len());
        }
        self.file.write_at(&[IoSlice::new(bytes)], place)
    }

    fn write_atomically_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        let fate = self.meet_fate(Op::Write, offset, len);
        if fate.prevents() { fate.end(len) } else { self.file.write_atomically_at(buffers, offset) }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.act(self.asked(Op::Sync, 0, 0), &self.path, || self.file.sync_data())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.act(self.asked(Op::Resize, len, 0), &self.path, || self.file.set_len(len))
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let asked = self.asked(Op::Resize, offset + len, 0);
        self.disk.act(asked, &self.path, || self.file.allocate(offset, len))
    }
}

fn aligned_copy<'a>(pieces: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>) -> AlignedZeros {
    let pieces = pieces.into_iter();
    let mut copy = AlignedZeros::new(pieces.clone().map(<[u8]>::len).sum(), MEMORY_ALIGN);
    let mut rest = copy.as_mut_slice();
    for piece in pieces {
        let part;
        (part, rest) = rest.split_at_mut(piece.len());
        part.copy_from_slice(piece);
    }
    copy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::options::Fallback;

    /// Opens a file of four pages, each full of its number, on a disk with these faults: direct where the tests' folder allows it.
    fn file(
        faults: impl IntoIterator<Item = Fault>,
    ) -> (tempfile::NamedTempFile, FaultyDisk, Box<dyn BlockingFile>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [[1; 4096], [2; 4096], [3; 4096], [4; 4096]].concat()).unwrap();
        let disk = FaultyDisk::new();
        faults.into_iter().for_each(|fault| disk.inject(fault));
        let options = OpenOptions::new().direct(Fallback::Prefer);
        let opened = disk.open(file.path(), &options, PageSize::new(4096).unwrap()).unwrap();
        (file, disk, opened.disk)
    }

    /// Returns the first two pages as they are read, into a buffer each.
    fn read(file: &dyn BlockingFile) -> io::Result<(usize, Vec<u8>)> {
        let mut memory = AlignedZeros::new(8192, 4096);
        let (one, other) = memory.as_mut_slice().split_at_mut(4096);
        let count = file.read_at(&mut [IoSliceMut::new(one), IoSliceMut::new(other)], 0)?;
        Ok((count, memory.as_slice().to_vec()))
    }

    fn write(file: &dyn BlockingFile, byte: u8) -> io::Result<usize> {
        let copy = aligned_copy([&[byte; 8192][..]]);
        let (one, other) = copy.as_slice().split_at(4096);
        file.write_at(&[IoSlice::new(one), IoSlice::new(other)], 0)
    }

    fn on_disk(file: &tempfile::NamedTempFile) -> Vec<u8> {
        std::fs::read(file.path()).unwrap()
    }

    #[test]
    fn without_faults_it_is_the_system_s_disk_but_for_the_descriptor() {
        let (system, disk, file) = file([]);
        assert_eq!(read(&*file).unwrap(), (8192, [[1; 4096], [2; 4096]].concat()));
        assert_eq!(write(&*file, 9).unwrap(), 8192);
        file.set_len(8192).unwrap();
        file.sync_data().unwrap();
        assert_eq!(on_disk(&system), [9; 8192]);
        assert_eq!((file.descriptor().is_none(), disk.strikes()), (true, 0));
    }

    #[test]
    fn what_is_spared_is_struck_by_nothing() {
        let (system, disk, _) = file([]);
        disk.inject(Fault::error(super::super::Which::any(), 5));
        disk.spare(system.path());
        let spared = disk.open(system.path(), &OpenOptions::new(), PageSize::new(4096).unwrap()).unwrap();
        assert!(spared.disk.descriptor().is_some());
        assert!(read(&*spared.disk).is_ok() && spared.disk.sync_data().is_ok());
    }

    #[test]
    fn an_error_changes_nothing_and_is_told() {
        for op in [Op::Read, Op::Write, Op::Sync, Op::Resize] {
            let (system, disk, file) = file([Fault::error(op, 28)]);
            let before = on_disk(&system);
            let failed = match op {
                Op::Read => read(&*file).map(drop),
                Op::Write => write(&*file, 9).map(drop),
                Op::Sync => file.sync_data(),
                _ => file.set_len(0).or(file.allocate(0, 1 << 20)),
            };
            assert_eq!(failed.unwrap_err().raw_os_error(), Some(28), "{op:?}");
            assert_eq!(on_disk(&system), before, "{op:?}");
            assert!(disk.strikes() > 0);
        }
    }

    #[test]
    fn openings_fail_and_take_their_time() {
        let (system, disk, _) = file([]);
        let options = OpenOptions::new();
        let open = |disk: &FaultyDisk| disk.open(system.path(), &options, PageSize::MIN).map(drop);
        disk.inject(Fault::error(Op::Open.of(system.path()), 5).once());
        assert_eq!(open(&disk).unwrap_err().raw_os_error(), Some(5));
        disk.inject(Fault::delay(Op::Open, std::time::Duration::from_millis(30)));
        let begun = std::time::Instant::now();
        open(&disk).unwrap();
        assert!(begun.elapsed() >= std::time::Duration::from_millis(30));
        disk.spare(system.path());
        disk.inject(Fault::error(Op::Open, 5));
        open(&disk).unwrap();
    }

    #[test]
    fn transfers_are_cut_short_lost_torn_flipped_and_misdirected() {
        let (system, _, short) = file([Fault::short(Op::Read, 4096), Fault::short(Op::Write, 4096)]);
        assert_eq!(read(&*short).unwrap(), (4096, [[1; 4096], [0; 4096]].concat()));
        assert_eq!(write(&*short, 9).unwrap(), 4096);
        assert_eq!(on_disk(&system)[..8192], [[9; 4096], [2; 4096]].concat());

        let (system, _, lost) = file([Fault::lost(Op::Write)]);
        assert_eq!(write(&*lost, 9).unwrap(), 8192);
        assert_eq!(on_disk(&system)[..8192], [[1; 4096], [2; 4096]].concat());

        let (system, _, torn) = file([Fault::torn(Op::Write)]);
        while !on_disk(&system).contains(&9) {
            assert_eq!(write(&*torn, 9).unwrap(), 8192);
        }

        let (_, _, flipped) = file([Fault::flipped(Op::Read)]);
        let bytes = read(&*flipped).unwrap().1;
        let differences =
            bytes.iter().zip([[1; 4096], [2; 4096]].concat()).map(|(is, was)| (is ^ was).count_ones());
        assert_eq!(differences.sum::<u32>(), 1);

        let (_, _, misdirected) = file([Fault::misdirected(Op::Read)]);
        assert_eq!(read(&*misdirected).unwrap(), (8192, [[3; 4096], [4; 4096]].concat()));
    }
}
