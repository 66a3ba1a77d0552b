//! What can go wrong, as one cloneable type.
//!
//! Several waiters share one failed I/O, so an error must be `Clone`; the system's own error sits behind an `Arc`. Each
//! error names the operation and the page or file it struck, and its text says what to do where something can be done.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::id::{FileId, Lsn, PageAddress, PageId};

/// The result of every fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which I/O failed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IoOp {
    /// Reading a page.
    Read,
    /// Writing a page out.
    Write,
    /// Making a file's writes durable.
    Sync,
    /// Making durable which names the folder of a file has.
    SyncFolder,
    /// Opening or inspecting a file.
    Open,
    /// Growing a file.
    Extend,
    /// Cutting a file.
    Truncate,
    /// Removing a file.
    Remove,
}

impl fmt::Display for IoOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::SyncFolder => "sync of the folder",
            Self::Open => "open",
            Self::Extend => "extend",
            Self::Truncate => "truncate",
            Self::Remove => "removal",
        })
    }
}

/// An error of the pool. Cheap to clone: several waiters can get the same one.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A transfer of a page failed. Nothing of a failed read stays cached; a page whose write failed stays dirty.
    #[error("{op} of {page} failed: {source}")]
    Io {
        /// What was tried.
        op: IoOp,
        /// The page.
        page: PageId,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// An operation on a whole file failed.
    #[error("{op} of {path} failed: {source}", path = path.display())]
    File {
        /// What was tried.
        op: IoOp,
        /// The file's path as it was given.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The page codec refused what was read: a torn, flipped or misplaced page.
    #[error("{page} is corrupt: {reason}")]
    Corrupt {
        /// The page.
        page: PageId,
        /// What the codec said.
        reason: Arc<str>,
    },
    /// The block lies behind the end of its file.
    #[error("{page} lies past the end: the file has {blocks} blocks; extend it first")]
    PastEof {
        /// The page that was asked for.
        page: PageId,
        /// The blocks that the file has.
        blocks: u32,
    },
    /// No frame could be had: all of them were pinned for as long as a fetch [waits for pins](crate::Builder::frame_wait).
    #[error(
        "no frame came free within {waited:?}: all are pinned; drop pins sooner, or give the pool more frames"
    )]
    AllPinned {
        /// How long the caller waited.
        waited: Duration,
    },
    /// No frame could be had: the frames that are not pinned wait for the disk, and nothing came back from it for as long as a fetch
    /// [waits for that](crate::Builder::disk_wait).
    #[error(
        "no frame came free within {waited:?}, the last {idle:?} of them without any progress: of {frames} frames {pinned} \
         are pinned, {reading} are being read, {writing} are being written and {dirty} are dirty; look in in_flight() for \
         what the disk does not answer"
    )]
    NoFrame {
        /// How long the caller waited.
        waited: Duration,
        /// For how long no page was read or written, and no frame changed hands.
        idle: Duration,
        /// The frames of the pool.
        frames: u32,
        /// Frames that users have pinned.
        pinned: u32,
        /// Frames that are being read.
        reading: u32,
        /// Frames that are being written, and that no user has pinned.
        writing: u32,
        /// Frames with changes that are neither pinned nor being written.
        dirty: u32,
    },
    /// More pages are to be pinned at once than the pool has frames.
    #[error(
        "{pages} pages cannot be pinned at once in {frames} frames: fetch fewer, or give the pool more frames"
    )]
    TooManyPages {
        /// The pages, each counted once.
        pages: usize,
        /// The frames of the pool.
        frames: u32,
    },
    /// The operation needs the page to itself, but somebody holds a pin on it.
    #[error("{page} is pinned; drop its pins and try again")]
    Pinned {
        /// The page.
        page: PageId,
    },
    /// The page could not be written, since it was being changed for the whole of the allowed wait. It is as dirty as before.
    #[error(
        "{page} is not written, since it was being changed for {waited:?}: drop its write guard and try again, not with the guard in hand"
    )]
    Latched {
        /// The page.
        page: PageId,
        /// How long the caller waited.
        waited: Duration,
    },
    /// The system has no memory for more frames, or will not have it registered. The pool is as large as it was.
    #[error("the pool cannot grow to {frames} frames and is as it was: {reason}")]
    CannotGrow {
        /// How many frames there were to be.
        frames: u32,
        /// Why, and what can be done.
        reason: Arc<str>,
    },
    /// One page cannot have more pins at once than the frame's state word counts.
    #[error("{page} has as many pins as a page can have; is a pin leaked in a loop?")]
    TooManyPins {
        /// The page.
        page: PageId,
    },
    /// The write-ahead log could not be made durable, so nothing was written and the pages are still dirty.
    #[error("the log could not be flushed up to {lsn}: {source}")]
    Wal {
        /// How far the log had to be durable.
        lsn: Lsn,
        /// The log's error.
        source: Arc<io::Error>,
    },
    /// The page was changed without a log position, and the pool [refuses](crate::UnloggedChanges::Refuse) to write such a page. It
    /// stays in memory as it is.
    #[error(
        "{page} is not written, since it was changed without a log position: call set_lsn for each change (Lsn::UNLOGGED where it needs \
         no record); for what was changed already, log the whole page and call set_image_lsn"
    )]
    UnloggedChange {
        /// The page.
        page: PageId,
    },
    /// A sync of this file failed before, so what was written may be lost even though a later sync would report success.
    #[error(
        "{file} cannot be trusted since a sync failed ({source}): close it, open it again and recover from the log"
    )]
    SyncPoisoned {
        /// The file.
        file: FileId,
        /// The error of the sync that failed first.
        source: Arc<io::Error>,
    },
    /// The file was opened for reading only.
    #[error("{file} is open for reading only: open it without read_only to change it")]
    ReadOnly {
        /// The file.
        file: FileId,
    },
    /// No open file has this id: it was closed, or is another pool's.
    #[error("{file} is not open in this pool: it was closed, or is another pool's")]
    NotOpen {
        /// The id that was used.
        file: FileId,
    },
    /// The pool has this very file open already, perhaps by another path.
    #[error("{path} is open already as {file}: one file, one id", path = path.display())]
    AlreadyOpen {
        /// The path that was given.
        path: PathBuf,
        /// The id under which the file is open.
        file: FileId,
    },
    /// Another pool has the file open, of this process or of another.
    #[error(
        "{path} is in use by another pool: close it there first, or open it with lock(Fallback::Off) where that cannot harm",
        path = path.display()
    )]
    InUse {
        /// The path that was given.
        path: PathBuf,
    },
    /// A block device can be neither extended nor cut.
    #[error("{path} is a block device, whose size is fixed: use the blocks that it has", path = path.display())]
    FixedSize {
        /// The file's path as it was given.
        path: PathBuf,
    },
    /// The file's path does not lead to it any more: it was renamed, removed or replaced by somebody else.
    #[error("{path} does not lead to {file} any more: it was renamed, removed or replaced", path = path.display())]
    PathChanged {
        /// The file's path as it was given.
        path: PathBuf,
        /// The file.
        file: FileId,
    },
    /// The doublewrite area has no room: it holds copies of pages that may be torn in their places, of files with these tags. Those
    /// were not opened since a crash, or since they were closed with a failed sync; or they are open, and a sync failed or a page cannot
    /// be written. A page that needs a copy is not written until they were opened (anew), were given up, or can be written again.
    #[error(
        "the doublewrite area holds pages of the files with the tags {tags:?}, which may be torn without them: open those files (close \
         those first that are open and whose sync failed), or give them up"
    )]
    TornPages {
        /// What the files were [tagged](crate::OpenOptions::tag) with.
        tags: Arc<[u64]>,
    },
    /// The doublewrite area was damaged after it was written, and a page in its place may be torn, or newer than all copies that are left of
    /// it: nothing was changed. See [`TornPages`](crate::TornPages).
    #[error("{}", area_damaged(area, *page))]
    AreaDamaged {
        /// The area's path as it was given.
        area: PathBuf,
        /// The page whose newest copy is damaged; `None` where the damage hides which pages there were copies of.
        page: Option<PageAddress>,
    },
    /// Two files cannot have the same tag where pages have a [codec](crate::PageCodec), or are protected from being
    /// [torn](crate::TornPages) by copies: it is what a page's file is known by.
    #[error("{path} has the tag {tag} of {file}: give each file a tag of its own, the same each time", path = path.display())]
    TagTaken {
        /// The path that was given.
        path: PathBuf,
        /// The tag that was given.
        tag: u64,
        /// The file that has it.
        file: FileId,
    },
    /// An option has a value that cannot work. The text says which and what would.
    #[error("{0}")]
    Config(Arc<str>),
    /// A callback of the engine (its log, its page codec) panicked, in a thread of the pool, or on a page that had to be written to
    /// make room for the one that was wanted.
    #[error("a callback of the engine panicked; the operation was given up")]
    Panicked,
    /// The pool is shut down.
    #[error("the pool is shut down: build a new one")]
    ShutDown,
    /// The pool belongs to the process from which this one was [forked](crate::BufferPool#processes-that-are-forked).
    #[error("the pool belongs to the process from which this one was forked: build one after the fork")]
    Forked,
}

