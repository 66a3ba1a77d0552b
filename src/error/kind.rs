//! What a caller branches on: the kind of an error, and whether to try again.
//!
//! Each variant has a kind: a new one does not compile without. What is transient follows from the kind, and from the system's error.

use std::io;

use super::{Error, IoOp};

/// What a caller does about an [`Error`]: errors after which it does the same have the same kind.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The disk or the system refused a transfer, or a call for a file. Look at the system's error; nothing was lost by it: a failed read
    /// keeps nothing, and a page whose write failed stays dirty. But a file whose [removal](crate::BufferPool::drop_file) failed may be closed
    /// by then, without its pages.
    /// Its errors: [`Error::Io`]; [`Error::File`] but for a failed sync.
    Io,
    /// A page that was read is damaged. Restore it from the log ([`overwrite`](crate::BufferPool::overwrite)) or from a backup.
    /// Its errors: [`Error::Corrupt`], [`Error::AreaDamaged`].
    Corrupt,
    /// The block does not exist. [Extend](crate::BufferPool::extend) the file first, or do without.
    /// Its errors: [`Error::PastEof`].
    OutOfRange,
    /// No frame came free. Drop pins and try again, or give the pool more frames; with [`Error::NoFrame`] look for the requests
    /// that the disk does not answer.
    /// Its errors: [`Error::AllPinned`], [`Error::NoFrame`].
    NoFrame,
    /// The call asked for more at once than the pool can ever give. Ask for less, or look for what is leaked.
    /// Its errors: [`Error::TooManyPages`], [`Error::TooManyPins`].
    TooMany,
    /// The system has no more memory. Continue with the frames that there are.
    /// Its errors: [`Error::CannotGrow`].
    NoMemory,
    /// Another thread or pool is in the way: it holds a pin, a write guard, or the file's lock. Have it release that, and try
    /// again.
    /// Its errors: [`Error::Pinned`], [`Error::Latched`], [`Error::InUse`].
    Busy,
    /// The call does not fit the file: it is open for reading only, is open already, has a fixed size, has another file's tag, or
    /// its path leads to another file. Change the call.
    /// Its errors: [`Error::ReadOnly`], [`Error::AlreadyOpen`], [`Error::FixedSize`], [`Error::TagTaken`], [`Error::PathChanged`].
    Conflict,
    /// The pool or the file is not open in this process. Open it, or build a pool.
    /// Its errors: [`Error::NotOpen`], [`Error::ShutDown`], [`Error::Forked`].
    Closed,
    /// A sync failed, so what was written may be lost. Close the file, open it again and recover from the log; for the [doublewrite
    /// area](crate::options::TornPages::DoubleWrite), build the pool anew.
    /// Its errors: [`Error::SyncPoisoned`]; [`Error::File`] of a failed sync.
    Poisoned,
    /// The log prevents a write: it could not be flushed, or was not told of a change. The page stays dirty. Repair the log, or
    /// state the change's position.
    /// Its errors: [`Error::Wal`], [`Error::UnloggedChange`].
    Log,
    /// Pages from before a crash are still to be restored. Open their files, or [give them
    /// up](crate::BufferPool::give_up_torn_pages).
    /// Its errors: [`Error::TornPages`].
    NeedsRecovery,
    /// An option cannot work. The [`ConfigError`](crate::ConfigError) names it, and a value that would work.
    /// Its errors: [`Error::Config`].
    Config,
    /// The engine's own log or codec panicked. Repair it.
    /// Its errors: [`Error::Panicked`].
    Panicked,
}

impl Error {
    /// Returns the kind of the error: what a caller does about it.
    ///
    /// ```
    /// use ringpool::{Error, ErrorKind};
    ///
    /// /// What an engine makes of an error of a read.
    /// fn advice(error: &Error) -> &'static str {
    ///     match error.kind() {
    ///         _ if error.is_transient() => "try again in a while",
    ///         ErrorKind::Corrupt => "restore the page from the log",
    ///         ErrorKind::Poisoned => "close the file, open it and recover",
    ///         _ => "give up",
    ///     }
    /// }
    /// assert_eq!(advice(&Error::ShutDown), "give up");
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            // What was written may be lost from the first failed sync on.
            Self::File { op: IoOp::Sync, .. } | Self::SyncPoisoned { .. } => ErrorKind::Poisoned,
            Self::Io { .. } | Self::File { .. } => ErrorKind::Io,
            Self::Corrupt { .. } | Self::AreaDamaged { .. } => ErrorKind::Corrupt,
            Self::PastEof { .. } => ErrorKind::OutOfRange,
            Self::AllPinned { .. } | Self::NoFrame { .. } => ErrorKind::NoFrame,
            Self::TooManyPages { .. } | Self::TooManyPins { .. } => ErrorKind::TooMany,
            Self::CannotGrow { .. } => ErrorKind::NoMemory,
            Self::Pinned { .. } | Self::Latched { .. } | Self::InUse { .. } => ErrorKind::Busy,
            Self::ReadOnly { .. }
            | Self::AlreadyOpen { .. }
            | Self::FixedSize { .. }
            | Self::TagTaken { .. }
            | Self::PathChanged { .. } => ErrorKind::Conflict,
            Self::NotOpen { .. } | Self::ShutDown | Self::Forked => ErrorKind::Closed,
            Self::Wal { .. } | Self::UnloggedChange { .. } => ErrorKind::Log,
            Self::TornPages { .. } => ErrorKind::NeedsRecovery,
            Self::Config(_) => ErrorKind::Config,
            Self::Panicked { .. } => ErrorKind::Panicked,
        }
    }

    /// Returns whether the same call may succeed later, though this caller changes nothing: what is in the way ends by itself, or
    /// by what other threads do in their work (they drop pins and guards, the disk answers, memory and space on the disk become
    /// free).
    ///
    /// True is no promise, and gives no time: pause between tries, and bound their number. Pins and guards of the *calling* thread
    /// or task end only if it drops them. False if only a deliberate step helps (extend the file, open it again, restore the page,
    /// choose another option), even if another thread may take it.
    ///
    /// For a failed transfer, a failed call for a file and a failed flush of the log it depends on the system's error: interrupted,
    /// busy, timed out, and no memory, descriptors or space left count as transient; a medium error (`EIO`), a missing file and
    /// refused permissions do not. Never transient are a failed sync (C4), a failed removal, which as a rule has closed the file,
    /// and a log whose [`DurableLsn`](crate::DurableLsn::fail) failed for good.
    ///
    /// Example: [`Self::kind`].
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            // By a removal that failed the file is closed, so another would find none.
            Self::File { op: IoOp::Sync | IoOp::Remove, .. } => false,
            Self::Io { source, .. } | Self::File { source, .. } | Self::Wal { source, .. } => passes(source),
            Self::TooManyPages { .. } => false,
            error => matches!(
                error.kind(),
                ErrorKind::NoFrame | ErrorKind::TooMany | ErrorKind::NoMemory | ErrorKind::Busy
            ),
        }
    }
}

