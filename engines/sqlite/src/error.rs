//! Why a call of SQLite on a file failed: as a reason for the log, and as the result code that SQLite knows.

use std::{fmt, io, path::PathBuf, sync::Arc};

use libsqlite3_sys as sqlite;

/// The result of each call on a file.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The pool could not do it.
    Pool(ringpool::Error),
    /// The system could not do it: a call on a file's name or length.
    System {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The database is open in another process, or in this one by other means than this VFS and this name.
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The page is lent to a reader, which SQLite's locks should have kept out. Nothing was changed.
    Lent {
        /// The block of the file.
        block: u32,
    },
    /// The file is not there, and is not to be created; or is there, and is to be created anew.
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The file was opened for reading only.
    ReadOnly,
    /// The file would have more blocks than the pool can number.
    TooLong,
    /// A lock that another connection has.
    Busy,
}

/// Which call failed: it chooses the code for a failure of the disk.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `xOpen`.
    Open,
    /// `xRead`, `xFetch`.
    Read,
    /// `xWrite`.
    Write,
    /// `xTruncate`.
    Truncate,
    /// `xSync`.
    Sync,
    /// `xClose`.
    Close,
    /// `xDelete`.
    Delete,
    /// `xAccess`.
    Access,
}

impl Failure {
    const ENOSPC: i32 = 28;

    /// Returns SQLite's result code for this failure of this call.
    #[must_use]
    pub fn code(&self, call: Call) -> i32 {
        match self {
            Self::Busy | Self::Lent { .. } => sqlite::SQLITE_BUSY,
            Self::InUse { .. } | Self::CannotOpen { .. } => sqlite::SQLITE_CANTOPEN,
            Self::ReadOnly => sqlite::SQLITE_READONLY,
            Self::TooLong => sqlite::SQLITE_FULL,
            Self::System { source, .. } if source.raw_os_error() == Some(Self::ENOSPC) => sqlite::SQLITE_FULL,
            Self::System { source, .. }
                if call == Call::Delete && source.kind() == io::ErrorKind::NotFound =>
            {
                sqlite::SQLITE_IOERR_DELETE_NOENT
            }
            Self::Pool(error) if error.raw_os_error() == Some(Self::ENOSPC) => sqlite::SQLITE_FULL,
            Self::Pool(ringpool::Error::InUse { .. }) => sqlite::SQLITE_CANTOPEN,
            Self::Pool(_) | Self::System { .. } => match call {
                Call::Open => sqlite::SQLITE_CANTOPEN,
                Call::Read => sqlite::SQLITE_IOERR_READ,
                Call::Write => sqlite::SQLITE_IOERR_WRITE,
                Call::Truncate => sqlite::SQLITE_IOERR_TRUNCATE,
                Call::Sync => sqlite::SQLITE_IOERR_FSYNC,
                Call::Close => sqlite::SQLITE_IOERR_CLOSE,
                Call::Delete => sqlite::SQLITE_IOERR_DELETE,
                Call::Access => sqlite::SQLITE_IOERR_ACCESS,
            },
        }
    }

    /// Returns the system's number of the error, or 0.
    #[must_use]
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::Pool(error) => error.raw_os_error(),
            Self::System { source, .. } => source.raw_os_error(),
            _ => None,
        };
        errno.unwrap_or(0)
    }

    pub(crate) fn system(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::System { path, source }
    }
}

impl From<ringpool::Error> for Failure {
    fn from(error: ringpool::Error) -> Self {
        match error {
            ringpool::Error::InUse { path } => Self::InUse { path: Arc::as_ref(&path).to_owned() },
            error => Self::Pool(error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(error) => error.fmt(f),
            Self::System { path, source } => write!(f, "{}: {source}", path.display()),
            Self::InUse { path } => write!(
                f,
                "{} is open elsewhere, by ringpool or by SQLite itself: in another process, or in this one by another pool, VFS or name",
                path.display()
            ),
            Self::Lent { block } => {
                write!(
                    f,
                    "block {block} is lent to a reader and was not changed: the locks should have kept one of the two out"
                )
            }
            Self::CannotOpen { path, reason } => write!(f, "{} {reason}", path.display()),
            Self::ReadOnly => f.write_str("the file was opened for reading only"),
            Self::TooLong => f.write_str("the file would have more blocks than a pool can number"),
            Self::Busy => f.write_str("another connection has the lock"),
        }
    }
}

impl std::error::Error for Failure {}
