//! The real disk: files and block devices of the operating system.
//!
//! Invariants: a file is direct only if every transfer of whole pages can be (so that a misaligned one is an error here,
//! at open, and not in some later I/O), and nothing but a regular file or a block device is ever opened.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        self, AtFlags, FallocateFlags, FileType, FlockOperation, FsWord, Mode, OFlags, SeekFrom, Stat,
        StatxFlags,
    },
    io::{Errno, ReadWriteFlags, retry_on_intr},
};

use crate::{
    id::PageSize,
    io::{
        aligned::AlignedZeros,
        disk::{DirectRefused, Disk, DiskFile, Lock, MayBlock, Opened},
        file::{
            atomic_writes::{self, AtomicUnits, RWF_ATOMIC},
            open_options::OpenOptions,
        },
        options::Fallback,
    },
};

/// The part of `statx(2)` that tells of atomic writes.
const STATX_WRITE_ATOMIC: u32 = 0x1_0000;

/// The file systems of this machine.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct OsDisk;

impl Disk for OsDisk {
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
        // Looked at before it is opened, because opening a pipe waits for its other end.
        match fs::stat(path) {
            Ok(stat) => check_kind(FileType::from_raw_mode(stat.st_mode))?,
            Err(Errno::NOENT) if options.create => {}
            Err(error) => return Err(error.into()),
        }
        let access = if options.read_only { OFlags::RDONLY } else { OFlags::RDWR };
        let create = if options.create { OFlags::CREATE } else { OFlags::empty() };
        let mode = Mode::from_raw_mode(options.mode);
        let fd = retry_on_intr(|| fs::open(path, access | create | OFlags::CLOEXEC, mode))?;
        let stat = fs::fstat(&fd)?;
        check_kind(FileType::from_raw_mode(stat.st_mode))?;
        let mut file = OsFile { fd, is_device: is_device(&stat), locked_by: None };
        // Before anything is looked at that another pool could change.
        let lock = file.lock(options)?;
        let (offset_align, direct) = file.choose_direct(options.direct, page_size)?;
        let atomic_pages = atomic_writes::pages_at_most(file.atomic_units(), direct.is_ok(), page_size);
        let len = file.len()?;
        Ok(Opened {
            name: name_of(path, identity(&stat))?,
            identity: identity(&stat),
            lock,
            len,
            has_fixed_size: file.is_device,
            offset_align,
            direct,
            atomic_pages,
            file: Box::new(file),
        })
    }

    fn sync_folder(&self, name: &Path) -> io::Result<()> {
        let folder = name.parent().unwrap_or(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match retry_on_intr(|| fs::open(folder, flags, Mode::empty()))
            .and_then(|fd| retry_on_intr(|| fs::fsync(&fd)))
        {
            // A folder that is gone; and file systems that sync no folders: they keep names durable without.
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL | Errno::BADF) => Ok(()),
            // It may be entered, but not read.
            Err(Errno::ACCESS) => sync_file_system(name, folder),
            Err(error) => Err(error.into()),
        }
    }

    fn may_remove(&self, name: &Path, wanted: (u64, u64)) -> io::Result<bool> {
        // Not through a symbolic link that was put there meanwhile: removing that would leave the file.
        match fs::lstat(name) {
            Ok(stat) if is_device(&stat) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a block device can be closed, but not removed",
            )),
            Ok(stat) => Ok(identity(&stat) == wanted),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        Ok(fs::unlink(name)?)
    }
}

/// Makes durable all that the file system of this folder has, by way of something in it, or above it, that may be read.
fn sync_file_system(name: &Path, folder: &Path) -> io::Result<()> {
    let device = fs::stat(folder)?.st_dev;
    // NONBLOCK: what has the name by now may be a pipe.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let mut readable = name.ancestors().filter_map(|path| fs::open(path, flags, Mode::empty()).ok());
    let of_this_device = |fd: &OwnedFd| fs::fstat(fd).is_ok_and(|stat| stat.st_dev == device);
    let fd = readable.find(of_this_device).ok_or(Errno::ACCESS)?;
    // Unlike `sync(2)`, this waits for no other file system, and tells of errors.
    Ok(retry_on_intr(|| fs::syncfs(&fd))?)
}

/// What is equal for two paths to one file.
fn identity(stat: &Stat) -> (u64, u64) {
    // Two nodes of one device have different inodes; the device's own number names it.
    if is_device(stat) { (u64::MAX, stat.st_rdev) } else { (stat.st_dev, stat.st_ino) }
}

fn is_device(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice
}

