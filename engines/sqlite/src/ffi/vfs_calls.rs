//! The functions of the VFS, as SQLite calls them. What is no matter of files on the pool goes to the default VFS.

use std::{
    cell::RefCell,
    ffi::{CStr, CString, OsStr, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr,
    sync::{Arc, Weak},
};

use libsqlite3_sys::{self as sqlite, sqlite3_file, sqlite3_vfs};

use crate::{
    error::{Call, Failure},
    ffi::file_calls,
    handle::Handle,
    vfs::{Files, HowToOpen, Kind},
};

#[derive(Debug)]
/// What a VFS of this package has beside SQLite's structure.
pub struct AppData {
    /// Gone once the VFS has been dropped, and its last file closed.
    pub files: Weak<Files>,
    /// The VFS that was the default one before.
    pub default: *mut sqlite3_vfs,
}

thread_local! {
    /// Why the last call of this thread failed, and the system's number of the error.
    static LAST: RefCell<(String, c_int)> = const { RefCell::new((String::new(), 0)) };
}

/// Writes the reason of a failure into SQLite's log, and keeps it for `xGetLastError`.
pub(super) fn tell(failure: &Failure, code: c_int) {
    let reason = failure.to_string();
    if let Ok(line) = CString::new(format!("ringpool: {reason}")) {
        // SAFETY: both are strings, and the format takes one.
        unsafe { sqlite::sqlite3_log(code, c"%s".as_ptr(), line.as_ptr()) };
    }
    LAST.set((reason, failure.errno()));
}

/// Returns why the last call of this thread on a VFS of this package failed; empty if none did.
#[must_use]
pub fn last_failure() -> String {
    LAST.with_borrow(|(reason, _)| reason.clone())
}

unsafe fn app_data<'a>(vfs: *mut sqlite3_vfs) -> &'a AppData {
    // SAFETY: SQLite calls these functions with the structure that was registered.
    let app_data = unsafe { (*vfs).pAppData };
    // SAFETY: set at the registration, and never freed.
    unsafe { &*app_data.cast::<AppData>() }
}

unsafe fn path_of<'a>(name: *const c_char) -> &'a Path {
    // SAFETY: SQLite's names are strings.
    let name = unsafe { CStr::from_ptr(name) };
    Path::new(OsStr::from_bytes(name.to_bytes()))
}

fn kind_of(flags: c_int) -> Option<Kind> {
    let kinds = [
        (sqlite::SQLITE_OPEN_MAIN_DB, Kind::Database),
        (sqlite::SQLITE_OPEN_MAIN_JOURNAL, Kind::Journal),
        (sqlite::SQLITE_OPEN_WAL, Kind::Log),
        (sqlite::SQLITE_OPEN_SUPER_JOURNAL, Kind::SuperJournal),
    ];
    kinds.into_iter().find(|(flag, _)| flags & flag != 0).map(|(_, kind)| kind)
}

pub(super) unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: sqlite::sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: `vfs` is the one that was registered.
    let app_data = unsafe { app_data(vfs) };
    let kind = kind_of(flags).filter(|_| !name.is_null() && flags & sqlite::SQLITE_OPEN_DELETEONCLOSE == 0);
    let Some(kind) = kind else {
        // A temporary file. The room in `file` is enough for a file of the default VFS.
        // SAFETY: the default VFS has all functions of a VFS.
        let of_default = unsafe { (*app_data.default).xOpen };
        let Some(of_default) = of_default else { return sqlite::SQLITE_CANTOPEN };
        // SAFETY: the arguments are SQLite's own.
        return unsafe { of_default(app_data.default, name, file, flags, out_flags) };
    };
    // SAFETY: `file` has room for a file; without methods SQLite does not close it.
    unsafe { (*file).pMethods = ptr::null() };
    let is_set = |flag| flags & flag != 0;
    let how = HowToOpen {
        kind,
        writable: is_set(sqlite::SQLITE_OPEN_READWRITE),
        create: is_set(sqlite::SQLITE_OPEN_CREATE),
        exclusive: is_set(sqlite::SQLITE_OPEN_CREATE) && is_set(sqlite::SQLITE_OPEN_EXCLUSIVE),
    };
    let Some(files) = app_data.files.upgrade() else { return sqlite::SQLITE_CANTOPEN };
    // SAFETY: the name is a string.
    let path = unsafe { path_of(name) };
    match Handle::open(&files, path, how) {
        Ok(handle) => {
            if !out_flags.is_null() {
                let wrote = sqlite::SQLITE_OPEN_READWRITE | sqlite::SQLITE_OPEN_CREATE;
                let read_only = (flags & !wrote) | sqlite::SQLITE_OPEN_READONLY;
                // SAFETY: it is the place of a number.
                unsafe { *out_flags = if handle.is_writable() { flags } else { read_only } };
            }
            // SAFETY: `szOsFile` is at least what it needs.
            unsafe { file_calls::put(file, handle) };
            sqlite::SQLITE_OK
        }
        Err(failure) => {
            tell(&failure, failure.code(Call::Open));
            failure.code(Call::Open)
        }
    }
}

