//! What macOS offers beyond a file's descriptor: transfers that bypass the page cache, and a sync that reaches the medium.

use std::{
    io::IoSlice,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{self, Mode},
    io::{Errno, Result},
};

use crate::{
    id::PageSize,
    io::{file::atomic_writes::AtomicUnits, storage::os::remote},
};

/// File systems that wait for another machine or another process, by their names in `statfs(2)`.
const REMOTE: [(&str, &str); 6] = [
    ("nfs", "NFS"),
    ("smbfs", "SMB"),
    ("afpfs", "AFP"),
    ("webdav", "WebDAV"),
    ("macfuse", "FUSE"),
    ("osxfuse", "FUSE"),
];

pub(super) fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits as u16)
}

/// Returns the number by which `stat(2)` names a device.
pub(super) fn device_number(device: i32) -> u64 {
    u64::from(device.cast_unsigned())
}

/// Makes the file durable. `fsync(2)` only hands it to the device, which may keep it in a cache that a power cut empties. A file
/// system that cannot do more (most remote ones) gives its own promise with `fsync`.
pub(super) fn sync_data(fd: &OwnedFd) -> Result<()> {
    match fs::fcntl_fullfsync(fd) {
        Err(Errno::NOTSUP | Errno::NOTTY | Errno::INVAL) => fs::fsync(fd),
        other => other,
    }
}

/// Refuses: no call of this system makes one file system durable and reports errors.
pub(super) fn sync_file_system_of(_fd: &OwnedFd) -> Result<()> {
    Err(Errno::ACCESS)
}

/// Refuses: this system has no writes that are atomic.
pub(super) fn write_atomically(_fd: &OwnedFd, _buffers: &[IoSlice<'_>], _offset: u64) -> Result<usize> {
    Err(Errno::OPNOTSUPP)
}

/// Returns `None`: this system has no writes that are atomic.
pub(super) fn atomic_units(_fd: &OwnedFd) -> Option<AtomicUnits> {
    None
}

/// Returns why a request of this file may block the thread that submits it, if it may.
pub(in crate::io::storage) fn may_block(fd: BorrowedFd<'_>) -> Option<String> {
    let told = fs::fstatfs(fd).ok()?;
    let name: Vec<u8> =
        told.f_fstypename.iter().map(|&byte| byte.cast_unsigned()).take_while(|&byte| byte != 0).collect();
    let (_, kind) = REMOTE.into_iter().find(|(remote, _)| remote.as_bytes() == name)?;
    Some(remote(kind))
}

/// Keeps transfers out of the page cache (`F_NOCACHE`). Returns what offsets must be multiples of: nothing, since the kernel
/// goes through its cache where a transfer is not aligned.
pub(super) fn go_direct(fd: &OwnedFd, _len: u64, _page_size: PageSize) -> std::result::Result<u32, String> {
    fs::fcntl_nocache(fd, true)
        .map(|()| 1)
        .map_err(|error| format!("the file system refuses F_NOCACHE ({error})"))
}