/// The name of the open file that the path leads to; `None` where it does not lead there any more.
fn name_of(path: &Path, wanted: (u64, u64)) -> io::Result<Option<PathBuf>> {
    match path.canonicalize() {
        Ok(name) => Ok(fs::lstat(&name).is_ok_and(|stat| identity(&stat) == wanted).then_some(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn check_kind(kind: FileType) -> io::Result<()> {
    let what = match kind {
        FileType::RegularFile | FileType::BlockDevice => return Ok(()),
        FileType::Directory => "a directory",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        _ => "of an unknown kind",
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("it is {what}; a pool keeps pages in regular files and block devices"),
    ))
}

#[derive(Debug)]
struct OsFile {
    fd: OwnedFd,
    is_device: bool,
    /// The process that has locked it. A child of that has the same lock, which is not its own to give up.
    locked_by: Option<u32>,
}

/// What direct transfers of a file must be multiples of.
#[derive(Copy, Clone, Debug)]
struct Alignment {
    memory: u32,
    offset: u32,
}

impl OsFile {
    /// Keeps other pools from the file, where that is wanted and can be.
    ///
    /// By `flock(2)`: it belongs to the open file, as a lock of `F_OFD_SETLK` does, and takes no `unsafe`.
    fn lock(&mut self, options: &OpenOptions) -> io::Result<Lock> {
        let wanted = match options.lock {
            Fallback::Off => return Ok(Lock::NotAsked),
            _ if options.read_only => FlockOperation::NonBlockingLockShared,
            _ => FlockOperation::NonBlockingLockExclusive,
        };
        match retry_on_intr(|| fs::flock(&self.fd, wanted)) {
            Ok(()) => {
                self.locked_by = Some(std::process::id());
                Ok(Lock::Held)
            }
            Err(Errno::WOULDBLOCK) => Ok(Lock::InUse),
            Err(error) => {
                let reason = format!("the file system cannot lock it ({error})");
                if options.lock == Fallback::Require {
                    let advice = "open it without a lock where it must be, with lock(Fallback::Prefer)";
                    return Err(io::Error::new(io::ErrorKind::Unsupported, format!("{reason}; {advice}")));
                }
                Ok(Lock::Unsupported(reason))
            }
        }
    }

    /// Turns direct I/O on where it is wanted and works. Gives the alignment to keep and why it is off.
    fn choose_direct(
        &self,
        wanted: Fallback,
        page_size: PageSize,
    ) -> io::Result<(u32, Result<(), DirectRefused>)> {
        if wanted == Fallback::Off {
            return Ok((1, Err(DirectRefused::NotAsked)));
        }
        match self.go_direct(page_size) {
            Ok(offset_align) => Ok((offset_align, Ok(()))),
            Err(reason) if wanted == Fallback::Require => {
                let advice = "allow buffered transfers with direct(Fallback::Prefer)";
                Err(io::Error::new(io::ErrorKind::Unsupported, format!("{reason}; or {advice}")))
            }
            Err(reason) => Ok((1, Err(DirectRefused::Unsupported(reason)))),
        }
    }

    fn go_direct(&self, page_size: PageSize) -> Result<u32, String> {
        let buffered = fs::fcntl_getfl(&self.fd).map_err(|error| format!("fcntl: {error}"))?;
        // By fcntl instead of a second open, so that it is this very file, and one that was only just created is not
        // left behind empty by a refusal.
        fs::fcntl_setfl(&self.fd, buffered | OFlags::DIRECT)
            .map_err(|error| format!("the file system refuses O_DIRECT ({error})"))?;
        self.alignment(page_size).and_then(|align| align.check(page_size)).inspect_err(|_| {
            // Cannot fail: it takes back a flag that was granted. If it did, transfers would say so.
            let _ = fs::fcntl_setfl(&self.fd, buffered);
        })
    }

    /// What the system says about atomic writes, where it knows of them.
    fn atomic_units(&self) -> Option<AtomicUnits> {
        let wanted = StatxFlags::from_bits_retain(STATX_WRITE_ATOMIC);
        let told = fs::statx(&self.fd, c"", AtFlags::EMPTY_PATH, wanted).ok()?;
        (told.stx_mask & STATX_WRITE_ATOMIC != 0).then_some(AtomicUnits {
            min: told.stx_atomic_write_unit_min,
            max: told.stx_atomic_write_unit_max,
            pieces: told.stx_atomic_write_segments_max,
        })
    }

    /// Whether the file can be asked for what is there at once. Where it cannot, the kernel has to wait on a thread.
    fn knows_nowait(&self) -> bool {
        let mut block = AlignedZeros::new(4096, 4096);
        let mut buffers = [IoSliceMut::new(block.as_mut_slice())];
        let asked = rustix::io::preadv2(&self.fd, &mut buffers, 0, ReadWriteFlags::NOWAIT);
        asked != Err(Errno::OPNOTSUPP)
    }

    /// What the file system says that direct transfers need, or what a trial shows where it says nothing.
    fn alignment(&self, page_size: PageSize) -> Result<Alignment, String> {
        match fs::statx(&self.fd, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) {
            Ok(told) if told.stx_mask & StatxFlags::DIOALIGN.bits() != 0 => {
                if told.stx_dio_offset_align == 0 || told.stx_dio_mem_align == 0 {
                    return Err("the file system does not support O_DIRECT on this file".into());
                }
                Ok(Alignment { memory: told.stx_dio_mem_align, offset: told.stx_dio_offset_align })
            }
            _ => self.try_alignment(page_size),
        }
    }

    /// Reads one block of the largest usual size that pages keep: being more aligned than necessary costs nothing.
    fn try_alignment(&self, page_size: PageSize) -> Result<Alignment, String> {
        let size = page_size.bytes().min(4096);
        let len = self.len().map_err(|error| error.to_string())?;
        // Behind the end of a file every read gives nothing, aligned or not.
        if size < 4096 && len <= size as u64 {
            let text =
                "the file system names no alignment for O_DIRECT, and a file this short cannot be tried out";
            return Err(format!("{text}: choose pages of 4096 bytes or more"));
        }
        // At an offset, and in memory, that is a multiple of `size` and of nothing larger.
        let mut memory = AlignedZeros::new(2 * size, 2 * size);
        let block = &mut memory.as_mut_slice()[size..];
        match self.read_at(&mut [IoSliceMut::new(block)], size as u64) {
            Ok(_) => Ok(Alignment { memory: size as u32, offset: size as u32 }),
            Err(error) => Err(format!("a direct read of {size} bytes fails: {error}")),
        }
    }
}

impl Alignment {
    /// The offset alignment, if whole pages in memory aligned to them keep both.
    fn check(self, page_size: PageSize) -> Result<u32, String> {
        let page = page_size.bytes() as u64;
        let strictest = self.offset.max(self.memory);
        if page.is_multiple_of(u64::from(self.offset)) && page.is_multiple_of(u64::from(self.memory)) {
            Ok(self.offset)
        } else {
            Err(format!(
                "O_DIRECT needs transfers aligned to {strictest} bytes here, and pages have {page}: choose pages of {strictest} bytes or more"
            ))
        }
    }
}

impl Drop for OsFile {
    /// Not left to the close of the descriptor: a ring that had the file registered gives it back late.
    fn drop(&mut self) {
        self.unlock();
    }
}

impl DiskFile for OsFile {
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::preadv(&self.fd, buffers, offset)?)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.fd, buffers, offset)?)
    }

    fn write_atomically_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let atomic = ReadWriteFlags::from_bits_retain(RWF_ATOMIC);
        Ok(rustix::io::pwritev2(&self.fd, buffers, offset, atomic)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        // Not repeated after EINTR: a second call may report success for what the first one lost.
        // A signal says nothing of what was written: file systems that can be interrupted go on with the next call.
        Ok(retry_on_intr(|| fs::fdatasync(&self.fd))?)
    }

    fn len(&self) -> io::Result<u64> {
        if self.is_device {
            return Ok(fs::seek(&self.fd, SeekFrom::End(0))?);
        }
        Ok(fs::fstat(&self.fd)?.st_size.cast_unsigned())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::ftruncate(&self.fd, len))?)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        match retry_on_intr(|| fs::fallocate(&self.fd, FallocateFlags::empty(), offset, len)) {
            Err(error @ (Errno::OPNOTSUPP | Errno::NOSYS)) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, error))
            }
            other => Ok(other?),
        }
    }

    fn unlock(&self) {
        if self.locked_by == Some(std::process::id()) {
            // Cannot fail: it gives up a lock that was granted. If it did, the lock would end with the descriptor.
            let _ = fs::flock(&self.fd, FlockOperation::Unlock);
        }
    }

    fn raw_fd(&self) -> Option<RawFd> {
        Some(self.fd.as_raw_fd())
    }

    fn may_block(&self) -> Option<MayBlock> {
        let remote = fs::fstatfs(&self.fd).ok().and_then(|told| remote_kind(told.f_type));
        remote.or_else(|| (!self.knows_nowait()).then_some(MayBlock::NoNowait))
    }
}

