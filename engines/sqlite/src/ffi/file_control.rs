//! What SQLite and its users ask of a file beside reads and writes: `xFileControl`.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr,
};

use libsqlite3_sys::{self as sqlite, sqlite3_file};

use crate::{ffi::file_calls::handle, handle::Handle};

/// The pragma that tells what the pool does.
const PRAGMA: &CStr = c"ringpool";

pub(super) unsafe extern "C" fn file_control(
    file: *mut sqlite3_file,
    op: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let handle = unsafe { handle(file) };
    match op {
        sqlite::SQLITE_FCNTL_LOCKSTATE => set(argument, handle.level() as c_int),
        sqlite::SQLITE_FCNTL_LAST_ERRNO => set(argument, handle.last_errno),
        sqlite::SQLITE_FCNTL_HAS_MOVED => set(argument, c_int::from(handle.has_moved())),
        sqlite::SQLITE_FCNTL_POWERSAFE_OVERWRITE => set::<c_int>(argument, 1),
        sqlite::SQLITE_FCNTL_PERSIST_WAL => persist_wal(handle, argument),
        sqlite::SQLITE_FCNTL_MMAP_SIZE => mmap_size(handle, argument),
        sqlite::SQLITE_FCNTL_VFSNAME => set(argument, text("ringpool")),
        sqlite::SQLITE_FCNTL_PRAGMA => pragma(handle, argument),
        sqlite::SQLITE_FCNTL_CKPT_START => set_copying(handle, true),
        sqlite::SQLITE_FCNTL_CKPT_DONE => set_copying(handle, false),
        _ => sqlite::SQLITE_NOTFOUND,
    }
}

fn set_copying(handle: &mut Handle, is_under_way: bool) -> c_int {
    handle.set_copying(is_under_way);
    sqlite::SQLITE_OK
}

/// Puts a result where SQLite wants it.
fn set<T>(argument: *mut c_void, value: T) -> c_int {
    // SAFETY: for these operations the argument is the address of a place for a value of this type.
    unsafe { argument.cast::<T>().write(value) };
    sqlite::SQLITE_OK
}

/// Sets whether the log stays when the last connection leaves, unless the number is negative, and tells whether it does.
fn persist_wal(handle: &mut Handle, argument: *mut c_void) -> c_int {
    // SAFETY: for this operation the argument is the address of a number.
    let wanted = unsafe { argument.cast::<c_int>().read() };
    if wanted >= 0 {
        handle.persist_wal = wanted != 0;
    }
    set(argument, c_int::from(handle.persist_wal))
}

/// Sets the limit of what may be lent, unless the number is negative, and tells the former one. The number only decides whether
/// SQLite fetches pages at all: none of them is mapped.
fn mmap_size(handle: &mut Handle, argument: *mut c_void) -> c_int {
    // SAFETY: for this operation the argument is the address of a number.
    let wanted = unsafe { argument.cast::<i64>().read() };
    let former = handle.mmap_limit;
    if wanted >= 0 {
        handle.mmap_limit = wanted;
    }
    set(argument, former)
}

/// Answers `PRAGMA ringpool` with the pool's statistics.
fn pragma(handle: &Handle, argument: *mut c_void) -> c_int {
    let words = argument.cast::<*mut c_char>();
    // SAFETY: for this operation the argument is an array of three strings, of which the second is the pragma's name.
    let [_, name, _] = unsafe { words.cast::<[*mut c_char; 3]>().read() };
    // SAFETY: it is a string of SQLite's.
    let name = unsafe { CStr::from_ptr(name) };
    if !name.to_bytes().eq_ignore_ascii_case(PRAGMA.to_bytes()) {
        return sqlite::SQLITE_NOTFOUND;
    }
    let pool = handle.files().pool();
    let answer = text(&format!("{}\nin flight: {}", pool.stats(), pool.in_flight().len()));
    // SAFETY: the first of the three is the place of the result.
    unsafe { *words = answer };
    sqlite::SQLITE_OK
}

/// Copies a text into memory that SQLite frees; null where there is none.
fn text(text: &str) -> *mut c_char {
    let Ok(text) = CString::new(text) else { return ptr::null_mut() };
    // SAFETY: both are strings, and the format takes one.
    unsafe { sqlite::sqlite3_mprintf(c"%s".as_ptr(), text.as_ptr()) }
}
