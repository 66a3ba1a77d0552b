//! The functions of an open file, as SQLite calls them.

use std::{ffi::c_int, mem::size_of, ptr, slice};

use libsqlite3_sys::{self as sqlite, sqlite3_file, sqlite3_int64};

use crate::{
    error::{Call, Failure},
    ffi::{file_control::file_control, vfs_calls::tell},
    handle::Handle,
    locks::Level,
    shm::Want,
};

#[derive(Debug)]
/// A file as SQLite keeps it: what SQLite knows of it, then what is here alone.
#[repr(C)]
pub struct PoolFile {
    base: sqlite3_file,
    /// Made by `Box::into_raw` when the file is opened.
    handle: *mut Handle,
}

/// The bytes that SQLite must have for a file of this VFS.
pub const FILE_SIZE: usize = size_of::<PoolFile>();

static METHODS: sqlite::sqlite3_io_methods = sqlite::sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch),
    xUnfetch: Some(unfetch),
};

/// Makes `file` a file of this VFS.
///
/// # Safety
/// `file` has room for [`FILE_SIZE`] bytes.
pub unsafe fn put(file: *mut sqlite3_file, handle: Handle) {
    let opened = PoolFile {
        base: sqlite3_file { pMethods: &raw const METHODS },
        handle: Box::into_raw(Box::new(handle)),
    };
    // SAFETY: it has the room, by the contract.
    unsafe { file.cast::<PoolFile>().write(opened) };
}

/// Returns the handle of a file.
///
/// # Safety
/// `file` was made by [`put`] and is not closed. SQLite calls the functions of one file one after another.
#[inline]
pub unsafe fn handle<'a>(file: *mut sqlite3_file) -> &'a mut Handle {
    // SAFETY: made by `put`, by the contract.
    let handle = unsafe { (*file.cast::<PoolFile>()).handle };
    // SAFETY: it is not closed, and no other call has it.
    unsafe { &mut *handle }
}

/// Returns the code of a failure, and tells SQLite's log why.
fn failed(handle: &mut Handle, failure: &Failure, call: Call) -> c_int {
    tell(failure, failure.code(call));
    handle.fail(failure, call)
}

fn code(handle: &mut Handle, done: Result<(), Failure>, call: Call) -> c_int {
    match done {
        Ok(()) => sqlite::SQLITE_OK,
        Err(Failure::Busy) => sqlite::SQLITE_BUSY,
        Err(failure) => failed(handle, &failure, call),
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let pool_file = file.cast::<PoolFile>();
    // SAFETY: SQLite closes a file that is open.
    let handle = unsafe { (*pool_file).handle };
    // SAFETY: made by `Box::into_raw`; SQLite closes a file once.
    let handle = unsafe { Box::from_raw(handle) };
    // SAFETY: the memory is SQLite's still.
    unsafe { (*pool_file).base.pMethods = ptr::null() };
    match handle.close() {
        Ok(()) => sqlite::SQLITE_OK,
        Err(failure) => {
            tell(&failure, failure.code(Call::Close));
            failure.code(Call::Close)
        }
    }
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    into: *mut std::ffi::c_void,
    bytes: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let handle = unsafe { handle(file) };
    // SAFETY: SQLite gives room for so many bytes. It may not be initialised, and is only written.
    let into = unsafe { slice::from_raw_parts_mut(into.cast::<u8>(), bytes as usize) };
    match handle.read(into, offset as u64) {
        Ok(there) if there == into.len() => sqlite::SQLITE_OK,
        Ok(_) => sqlite::SQLITE_IOERR_SHORT_READ,
        Err(failure) => failed(handle, &failure, Call::Read),
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const std::ffi::c_void,
    bytes: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let handle = unsafe { handle(file) };
    // SAFETY: SQLite gives so many bytes, which no other thread changes.
    let from = unsafe { slice::from_raw_parts(from.cast::<u8>(), bytes as usize) };
    let done = handle.write(from, offset as u64);
    code(handle, done, Call::Write)
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, bytes: sqlite3_int64) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let handle = unsafe { handle(file) };
    let done = handle.set_len(bytes as u64);
    code(handle, done, Call::Truncate)
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let handle = unsafe { handle(file) };
    let done = handle.sync();
    code(handle, done, Call::Sync)
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, bytes: *mut sqlite3_int64) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let len = unsafe { handle(file) }.len();
    // SAFETY: SQLite gives a place for the result.
    unsafe { *bytes = len as sqlite3_int64 };
    sqlite::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let handle = unsafe { handle(file) };
    match Level::of(level).map(|level| handle.lock(level)) {
        Some(Ok(())) => sqlite::SQLITE_OK,
        Some(Err(_)) => sqlite::SQLITE_BUSY,
        None => sqlite::SQLITE_MISUSE,
    }
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let handle = unsafe { handle(file) };
    match Level::of(level) {
        Some(level) => handle.unlock(level),
        None => return sqlite::SQLITE_MISUSE,
    }
    sqlite::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, result: *mut c_int) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let is_reserved = unsafe { handle(file) }.is_reserved();
    // SAFETY: SQLite gives a place for the result.
    unsafe { *result = c_int::from(is_reserved) };
    sqlite::SQLITE_OK
}