/// File systems that wait for another machine or another process, by their numbers in `statfs(2)`.
fn remote_kind(number: FsWord) -> Option<MayBlock> {
    let kind = match number as u32 {
        0x6573_5546 => "FUSE",
        0x6969 => "NFS",
        0x517B | 0xFE53_4D42 | 0xFF53_4D42 => "SMB",
        0x0102_1997 => "9p",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x00C3_6400 => "Ceph",
        0x7375_7245 => "Coda",
        0x0BD0_0BD0 => "Lustre",
        0x4750_4653 => "GPFS",
        _ => return None,
    };
    Some(MayBlock::Remote(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::aligned::AlignedZeros;

    fn page(bytes: u32) -> PageSize {
        PageSize::new(bytes).unwrap()
    }

    #[test]
    fn what_is_no_file_of_pages_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        fs::mknodat(fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let refused =
            [(dir.path(), "a directory"), (&pipe, "a pipe"), (Path::new("/dev/null"), "a character device")];
        for (path, what) in refused {
            for read_only in [false, true] {
                let options = OpenOptions::new().read_only(read_only);
                let error = OsDisk.open(path, &options, page(8192)).unwrap_err();
                assert!(error.to_string().contains(what), "{error}");
            }
        }
    }

    #[test]
    fn a_missing_file_is_created_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let error = OsDisk.open(&path, &OpenOptions::new(), page(8192)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!path.exists());
        assert_eq!(OsDisk.open(&path, &OpenOptions::new().create(true), page(8192)).unwrap().len, 0);
        assert!(path.exists());
    }

    #[test]
    fn files_that_may_block_who_submits_are_known() {
        let of = |path: &Path| {
            let options = OpenOptions::new().read_only(true).direct(Fallback::Off);
            OsDisk.open(path, &options, page(8192)).unwrap().file.may_block()
        };
        let plain = data_file();
        println!("here: {:?}", of(plain.path()));
        // The kernel makes up what it reads from, and cannot say "not now".
        assert_eq!(of(Path::new("/proc/self/status")), Some(MayBlock::NoNowait));
        let kinds = [0x6573_5546_i64, 0xFF53_4D42, 0x6969, 0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994];
        let told = kinds.map(|number| remote_kind(number as FsWord).map(|kind| kind.to_string()));
        let waits = |kind: &str| Some(format!("{kind} may keep a request waiting without limit"));
        // The last four are ext4, XFS, btrfs and tmpfs.
        assert_eq!(told, [waits("FUSE"), waits("SMB"), waits("NFS"), None, None, None, None]);
    }

    #[test]
    fn two_paths_to_one_file_have_one_identity() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let opened = OsDisk.open(&one, &OpenOptions::new().create(true), page(8192)).unwrap();
        std::fs::hard_link(&one, &two).unwrap();
        let again = OsDisk.open(&two, &OpenOptions::new(), page(8192)).unwrap();
        assert_eq!(opened.identity, again.identity);
    }

    #[test]
    fn a_file_says_whether_its_writes_are_atomic_and_they_work_if_so() {
        let file = data_file();
        let opened = OsDisk.open(file.path(), &OpenOptions::new(), page(8192)).unwrap();
        let zeros = AlignedZeros::new(8192, 8192);
        match opened.atomic_pages {
            Ok(pages) => {
                assert!(pages.is_power_of_two());
                let written = opened.file.write_atomically_at(&[IoSlice::new(zeros.as_slice())], 8192);
                assert_eq!(written.unwrap(), 8192);
            }
            Err(reason) => println!("skipped: no atomic writes here: {reason:?}"),
        }
        let buffered = OpenOptions::new().direct(Fallback::Off);
        assert!(OsDisk.open(file.path(), &buffered, page(8192)).unwrap().atomic_pages.is_err());
    }

    #[test]
    fn a_file_is_named_by_where_it_is_whatever_links_lead_there() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let (link, target) = (dir.join("link"), dir.join("there/data"));
        std::fs::create_dir(dir.join("there")).unwrap();
        std::os::unix::fs::symlink("there/../there/data", &link).unwrap();
        let create = OpenOptions::new().create(true);
        let opened = OsDisk.open(&link, &create, page(8192)).unwrap();
        assert_eq!(opened.name.as_ref(), Some(&target));
        OsDisk.sync_folder(&target).unwrap();
        // By way of a descriptor, when no folder has it any more.
        let fd = std::fs::File::open(&target).unwrap();
        OsDisk.remove(&target).unwrap();
        OsDisk.sync_folder(&target).unwrap();
        let nameless = format!("/proc/self/fd/{}", fd.as_raw_fd());
        assert_eq!(OsDisk.open(nameless.as_ref(), &OpenOptions::new(), page(8192)).unwrap().name, None);
        std::fs::remove_dir(dir.join("there")).unwrap();
        OsDisk.sync_folder(&target).unwrap();
    }

    #[test]
    fn a_path_may_be_removed_while_it_leads_to_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        let create = OpenOptions::new().create(true);
        let opened = OsDisk.open(&path, &create, page(8192)).unwrap();
        let path = opened.name.clone().unwrap();
        let other = path.with_file_name("two");
        assert!(OsDisk.may_remove(&path, opened.identity).unwrap());
        assert!(!OsDisk.may_remove(&other, opened.identity).unwrap());
        OsDisk.remove(&path).unwrap();
        assert!(!OsDisk.may_remove(&path, opened.identity).unwrap());
        // While the first is open, no other file can have its identity.
        OsDisk.open(&path, &create, page(8192)).unwrap();
        assert!(!OsDisk.may_remove(&path, opened.identity).unwrap());
        assert_eq!(OsDisk.remove(&other).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_file_system_of_a_folder_that_cannot_be_read_is_synced_by_way_of_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "its bytes").unwrap();
        sync_file_system(&file, dir.path()).unwrap();
        sync_file_system(&dir.path().join("removed"), dir.path()).unwrap();
        let other_device = Path::new("/proc/self");
        let refused = sync_file_system(&file, other_device).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "it is on no file system of the name");
    }

    #[test]
    fn pages_below_the_alignment_are_refused_with_advice() {
        let strict = Alignment { memory: 512, offset: 4096 };
        assert_eq!(strict.check(page(4096)), Ok(4096));
        assert_eq!(strict.check(page(65536)), Ok(4096));
        let reason = strict.check(page(2048)).unwrap_err();
        assert!(reason.contains("aligned to 4096") && reason.contains("choose pages of 4096"), "{reason}");
        assert!(Alignment { memory: 4096, offset: 512 }.check(page(512)).is_err());
    }

    #[test]
    fn a_file_is_buffered_when_asked_and_says_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = OpenOptions::new().direct(Fallback::Off);
        let opened = OsDisk.open(file.path(), &options, page(512)).unwrap();
        assert_eq!((opened.offset_align, opened.direct), (1, Err(DirectRefused::NotAsked)));
        let mut odd = [0; 3];
        opened.file.read_at(&mut [IoSliceMut::new(&mut odd)], 1).unwrap();
    }

    /// A file of data, not of holes: reading a hole works without any alignment.
    fn data_file() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 65536]).unwrap();
        file.as_file().sync_all().unwrap();
        file
    }

    #[test]
    fn a_direct_file_refuses_what_is_not_aligned() {
        let file = data_file();
        let opened = OsDisk.open(file.path(), &OpenOptions::new(), page(8192)).unwrap();
        if let Err(reason) = opened.direct {
            return println!("skipped: no direct I/O here: {reason:?}");
        }
        let mut memory = AlignedZeros::new(8192, 8192);
        let mut read = |from: usize| {
            let slice = &mut memory.as_mut_slice()[from..];
            opened.file.read_at(&mut [IoSliceMut::new(slice)], 0)
        };
        assert_eq!(read(0).unwrap(), 8192);
        assert_eq!(read(1).unwrap_err().raw_os_error(), Some(Errno::INVAL.raw_os_error()));
    }

    #[test]
    fn a_trial_finds_an_alignment_that_is_enough() {
        let file = data_file();
        let opened = OsDisk.open(file.path(), &OpenOptions::new(), page(8192)).unwrap();
        if opened.direct.is_err() {
            return println!("skipped: no direct I/O here");
        }
        let fd = OwnedFd::from(std::fs::File::open(file.path()).unwrap());
        fs::fcntl_setfl(&fd, OFlags::DIRECT).unwrap();
        let direct = OsFile { fd, is_device: false, locked_by: None };
        for bytes in [opened.offset_align, 4096, 8192] {
            let tried = direct.try_alignment(page(bytes)).unwrap();
            assert!(tried.offset.is_multiple_of(opened.offset_align) && bytes.is_multiple_of(tried.offset));
        }
        file.as_file().set_len(0).unwrap();
        assert!(direct.try_alignment(page(512)).is_err(), "an empty file proves nothing");
    }
}
