//! Gives a pool to SQLite, as a VFS with a name.

use std::{
    ffi::{CString, c_char, c_int},
    fmt, ptr,
    sync::Arc,
};

use libsqlite3_sys::{self as sqlite, sqlite3, sqlite3_vfs};
use ringpool::BufferPool;

use crate::{
    ffi::{
        file_calls::FILE_SIZE,
        vfs_calls::{self, AppData},
    },
    vfs::{Files, VfsOptions},
};

/// A pool that SQLite knows by a name.
///
/// Dropped, it takes the name from SQLite. Connections that are open continue; the last one to close also lets go of the pool.
pub struct PoolVfs {
    vfs: *mut sqlite3_vfs,
    files: Arc<Files>,
}

// SAFETY: the structure is SQLite's, which locks what it changes of it; here it is only passed back.
unsafe impl Send for PoolVfs {}
// SAFETY: as above.
unsafe impl Sync for PoolVfs {}

/// Why a pool could not be registered.
#[derive(Debug)]
pub struct NotRegistered(&'static str);

impl fmt::Display for NotRegistered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SQLite cannot use the pool: {}", self.0)
    }
}

impl std::error::Error for NotRegistered {}

/// The limit that SQLite is told for pages that it may fetch: the most that it takes.
const FETCH_LIMIT: &std::ffi::CStr = c"PRAGMA mmap_size = 2147418112";

impl PoolVfs {
    /// Gives the pool to SQLite under this name. Connections that are opened with it fetch their pages from the frames, without a
    /// `PRAGMA mmap_size`.
    ///
    /// Choose a pool with pages of 4 KiB, which is the size of SQLite's own. Pages of a database that are larger than those of the
    /// pool are copied instead of lent.
    ///
    /// # Errors
    /// If another VFS has the name, or SQLite has no VFS of its own.
    pub fn register(name: &str, pool: &BufferPool) -> Result<Self, NotRegistered> {
        Self::register_with(name, pool, VfsOptions::default())
    }

    /// Gives the pool to SQLite under this name, with other options.
    ///
    /// # Errors
    /// Those of [`register`](Self::register).
    pub fn register_with(name: &str, pool: &BufferPool, options: VfsOptions) -> Result<Self, NotRegistered> {
        let name = CString::new(name).map_err(|_| NotRegistered("the name has a zero byte"))?;
        // SAFETY: the name is a string.
        if !unsafe { sqlite::sqlite3_vfs_find(name.as_ptr()) }.is_null() {
            return Err(NotRegistered("another VFS has the name"));
        }
        // SAFETY: without a name it returns the default VFS.
        let default = unsafe { sqlite::sqlite3_vfs_find(ptr::null()) };
        if default.is_null() {
            return Err(NotRegistered("it has no default VFS"));
        }
        // SAFETY: the default VFS lives as long as the process.
        let sqlite3_vfs { szOsFile: file_size, mxPathname: longest, .. } = unsafe { *default };
        let files = Arc::new(Files::new(pool.clone(), options));
        let app_data = Box::new(AppData { files: Arc::downgrade(&files), default });
        // Both live as long as the process: a connection may use them after the name is gone.
        let vfs = Box::into_raw(Box::new(sqlite3_vfs {
            iVersion: 2,
            szOsFile: file_size.max(FILE_SIZE as c_int),
            mxPathname: longest,
            pNext: ptr::null_mut(),
            zName: name.into_raw(),
            pAppData: Box::into_raw(app_data).cast(),
            xOpen: Some(vfs_calls::open),
            xDelete: Some(vfs_calls::delete),
            xAccess: Some(vfs_calls::access),
            xFullPathname: Some(vfs_calls::full_pathname),
            xDlOpen: Some(vfs_calls::dl_open),
            xDlError: Some(vfs_calls::dl_error),
            xDlSym: Some(vfs_calls::dl_sym),
            xDlClose: Some(vfs_calls::dl_close),
            xRandomness: Some(vfs_calls::randomness),
            xSleep: Some(vfs_calls::sleep),
            xCurrentTime: Some(vfs_calls::current_time),
            xGetLastError: Some(vfs_calls::last_error),
            xCurrentTimeInt64: Some(vfs_calls::current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: the structure is complete and lives as long as the process.
        if unsafe { sqlite::sqlite3_vfs_register(vfs, 0) } != sqlite::SQLITE_OK {
            return Err(NotRegistered("it has no memory"));
        }
        // SAFETY: the function may be called for each connection, as long as the process lives. A second call changes nothing.
        unsafe { sqlite::sqlite3_auto_extension(Some(begin_to_fetch)) };
        Ok(Self { vfs, files })
    }

    /// Returns the pool.
    #[must_use]
    pub fn pool(&self) -> &BufferPool {
        self.files.pool()
    }
}

impl Drop for PoolVfs {
    fn drop(&mut self) {
        // SAFETY: it was registered, and stays where it is.
        unsafe { sqlite::sqlite3_vfs_unregister(self.vfs) };
    }
}

impl fmt::Debug for PoolVfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolVfs").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Has a new connection fetch pages, if its database is on a pool. SQLite calls it for each connection of the process.
unsafe extern "C" fn begin_to_fetch(
    db: *mut sqlite3,
    _: *mut *mut c_char,
    _: *const sqlite::sqlite3_api_routines,
) -> c_int {
    let mut vfs: *mut sqlite3_vfs = ptr::null_mut();
    let (main, op) = (c"main".as_ptr(), sqlite::SQLITE_FCNTL_VFS_POINTER);
    // SAFETY: the connection is open, and the argument of this operation is the place of an address.
    let asked = unsafe { sqlite::sqlite3_file_control(db, main, op, (&raw mut vfs).cast()) };
    if asked != sqlite::SQLITE_OK || vfs.is_null() {
        return sqlite::SQLITE_OK;
    }
    // SAFETY: it is the VFS of a connection.
    if unsafe { vfs_calls::files_of(vfs) }.is_some() {
        // SAFETY: the connection is open, and the statement is a string. A failure leaves a connection that reads without fetching.
        unsafe { sqlite::sqlite3_exec(db, FETCH_LIMIT.as_ptr(), None, ptr::null_mut(), ptr::null_mut()) };
    }
    sqlite::SQLITE_OK
}
