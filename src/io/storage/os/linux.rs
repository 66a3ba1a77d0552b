//! What Linux offers beyond a file's descriptor: `O_DIRECT` and its alignment, atomic writes, and which files may block.

use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{self, AtFlags, FsWord, Mode, OFlags, StatxFlags},
    io::{Errno, ReadWriteFlags, Result},
};

use crate::{
    id::PageSize,
    io::{
        aligned::AlignedZeros,
        file::atomic_writes::{AtomicUnits, RWF_ATOMIC},
        storage::os::remote,
    },
};

/// The part of `statx(2)` that tells of atomic writes.
const STATX_WRITE_ATOMIC: u32 = 0x1_0000;

pub(super) fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits)
}

/// Returns the number by which `stat(2)` names a device.
pub(super) fn device_number(device: u64) -> u64 {
    device
}

/// Makes the data of the file durable, and the part of its length that is needed to read them.
pub(super) fn sync_data(fd: &OwnedFd) -> Result<()> {
    fs::fdatasync(fd)
}

/// Makes everything durable that the file system of this file has. Unlike `sync(2)`, this waits for no other file system, and
/// reports errors.
pub(super) fn sync_file_system_of(fd: &OwnedFd) -> Result<()> {
    fs::syncfs(fd)
}

pub(super) fn write_atomically(fd: &OwnedFd, buffers: &[IoSlice<'_>], offset: u64) -> Result<usize> {
    rustix::io::pwritev2(fd, buffers, offset, ReadWriteFlags::from_bits_retain(RWF_ATOMIC))
}

/// Returns what the system says about atomic writes, where it knows of them.
pub(super) fn atomic_units(fd: &OwnedFd) -> Option<AtomicUnits> {
    let wanted = StatxFlags::from_bits_retain(STATX_WRITE_ATOMIC);
    let told = fs::statx(fd, c"", AtFlags::EMPTY_PATH, wanted).ok()?;
    (told.stx_mask & STATX_WRITE_ATOMIC != 0).then_some(AtomicUnits {
        min: told.stx_atomic_write_unit_min,
        max: told.stx_atomic_write_unit_max,
        pieces: told.stx_atomic_write_segments_max,
    })
}

/// Why a request of a file may block whose file system cannot say "not now".
const NO_NOWAIT: &str = "the file system does not know RWF_NOWAIT, so a request may wait for it";

/// Returns why a request of this file may block the thread that submits it, if it may.
pub(in crate::io::storage) fn may_block(fd: BorrowedFd<'_>) -> Option<String> {
    let kind = fs::fstatfs(fd).ok().and_then(|told| remote_kind(told.f_type));
    kind.map(remote).or_else(|| (!knows_nowait(fd)).then(|| NO_NOWAIT.to_owned()))
}

/// Returns whether a read of the file can ask for only what is there at once. If it cannot, the kernel has to wait on a thread.
fn knows_nowait(fd: BorrowedFd<'_>) -> bool {
    let mut block = AlignedZeros::new(4096, 4096);
    let mut buffers = [IoSliceMut::new(block.as_mut_slice())];
    rustix::io::preadv2(fd, &mut buffers, 0, ReadWriteFlags::NOWAIT) != Err(Errno::OPNOTSUPP)
}

/// Names a file system that waits for another machine or another process, by its number in `statfs(2)`.
fn remote_kind(number: FsWord) -> Option<&'static str> {
    Some(match number as u32 {
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
    })
}

/// What direct transfers of a file must be multiples of.
#[derive(Copy, Clone, Debug)]
struct Alignment {
    memory: u32,
    offset: u32,
}

/// Turns direct I/O on for a file of `len` bytes. Returns what offsets must be multiples of, or the reason why pages of this size
/// cannot be transferred directly.
pub(super) fn go_direct(fd: &OwnedFd, len: u64, page_size: PageSize) -> std::result::Result<u32, String> {
    let buffered = fs::fcntl_getfl(fd).map_err(|error| format!("fcntl: {error}"))?;
    // By fcntl instead of a second open, so that it is this very file, and a file that was just created is not left behind empty
    // by a refusal.
    fs::fcntl_setfl(fd, buffered | OFlags::DIRECT)
        .map_err(|error| format!("the file system refuses O_DIRECT ({error})"))?;
    Alignment::of(fd, len, page_size).and_then(|align| align.check(page_size)).inspect_err(|_| {
        // Cannot fail: it clears a flag that was granted. If it did, transfers would report it.
        let _ = fs::fcntl_setfl(fd, buffered);
    })
}

