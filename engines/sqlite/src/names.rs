//! Names and lengths of files, beside the pool: what SQLite's `xAccess` and `xDelete` ask, and the length in bytes of a file whose
//! last block is not whole.
//!
//! [`SystemNames`] asks the system. Tests on a simulated disk bring their own.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::Path,
};

use crate::process_lock::ProcessLock;

/// What the VFS asks of the disk beside the pages of open files.
pub trait Names: Send + Sync {
    /// Returns the length of the file in bytes, or `None` if there is no such file.
    ///
    /// # Errors
    /// Those of the system.
    fn len(&self, path: &Path) -> io::Result<Option<u64>>;

    /// Sets the length of the file in bytes.
    ///
    /// # Errors
    /// Those of the system.
    fn set_len(&self, path: &Path, bytes: u64) -> io::Result<()>;

    /// Removes the file from its folder.
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::NotFound`] if there is no such file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes durable which names are in the folder of the file.
    ///
    /// # Errors
    /// Those of the system.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Returns the system's numbers of the file to which the name leads: its device's and its own. `None` where it leads to none, or the
    /// disk has no such numbers: then a file that takes another's name is not noticed.
    fn identity(&self, path: &Path) -> Option<(u64, u64)> {
        let _ = path;
        None
    }

    /// Returns the permissions of the file, if there is one and the system has such.
    fn mode(&self, path: &Path) -> Option<u32>;

    /// Gives a new file the permissions of another, whatever the process's umask takes of them, and its owner where this process may.
    fn copy_permissions(&self, from: &Path, to: &Path) {
        let _ = (from, to);
    }

    /// Keeps other processes from the database, which is created if the mode of a new file is given. Returns `None` if another
    /// process has it.
    ///
    /// # Errors
    /// Those of the system.
    fn lock(&self, path: &Path, create: Option<u32>) -> io::Result<Option<ProcessLock>>;
}

/// The system's own files.
#[derive(Copy, Clone, Debug, Default)]
pub struct SystemNames;

impl Names for SystemNames {
    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn set_len(&self, path: &Path, bytes: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn identity(&self, path: &Path) -> Option<(u64, u64)> {
        fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        fs::metadata(path).ok().map(|found| found.permissions().mode() & 0o777)
    }

    fn copy_permissions(&self, from: &Path, to: &Path) {
        let (Ok(from), Ok(found)) = (fs::metadata(from), fs::metadata(to)) else { return };
        // As SQLite's own VFS does it, a failure of either is none: the file can be used by this process.
        if (from.uid(), from.gid()) != (found.uid(), found.gid()) {
            let _ = chown(to, Some(from.uid()), Some(from.gid()));
        }
        let wanted = (from.permissions().mode() & 0o777) | 0o600;
        if found.permissions().mode() & 0o777 != wanted {
            let _ = fs::set_permissions(to, fs::Permissions::from_mode(wanted));
        }
    }

    fn lock(&self, path: &Path, create: Option<u32>) -> io::Result<Option<ProcessLock>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create.is_some()).mode(create.unwrap_or(0));
        let refused = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
        };
        match options.open(path) {
            Ok(file) => ProcessLock::take(file, true),
            Err(error) if refused(&error) && create.is_none() => ProcessLock::take(File::open(path)?, false),
            Err(error) => Err(error),
        }
    }
}
