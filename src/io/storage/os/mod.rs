//! The real disk: files and block devices of the operating system. What differs between systems is in [`system`].
//!
//! Invariants: a file is direct only if every transfer of whole pages can be, so that a misaligned one is an error here, at open,
//! and not in some later I/O. Nothing but a regular file or a block device is ever opened.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod system;

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, FallocateFlags, FileType, FlockOperation, Mode, OFlags, SeekFrom, Stat},
    io::{Errno, retry_on_intr},
};

use crate::{
    id::PageSize,
    io::{
        file::{atomic_writes, open_options::OpenOptions},
        options::Fallback,
        storage::{BlockingFile, Opened, Storage, WhyNot},
    },
};

/// The files and block devices of this machine: what a pool uses unless it is given another
/// [storage](crate::Builder::storage). Example: [`Opened`](crate::storage::Opened).
#[derive(Copy, Clone, Debug, Default)]
pub struct LocalFiles;

pub(super) use system::may_block;

impl Storage for LocalFiles {
    fn open(&self, path: &Path, options: &OpenOptions, page_size: PageSize) -> io::Result<Opened> {
        // Checked before it is opened, because opening a pipe waits for its other end.
        match fs::stat(path) {
            Ok(stat) => check_kind(FileType::from_raw_mode(stat.st_mode))?,
            Err(Errno::NOENT) if options.create => {}
            Err(error) => return Err(error.into()),
        }
        let access = if options.read_only { OFlags::RDONLY } else { OFlags::RDWR };
        let create = if options.create { OFlags::CREATE } else { OFlags::empty() };
        let mode = system::mode(options.mode);
        let fd = retry_on_intr(|| fs::open(path, access | create | OFlags::CLOEXEC, mode))?;
        let stat = fs::fstat(&fd)?;
        check_kind(FileType::from_raw_mode(stat.st_mode))?;
        let mut file = OsFile { fd, is_device: is_device(&stat), locked_by: None };
        // Before anything is read that another pool could change.
        let (lock, is_in_use) = file.lock(options)?;
        let (offset_align, direct) = file.choose_direct(options.direct, page_size)?;
        let atomic_pages = atomic_writes::check(system::atomic_units(&file.fd), direct.is_ok(), page_size);
        let len = file.len()?;
        Ok(Opened {
            name: name_of(path, identity(&stat))?,
            lock,
            is_in_use,
            has_fixed_size: file.is_device,
            offset_align,
            direct,
            atomic_pages,
            may_block: may_block(file.fd.as_fd()),
            ..Opened::buffered(Box::new(file), identity(&stat), len)
        })
    }