impl Error {
    pub(crate) fn config(text: impl Into<String>) -> Self {
        Self::Config(Arc::from(text.into()))
    }

    pub(crate) fn io(op: IoOp, page: PageId, source: io::Error) -> Self {
        Self::Io { op, page, source: Arc::new(source) }
    }

    /// The system's error number, where one is behind this error.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. }
            | Self::File { source, .. }
            | Self::Wal { source, .. }
            | Self::SyncPoisoned { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

fn area_damaged(area: &Path, page: Option<PageAddress>) -> String {
    let area = area.display();
    match page {
        Some(PageAddress { tag, block, .. }) => format!(
            "the doublewrite area {area} is damaged: {block} of the file with the tag {tag} may be torn, or newer than the copies that are \
             left; check or restore that file, or take it as it is with give_up_torn_pages({tag})"
        ),
        None => format!(
            "the doublewrite area {area} is damaged, and what was in it is not known: any page of any file may be torn; check or restore \
             the files, and remove the area"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_send_sync_clone_and_name_their_page() {
        fn assert_bounds<T: Clone + Send + Sync + std::error::Error + 'static>() {}
        assert_bounds::<Error>();
        let page = PageId::new(FileId(3), 14);
        let text = Error::io(IoOp::Read, page, io::Error::from_raw_os_error(5)).to_string();
        assert!(text.starts_with("read of block 14 of file 3 failed: "), "{text}");
    }
}