/// Returns whether the state of the system that the error reports passes by itself.
fn passes(error: &io::Error) -> bool {
    use rustix::io::Errno;

    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(number, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS))
        || matches!(
            error.kind(),
            io::ErrorKind::Interrupted
                | io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::ResourceBusy
                | io::ErrorKind::OutOfMemory
                | io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
        )
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc, time::Duration};

    use super::*;
    use crate::error::Callback;
    use crate::id::{FileId, Lsn, PageId};

    fn source(errno: i32) -> Arc<io::Error> {
        Arc::new(io::Error::from_raw_os_error(errno))
    }

    fn file_error(op: IoOp, errno: i32) -> Error {
        Error::File { op, path: Path::new("data").into(), source: source(errno) }
    }

    const EIO: i32 = 5;
    const ENOENT: i32 = 2;
    const EINTR: i32 = 4;
    const EMFILE: i32 = 24;
    const ENOSPC: i32 = 28;

    #[test]
    fn a_transfer_is_worth_another_try_where_the_systems_state_passes_by_itself() {
        let page = PageId::new(FileId(0), 3);
        for (errno, is_transient) in
            [(EIO, false), (ENOENT, false), (EINTR, true), (EMFILE, true), (ENOSPC, true)]
        {
            let read = Error::Io { op: IoOp::Read, page, path: None, source: source(errno) };
            assert_eq!((read.kind(), read.is_transient()), (ErrorKind::Io, is_transient), "{read}");
            let extend = file_error(IoOp::Extend, errno);
            assert_eq!((extend.kind(), extend.is_transient()), (ErrorKind::Io, is_transient), "{extend}");
            let log = Error::Wal { lsn: Lsn(7), source: source(errno) };
            assert_eq!((log.kind(), log.is_transient()), (ErrorKind::Log, is_transient), "{log}");
        }
    }

    #[test]
    fn c4_a_failed_sync_is_of_one_kind_from_the_first_on_and_never_worth_another_try() {
        let poisoned =
            Error::SyncPoisoned { file: FileId(0), path: Path::new("data").into(), source: source(ENOSPC) };
        for error in [file_error(IoOp::Sync, ENOSPC), file_error(IoOp::Sync, EINTR), poisoned] {
            assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Poisoned, false), "{error}");
        }
        let removal = file_error(IoOp::Remove, ENOSPC);
        assert_eq!((removal.kind(), removal.is_transient()), (ErrorKind::Io, false));
        // A folder can be synced again.
        assert_eq!(file_error(IoOp::SyncFolder, EIO).kind(), ErrorKind::Io);
    }

    #[test]
    fn what_other_callers_hold_is_worth_another_try_and_what_takes_a_step_is_not() {
        let (page, path) = (PageId::new(FileId(0), 3), None);
        let waited = Duration::from_secs(1);
        let pinned = Error::AllPinned { waited, frames: 8, pinned: 8 };
        for (error, kind) in [
            (pinned, ErrorKind::NoFrame),
            (Error::Pinned { page, path: path.clone() }, ErrorKind::Busy),
            (Error::Latched { page, path: path.clone(), waited }, ErrorKind::Busy),
            (Error::InUse { path: Path::new("data").into() }, ErrorKind::Busy),
        ] {
            assert_eq!((error.kind(), error.is_transient()), (kind, true), "{error}");
        }
        for (error, kind) in [
            (Error::PastEof { page, path: Path::new("data").into(), blocks: 3 }, ErrorKind::OutOfRange),
            (Error::UnloggedChange { page, path }, ErrorKind::Log),
            (Error::NotOpen { file: FileId(0) }, ErrorKind::Closed),
            (Error::ShutDown, ErrorKind::Closed),
            (Error::panicked(Callback::Log), ErrorKind::Panicked),
        ] {
            assert_eq!((error.kind(), error.is_transient()), (kind, false), "{error}");
        }
    }
}