pub(super) unsafe extern "C" fn delete(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    sync_folder: c_int,
) -> c_int {
    // SAFETY: `vfs` is the one that was registered.
    let Some(files) = (unsafe { app_data(vfs) }).files.upgrade() else { return sqlite::SQLITE_IOERR_DELETE };
    // SAFETY: the name is a string.
    match files.remove(unsafe { path_of(name) }, sync_folder != 0) {
        Ok(()) => sqlite::SQLITE_OK,
        Err(failure) => {
            let code = failure.code(Call::Delete);
            if code != sqlite::SQLITE_IOERR_DELETE_NOENT {
                tell(&failure, code);
            }
            code
        }
    }
}

pub(super) unsafe extern "C" fn access(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    result: *mut c_int,
) -> c_int {
    // SAFETY: `vfs` is the one that was registered.
    let app_data = unsafe { app_data(vfs) };
    let files = app_data.files.upgrade().filter(|_| flags == sqlite::SQLITE_ACCESS_EXISTS);
    let Some(files) = files else {
        // SAFETY: the default VFS has all functions of a VFS.
        let of_default = unsafe { (*app_data.default).xAccess };
        let Some(of_default) = of_default else { return sqlite::SQLITE_IOERR_ACCESS };
        // SAFETY: the arguments are SQLite's own.
        return unsafe { of_default(app_data.default, name, flags, result) };
    };
    // SAFETY: the name is a string.
    match files.exists(unsafe { path_of(name) }) {
        Ok(exists) => {
            // SAFETY: SQLite gives a place for the result.
            unsafe { *result = c_int::from(exists) };
            sqlite::SQLITE_OK
        }
        Err(failure) => {
            tell(&failure, failure.code(Call::Access));
            failure.code(Call::Access)
        }
    }
}

/// Copies why the last call failed to where SQLite wants it, and returns the system's number of the error: `sqlite3_system_errno`.
pub(super) unsafe extern "C" fn last_error(_: *mut sqlite3_vfs, bytes: c_int, into: *mut c_char) -> c_int {
    let room = (bytes.max(0) as usize).saturating_sub(1);
    LAST.with_borrow(|(reason, errno)| {
        if room > 0 && !into.is_null() {
            let count = room.min(reason.len());
            // SAFETY: there is room for one byte more than are copied.
            unsafe { ptr::copy_nonoverlapping(reason.as_ptr().cast::<c_char>(), into, count) };
            // SAFETY: as before.
            let end = unsafe { into.add(count) };
            // SAFETY: as before.
            unsafe { end.write(0) };
        }
        *errno
    })
}

/// Makes functions that call the same function of the default VFS.
macro_rules! of_default {
    ($($name:ident => $field:ident ($($argument:ident: $type:ty),*) $(-> $result:ty, else $without:expr)?;)*) => {$(
        pub(super) unsafe extern "C" fn $name(vfs: *mut sqlite3_vfs $(, $argument: $type)*) $(-> $result)? {
            // SAFETY: `vfs` is the one that was registered.
            let default = unsafe { app_data(vfs) }.default;
            // SAFETY: the default VFS lives as long as the process.
            match unsafe { (*default).$field } {
                // SAFETY: the arguments are SQLite's own.
                Some(call) => unsafe { call(default $(, $argument)*) },
                None => of_default!(@without $($without)?),
            }
        }
    )*};
    (@without $without:expr) => { $without };
    (@without) => { () };
}

type Symbol = Option<unsafe extern "C" fn(*mut sqlite3_vfs, *mut c_void, *const c_char)>;

of_default! {
    full_pathname => xFullPathname(name: *const c_char, bytes: c_int, into: *mut c_char) -> c_int, else sqlite::SQLITE_CANTOPEN;
    dl_open => xDlOpen(name: *const c_char) -> *mut c_void, else ptr::null_mut();
    dl_error => xDlError(bytes: c_int, into: *mut c_char);
    dl_sym => xDlSym(library: *mut c_void, name: *const c_char) -> Symbol, else None;
    dl_close => xDlClose(library: *mut c_void);
    randomness => xRandomness(bytes: c_int, into: *mut c_char) -> c_int, else 0;
    sleep => xSleep(microseconds: c_int) -> c_int, else 0;
    current_time => xCurrentTime(into: *mut f64) -> c_int, else sqlite::SQLITE_ERROR;
    current_time_int64 => xCurrentTimeInt64(into: *mut sqlite::sqlite3_int64) -> c_int, else sqlite::SQLITE_ERROR;
}

/// Returns the files of a VFS, if it is one of this package's.
///
/// # Safety
/// `vfs` is a VFS that was registered.
pub unsafe fn files_of(vfs: *mut sqlite3_vfs) -> Option<Arc<Files>> {
    // SAFETY: it was registered.
    let is_own = unsafe { (*vfs).xOpen }.is_some_and(|of_vfs| {
        let own: unsafe extern "C" fn(_, _, _, _, _) -> _ = open;
        ptr::fn_addr_eq(of_vfs, own)
    });
    // SAFETY: only the VFSs of this package have that function.
    if is_own { unsafe { app_data(vfs) }.files.upgrade() } else { None }
}
