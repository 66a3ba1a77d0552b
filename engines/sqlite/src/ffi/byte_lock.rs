//! A lock on bytes of a file, which belongs to the open file description.

use std::{fs::File, io, os::fd::AsRawFd};

/// Locks bytes of the file, for writing or for reading. Returns whether it could: not if another open file has a lock in the way.
///
/// # Errors
/// Those of the system.
pub fn try_lock(file: &File, from: i64, bytes: i64, exclusive: bool) -> io::Result<bool> {
    let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: from,
        l_len: bytes,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the structure lives as long as the call.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if done == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}