/// As the stock VFS has it: a power cut damages no bytes but those that are written, in units of this size.
unsafe extern "C" fn sector_size(_: *mut sqlite3_file) -> c_int {
    4096
}

unsafe extern "C" fn device_characteristics(_: *mut sqlite3_file) -> c_int {
    sqlite::SQLITE_IOCAP_POWERSAFE_OVERWRITE | sqlite::SQLITE_IOCAP_SUBPAGE_READ
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    number: c_int,
    bytes: c_int,
    add: c_int,
    result: *mut *mut std::ffi::c_void,
) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let handle = unsafe { handle(file) };
    let region = handle.index_region(number as usize, bytes as usize, add != 0);
    // SAFETY: SQLite gives a place for the result.
    unsafe { *result = region.map_or(ptr::null_mut(), <*mut u8>::cast) };
    sqlite::SQLITE_OK
}

unsafe extern "C" fn shm_lock(file: *mut sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let handle = unsafe { handle(file) };
    let is_set = |flag| flags & flag != 0;
    let want = match is_set(sqlite::SQLITE_SHM_EXCLUSIVE) {
        _ if is_set(sqlite::SQLITE_SHM_UNLOCK) => None,
        true => Some(Want::Exclusive),
        false => Some(Want::Shared),
    };
    match handle.index_lock(first as usize, count as usize, want) {
        Ok(()) => sqlite::SQLITE_OK,
        Err(_) => sqlite::SQLITE_BUSY,
    }
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: SQLite calls it with an open file.
    unsafe { handle(file) }.index_barrier();
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    unsafe { handle(file) }.leave_index();
    sqlite::SQLITE_OK
}

unsafe extern "C" fn fetch(
    file: *mut sqlite3_file,
    offset: sqlite3_int64,
    bytes: c_int,
    result: *mut *mut std::ffi::c_void,
) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let lent = unsafe { handle(file) }.fetch(offset as u64, bytes as usize);
    // SAFETY: SQLite gives a place for the result. It reads the bytes at that address, and does not write there.
    unsafe { *result = lent.map_or(ptr::null_mut(), |page| page.cast_mut().cast()) };
    sqlite::SQLITE_OK
}

unsafe extern "C" fn unfetch(
    file: *mut sqlite3_file,
    offset: sqlite3_int64,
    page: *mut std::ffi::c_void,
) -> c_int {
    // Without an address SQLite asks to have no page in memory that is not lent: there is none.
    if !page.is_null() {
        // SAFETY: SQLite calls it with an open file.
        unsafe { handle(file) }.give_back(offset as u64);
    }
    sqlite::SQLITE_OK
}