    fn sync_folder(&self, name: &Path) -> io::Result<()> {
        let folder = name.parent().unwrap_or(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match retry_on_intr(|| fs::open(folder, flags, Mode::empty()))
            .and_then(|fd| retry_on_intr(|| fs::fsync(&fd)))
        {
            // A folder that is gone; and file systems that sync no folders: they keep names durable without a sync.
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

/// Makes durable all that the file system of this folder has, by syncing something in it, or above it, that may be read.
fn sync_file_system(name: &Path, folder: &Path) -> io::Result<()> {
    let device = fs::stat(folder)?.st_dev;
    // NONBLOCK: what has the name by now may be a pipe.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let mut readable = name.ancestors().filter_map(|path| fs::open(path, flags, Mode::empty()).ok());
    let of_this_device = |fd: &OwnedFd| fs::fstat(fd).is_ok_and(|stat| stat.st_dev == device);
    let fd = readable.find(of_this_device).ok_or(Errno::ACCESS)?;
    Ok(retry_on_intr(|| system::sync_file_system_of(&fd))?)
}

/// Says why a request to a file system may block that waits for another machine or another process.
fn remote(kind: &str) -> String {
    format!("{kind} may keep a request waiting without limit")
}

fn identity(stat: &Stat) -> (u64, u64) {
    // Two nodes of one device have different inodes; the device's own number names it.
    let (device, number) = (system::device_number(stat.st_dev), system::device_number(stat.st_rdev));
    if is_device(stat) { (u64::MAX, number) } else { (device, stat.st_ino) }
}

fn is_device(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice
}

/// Returns the name of the open file that the path leads to; `None` where it does not lead there any more.
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
    /// The process that has locked it. Its child has the same lock, but must not release it.
    locked_by: Option<u32>,
}

impl OsFile {
    /// Keeps other pools from the file, if that is wanted and possible. Returns also whether another pool has it.
    ///
    /// By `flock(2)`: it belongs to the open file, as a lock of `F_OFD_SETLK` does, and needs no `unsafe`.
    fn lock(&mut self, options: &OpenOptions) -> io::Result<(Result<(), WhyNot>, bool)> {
        let wanted = match options.lock {
            Fallback::Off => return Ok((Err(WhyNot::NotAsked), false)),
            _ if options.read_only => FlockOperation::NonBlockingLockShared,
            _ => FlockOperation::NonBlockingLockExclusive,
        };
        match retry_on_intr(|| fs::flock(&self.fd, wanted)) {
            Ok(()) => {
                self.locked_by = Some(std::process::id());
                Ok((Ok(()), false))
            }
            Err(Errno::WOULDBLOCK) => Ok((Err(WhyNot::NotAsked), true)),
            Err(error) => {
                let reason = format!("the file system cannot lock it ({error})");
                if options.lock == Fallback::Require {
                    let advice = "open it without a lock where it must be, with lock(Fallback::Prefer)";
                    return Err(io::Error::new(io::ErrorKind::Unsupported, format!("{reason}; {advice}")));
                }
                Ok((Err(WhyNot::Unsupported(reason)), false))
            }
        }
    }

    /// Turns direct I/O on where it is wanted and works. Returns the alignment to keep and why it is off.
    fn choose_direct(&self, wanted: Fallback, page_size: PageSize) -> io::Result<(u32, Result<(), WhyNot>)> {
        if wanted == Fallback::Off {
            return Ok((1, Err(WhyNot::NotAsked)));
        }
        match system::go_direct(&self.fd, self.len()?, page_size) {
            Ok(offset_align) => Ok((offset_align, Ok(()))),
            Err(reason) if wanted == Fallback::Require => {
                let advice = "allow buffered transfers with direct(Fallback::Prefer)";
                Err(io::Error::new(io::ErrorKind::Unsupported, format!("{reason}; or {advice}")))
            }
            Err(reason) => Ok((1, Err(WhyNot::Unsupported(reason)))),
        }
    }
}

impl Drop for OsFile {
    /// Unlocks the file, before the close of the descriptor: a ring that had the file registered gives it back late.
    fn drop(&mut self) {
        self.unlock();
    }
}

impl BlockingFile for OsFile {
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::preadv(&self.fd, buffers, offset)?)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.fd, buffers, offset)?)
    }

    fn write_atomically_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(system::write_atomically(&self.fd, buffers, offset)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        // A signal says nothing of what was written: file systems that can be interrupted continue with the next call.
        Ok(retry_on_intr(|| system::sync_data(&self.fd))?)
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
            // Cannot fail: it releases a lock that was granted. If it did, the lock would end with the descriptor.
            let _ = fs::flock(&self.fd, FlockOperation::Unlock);
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }
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
                let error = LocalFiles.open(path, &options, page(8192)).unwrap_err();
                assert!(error.to_string().contains(what), "{error}");
            }
        }
    }

    #[test]
    fn a_missing_file_is_created_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let error = LocalFiles.open(&path, &OpenOptions::new(), page(8192)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!path.exists());
        assert_eq!(LocalFiles.open(&path, &OpenOptions::new().create(true), page(8192)).unwrap().len, 0);
        assert!(path.exists());
    }

    #[test]
    fn two_paths_to_one_file_have_one_identity() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let opened = LocalFiles.open(&one, &OpenOptions::new().create(true), page(8192)).unwrap();
        std::fs::hard_link(&one, &two).unwrap();
        let again = LocalFiles.open(&two, &OpenOptions::new(), page(8192)).unwrap();
        assert_eq!(opened.identity, again.identity);
    }

    #[test]
    fn a_file_says_whether_its_writes_are_atomic_and_they_work_if_so() {
        let file = data_file();
        let opened = LocalFiles.open(file.path(), &OpenOptions::new(), page(8192)).unwrap();
        let zeros = AlignedZeros::new(8192, 8192);
        match opened.atomic_pages {
            Ok(()) => {
                let written = opened.disk.write_atomically_at(&[IoSlice::new(zeros.as_slice())], 8192);
                assert_eq!(written.unwrap(), 8192);
            }
            Err(reason) => println!("skipped: no atomic writes here: {reason:?}"),
        }
        let buffered = OpenOptions::new().direct(Fallback::Off);
        assert!(LocalFiles.open(file.path(), &buffered, page(8192)).unwrap().atomic_pages.is_err());
    }

    #[test]
    fn a_file_is_named_by_where_it_is_whatever_links_lead_there() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let (link, target) = (dir.join("link"), dir.join("there/data"));
        std::fs::create_dir(dir.join("there")).unwrap();
        std::os::unix::fs::symlink("there/../there/data", &link).unwrap();
        let create = OpenOptions::new().create(true);
        let opened = LocalFiles.open(&link, &create, page(8192)).unwrap();
        assert_eq!(opened.name.as_ref(), Some(&target));
        LocalFiles.sync_folder(&target).unwrap();
        // Opened by its descriptor, when no folder has it any more.
        let fd = std::fs::File::open(&target).unwrap();
        LocalFiles.remove(&target).unwrap();
        LocalFiles.sync_folder(&target).unwrap();
        let nameless = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        assert_eq!(LocalFiles.open(nameless.as_ref(), &OpenOptions::new(), page(8192)).unwrap().name, None);
        std::fs::remove_dir(dir.join("there")).unwrap();
        LocalFiles.sync_folder(&target).unwrap();
    }

    #[test]
    fn a_path_may_be_removed_while_it_leads_to_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        let create = OpenOptions::new().create(true);
        let opened = LocalFiles.open(&path, &create, page(8192)).unwrap();
        let path = opened.name.clone().unwrap();
        let other = path.with_file_name("two");
        assert!(LocalFiles.may_remove(&path, opened.identity).unwrap());
        assert!(!LocalFiles.may_remove(&other, opened.identity).unwrap());
        LocalFiles.remove(&path).unwrap();
        assert!(!LocalFiles.may_remove(&path, opened.identity).unwrap());
        // While the first is open, no other file can have its identity.
        LocalFiles.open(&path, &create, page(8192)).unwrap();
        assert!(!LocalFiles.may_remove(&path, opened.identity).unwrap());
        assert_eq!(LocalFiles.remove(&other).unwrap_err().kind(), io::ErrorKind::NotFound);
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
    fn a_file_is_buffered_when_asked_and_says_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = OpenOptions::new().direct(Fallback::Off);
        let opened = LocalFiles.open(file.path(), &options, page(512)).unwrap();
        assert_eq!((opened.offset_align, opened.direct), (1, Err(WhyNot::NotAsked)));
        let mut odd = [0; 3];
        opened.disk.read_at(&mut [IoSliceMut::new(&mut odd)], 1).unwrap();
    }

    /// Makes a file of data, not of holes: reading a hole works without any alignment.
    fn data_file() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 65536]).unwrap();
        file.as_file().sync_all().unwrap();
        file
    }

    #[test]
    fn a_direct_file_refuses_what_is_not_aligned() {
        let file = data_file();
        let opened = LocalFiles.open(file.path(), &OpenOptions::new(), page(8192)).unwrap();
        if let Err(reason) = opened.direct {
            return println!("skipped: no direct I/O here: {reason:?}");
        }
        let mut memory = AlignedZeros::new(8192, 8192);
        let mut read = |from: usize| {
            let slice = &mut memory.as_mut_slice()[from..];
            opened.disk.read_at(&mut [IoSliceMut::new(slice)], 0)
        };
        assert_eq!(read(0).unwrap(), 8192);
        assert_eq!(read(1).unwrap_err().raw_os_error(), Some(Errno::INVAL.raw_os_error()));
    }
}