impl Alignment {
    /// Returns what the file system says that direct transfers need, or what a trial shows where it says nothing.
    fn of(fd: &OwnedFd, len: u64, page_size: PageSize) -> std::result::Result<Self, String> {
        match fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) {
            Ok(told) if told.stx_mask & StatxFlags::DIOALIGN.bits() != 0 => {
                if told.stx_dio_offset_align == 0 || told.stx_dio_mem_align == 0 {
                    return Err("the file system does not support O_DIRECT on this file".into());
                }
                Ok(Self { memory: told.stx_dio_mem_align, offset: told.stx_dio_offset_align })
            }
            _ => Self::tried(fd, len, page_size),
        }
    }

    /// Reads one block of the largest usual size that pages keep: being more aligned than necessary costs nothing.
    fn tried(fd: &OwnedFd, len: u64, page_size: PageSize) -> std::result::Result<Self, String> {
        let size = page_size.bytes().min(4096);
        // Behind the end of a file every read gives nothing, aligned or not.
        if size < 4096 && len <= size as u64 {
            let text =
                "the file system names no alignment for O_DIRECT, and a file this short cannot be tried out";
            return Err(format!("{text}: choose pages of 4096 bytes or more"));
        }
        // At an offset, and in memory, that is a multiple of `size` and of nothing larger.
        let mut memory = AlignedZeros::new(2 * size, 2 * size);
        let block = &mut memory.as_mut_slice()[size..];
        match rustix::io::preadv(fd, &mut [IoSliceMut::new(block)], size as u64) {
            Ok(_) => Ok(Self { memory: size as u32, offset: size as u32 }),
            Err(error) => Err(format!("a direct read of {size} bytes fails: {error}")),
        }
    }

    /// Returns the offset alignment, if whole pages in memory aligned to them keep both.
    fn check(self, page_size: PageSize) -> std::result::Result<u32, String> {
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

#[cfg(test)]
mod tests {
    use std::{os::fd::AsFd, path::Path};

    use super::*;

    fn page(bytes: u32) -> PageSize {
        PageSize::new(bytes).unwrap()
    }

    /// Makes a file of data, not of holes: reading a hole works without any alignment.
    fn data_file() -> (tempfile::NamedTempFile, OwnedFd) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 65536]).unwrap();
        file.as_file().sync_all().unwrap();
        let fd = opened(file.path());
        (file, fd)
    }

    fn opened(path: &Path) -> OwnedFd {
        OwnedFd::from(std::fs::File::open(path).unwrap())
    }

    #[test]
    fn files_that_may_block_the_submitting_thread_are_known() {
        println!("here: {:?}", may_block(data_file().1.as_fd()));
        // The kernel makes up what it reads from, and cannot say "not now".
        assert_eq!(may_block(opened(Path::new("/proc/self/status")).as_fd()), Some(NO_NOWAIT.to_owned()));
        let kinds = [0x6573_5546_i64, 0xFF53_4D42, 0x6969, 0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994];
        let told = kinds.map(|number| remote_kind(number as FsWord));
        // The last four are ext4, XFS, btrfs and tmpfs.
        assert_eq!(told, [Some("FUSE"), Some("SMB"), Some("NFS"), None, None, None, None]);
        assert_eq!(remote("NFS"), "NFS may keep a request waiting without limit");
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
    fn a_trial_finds_an_alignment_that_is_enough() {
        let (file, fd) = data_file();
        let Ok(told) = go_direct(&fd, 65536, page(8192)) else {
            return println!("skipped: no direct I/O here");
        };
        for bytes in [told, 4096, 8192] {
            let tried = Alignment::tried(&fd, 65536, page(bytes)).unwrap();
            assert!(tried.offset.is_multiple_of(told) && bytes.is_multiple_of(tried.offset));
        }
        drop(file);
        assert!(Alignment::tried(&fd, 0, page(512)).is_err(), "an empty file proves nothing");
    }
}
