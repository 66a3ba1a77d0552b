//! What can go wrong, as one cloneable type.
//!
//! Several waiters share one failed I/O, so an error must be `Clone`; the system's own error is behind an `Arc`. Each error names
//! the operation and its page or file, with the file's path. Its text says what to do, if something can be done.

mod callback;
mod config;
mod kind;

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

pub use self::{callback::Callback, config::ConfigError, kind::ErrorKind};
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
    /// Making a file's name durable in its folder.
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
///
/// [`kind`](Self::kind) tells what to do about it, and [`is_transient`](Self::is_transient) whether to try again; the variants have
/// the details. A path that is an `Option` is `None` once the file is closed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A transfer of a page failed. Nothing of a failed read stays cached; a page whose write failed stays dirty.
    #[error("{op} of {} failed: {source}", page_in(*page, path.as_deref()))]
    Io {
        /// What was tried.
        op: IoOp,
        /// The page.
        page: PageId,
        /// The path of its file as it was given; `None` if the file is closed.
        path: Option<Arc<Path>>,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// An operation on a whole file failed.
    #[error("{op} of {path} failed: {source}", path = path.display())]
    File {
        /// What was tried.
        op: IoOp,
        /// The file's path as it was given.
        path: Arc<Path>,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The page codec refused a page that was read: it is torn, flipped or misplaced.
    #[error("{} is corrupt: {reason}", page_in(*page, Some(path)))]
    Corrupt {
        /// The page.
        page: PageId,
        /// The path of its file as it was given.
        path: Arc<Path>,
        /// The codec's reason.
        reason: Arc<str>,
    },
    /// The block lies behind the end of its file.
    #[error(
        "{} lies past the end: the file has {blocks} blocks; extend it first", page_in(*page, Some(path))
    )]
    PastEof {
        /// The page that was asked for.
        page: PageId,
        /// The path of its file as it was given.
        path: Arc<Path>,
        /// The number of blocks of the file.
        blocks: u32,
    },
    /// No frame could be had: all of them were pinned for as long as a fetch [waits for pins](crate::Builder::frame_wait).
    #[error(
        "no frame came free within {waited:?}: of {frames} frames {pinned} are pinned; drop pins sooner, or give the pool more frames"
    )]
    AllPinned {
        /// How long the caller waited.
        waited: Duration,
        /// The number of frames of the pool.
        frames: u32,
        /// Frames that callers have pinned. All of them, except for a [`fetch_many`](crate::BufferPool::fetch_many), which needs
        /// several.
        pinned: u32,
    },
    /// No frame could be had: the frames that are not pinned wait for the disk, and the disk completed nothing for as long as a
    /// fetch [waits for it](crate::Builder::disk_wait).
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
        /// The number of frames of the pool.
        frames: u32,
        /// Frames that callers have pinned.
        pinned: u32,
        /// Frames that are being read.
        reading: u32,
        /// Frames that are being written, and that no caller has pinned.
        writing: u32,
        /// Frames with changes that are neither pinned nor being written.
        dirty: u32,
    },
    /// More pages were to be pinned at once than the pool has frames.
    #[error(
        "{pages} pages cannot be pinned at once in {frames} frames: fetch fewer, or give the pool more frames"
    )]
    TooManyPages {
        /// The pages, each counted once.
        pages: usize,
        /// The number of frames of the pool.
        frames: u32,
    },
    /// The operation needs the page to itself, but a caller holds a pin on it.
    #[error("{} is pinned; drop its pins and try again", page_in(*page, path.as_deref()))]
    Pinned {
        /// The page.
        page: PageId,
        /// The path of its file as it was given; `None` if the file is closed.
        path: Option<Arc<Path>>,
    },
    /// The page could not be written, since it was being changed for the whole of the allowed wait. It is as dirty as before.
    #[error(
        "{} is not written, since it was being changed for {waited:?}: drop its write guard and try again, not with the guard in hand",
        page_in(*page, path.as_deref())
    )]
    Latched {
        /// The page.
        page: PageId,
        /// The path of its file as it was given; `None` if the file is closed.
        path: Option<Arc<Path>>,
        /// How long the caller waited.
        waited: Duration,
    },
    /// The system has no memory for more frames, or refuses to have it registered. The pool is as large as it was.
    #[error("the pool cannot grow to {frames} frames and is as it was: {reason}")]
    CannotGrow {
        /// The number of frames that was asked for.
        frames: u32,
        /// Why, and what can be done.
        reason: Arc<str>,
    },
    /// A page cannot have more pins at once than the frame's state word counts.
    #[error(
        "{} has as many pins as a page can have; is a pin leaked in a loop?", page_in(*page, path.as_deref())
    )]
    TooManyPins {
        /// The page.
        page: PageId,
        /// The path of its file as it was given; `None` if the file is closed.
        path: Option<Arc<Path>>,
    },
    /// The write-ahead log could not be made durable, so nothing was written and the pages are still dirty.
    #[error("the log could not be flushed up to {lsn}: {source}")]
    Wal {
        /// The position up to which the log had to be durable.
        lsn: Lsn,
        /// The log's error.
        source: Arc<io::Error>,
    },
    /// The page was changed without a log position, and the pool [refuses](crate::options::UnloggedChanges::Refuse) to write such a page. It
    /// stays in memory as it is.
    #[error(
        "{} is not written, since it was changed without a log position: call set_lsn for each change (Lsn::UNLOGGED where it needs \
         no record); for what was changed already, log the whole page and call set_image_lsn",
        page_in(*page, path.as_deref())
    )]
    UnloggedChange {
        /// The page.
        page: PageId,
        /// The path of its file as it was given; `None` if the file is closed.
        path: Option<Arc<Path>>,
    },
    /// A sync of this file failed before, so what was written may be lost, even if a later sync would report success.
    #[error(
        "{} cannot be trusted since a sync failed ({source}): close it, open it again and recover from the log",
        file_at(*file, Some(path))
    )]
    SyncPoisoned {
        /// The file.
        file: FileId,
        /// Its path as it was given.
        path: Arc<Path>,
        /// The error of the sync that failed first.
        source: Arc<io::Error>,
    },
    /// The file was opened for reading only.
    #[error(
        "{} is open for reading only: open it without read_only to change it", file_at(*file, path.as_deref())
    )]
    ReadOnly {
        /// The file.
        file: FileId,
        /// Its path as it was given; `None` if it is closed.
        path: Option<Arc<Path>>,
    },
    /// No open file has this id: it was closed, or is another pool's.
    #[error("{file} is not open in this pool: it was closed, or is another pool's")]
    NotOpen {
        /// The id that was used.
        file: FileId,
    },
    /// The pool has the same file open already, perhaps by another path.
    #[error("{path} is open already as {}: one file, one id", file_at(*file, Some(open_path)), path = path.display())]
    AlreadyOpen {
        /// The path that was given.
        path: Arc<Path>,
        /// The id under which the file is open.
        file: FileId,
        /// The path by which it was opened.
        open_path: Arc<Path>,
    },
    /// Another pool, of this process or of another, has the file open.
    #[error(
        "{path} is in use by another pool: close it there first, or open it with lock(Fallback::Off) where that cannot harm",
        path = path.display()
    )]
    InUse {
        /// The path that was given.
        path: Arc<Path>,
    },
    /// A block device can be neither extended nor cut.
    #[error("{path} is a block device, whose size is fixed: use the blocks that it has", path = path.display())]
    FixedSize {
        /// The file's path as it was given.
        path: Arc<Path>,
    },
    /// The file's path does not lead to it any more: it was renamed, removed or replaced by another program.
    #[error("{path} does not lead to {file} any more: it was renamed, removed or replaced", path = path.display())]
    PathChanged {
        /// The file's path as it was given.
        path: Arc<Path>,
        /// The file.
        file: FileId,
    },
    /// The doublewrite area has no room: it holds copies of pages that may be torn in their places, of files with these tags. Those
    /// were not opened since a crash, or since they were closed with a failed sync. Or they are open, and a sync failed or a page
    /// cannot be written. A page that needs a copy is not written until those files were opened (anew), were given up, or can be
    /// written again.
    #[error(
        "the doublewrite area holds pages of the files with the tags {tags:?}, which may be torn without them: open those files (close \
         those first that are open and whose sync failed), or give them up"
    )]
    TornPages {
        /// The [tags](crate::OpenOptions::tag) of the files.
        tags: Arc<[u64]>,
    },
    /// The doublewrite area was damaged after it was written, and a page in its place may be torn, or newer than all copies of it
    /// that are left. Nothing was changed. See [`TornPages`](crate::options::TornPages).
    #[error("{}", area_damaged(area, *page))]
    AreaDamaged {
        /// The area's path as it was given.
        area: Arc<Path>,
        /// The page whose newest copy is damaged; `None` if the damage hides which pages had copies.
        page: Option<PageAddress>,
    },
    /// Two files cannot have the same tag if pages have a [codec](crate::PageCodec), or are protected from being
    /// [torn](crate::options::TornPages) by copies: the tag identifies a page's file.
    #[error(
        "{path} has the tag {tag} of {}: give each file a tag of its own, the same each time",
        file_at(*file, Some(open_path)), path = path.display()
    )]
    TagTaken {
        /// The path that was given.
        path: Arc<Path>,
        /// The tag that was given.
        tag: u64,
        /// The open file that has it.
        file: FileId,
        /// The path by which that file was opened.
        open_path: Arc<Path>,
    },
    /// An option has a value that cannot work. The text names the option, and a value that would.
    #[error("{0}")]
    Config(Arc<ConfigError>),
    /// A callback of the engine (its log, its page codec) panicked, in a thread of the pool, or on a page that had to be written to
    /// free a frame for the one that was wanted. A page whose write it was called for stays dirty.
    #[error("{callback} panicked{}; the operation was given up", over(*page, path.as_deref()))]
    #[non_exhaustive]
    Panicked {
        /// What panicked.
        callback: Callback,
        /// The page that it was called for, if it was called for one.
        page: Option<PageId>,
        /// The path, as it was given, of that page's file, or of the file that it was called for.
        path: Option<Arc<Path>>,
    },
    /// The pool is shut down.
    #[error("the pool is shut down: build a new one")]
    ShutDown,
    /// The pool belongs to the process from which this one was [forked](crate::BufferPool#processes-that-are-forked).
    #[error("the pool belongs to the process from which this one was forked: build one after the fork")]
    Forked,
}

impl Error {
    /// Returns the system's error number, if one is behind this error.
    ///
    /// # Examples
    /// ```
    /// # use std::path::Path;
    /// # use ringpool::{BufferPool, OpenOptions};
    /// const ENOENT: i32 = 2;
    /// let pool = BufferPool::builder().frames(16).build()?;
    /// let error = pool.open_file("no/such/file", OpenOptions::new()).unwrap_err();
    /// assert_eq!((error.raw_os_error(), error.path()), (Some(ENOENT), Some(Path::new("no/such/file"))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Returns the path of the file of this error, as it was given, if there is one and that is open.
    /// Example: [`Self::raw_os_error`].
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. }
            | Self::Corrupt { path, .. }
            | Self::PastEof { path, .. }
            | Self::SyncPoisoned { path, .. }
            | Self::AlreadyOpen { path, .. }
            | Self::InUse { path, .. }
            | Self::FixedSize { path, .. }
            | Self::PathChanged { path, .. }
            | Self::AreaDamaged { area: path, .. }
            | Self::TagTaken { path, .. } => Some(path),
            Self::Io { path, .. }
            | Self::Pinned { path, .. }
            | Self::Latched { path, .. }
            | Self::TooManyPins { path, .. }
            | Self::UnloggedChange { path, .. }
            | Self::Panicked { path, .. }
            | Self::ReadOnly { path, .. } => path.as_deref(),
            Self::Config(error) => error.path(),
            _ => None,
        }
    }

    /// Returns whether the error is one of what all files share, as of the log, or of a page of this file.
    pub(crate) fn concerns(&self, file: FileId) -> bool {
        let page = match self {
            Self::Io { page, .. }
            | Self::UnloggedChange { page, .. }
            | Self::Latched { page, .. }
            | Self::TooManyPins { page, .. } => Some(page),
            Self::Panicked { page, .. } => page.as_ref(),
            _ => None,
        };
        page.is_none_or(|page| page.file == file)
    }

    pub(crate) fn panicked(callback: Callback) -> Self {
        Self::Panicked { callback, page: None, path: None }
    }

    pub(crate) fn panicked_over(callback: Callback, page: PageId, path: &Arc<Path>) -> Self {
        Self::Panicked { callback, page: Some(page), path: Some(Arc::clone(path)) }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Config(Arc::new(error))
    }
}

/// Names a page by the path of its file, if that is known.
fn page_in(page: PageId, path: Option<&Path>) -> String {
    format!("{} of {}", page.block, file_at(page.file, path))
}

fn file_at(file: FileId, path: Option<&Path>) -> String {
    path.map_or_else(|| file.to_string(), |path| format!("{} ({file})", path.display()))
}

/// Names what a callback was called for, if that is known.
fn over(page: Option<PageId>, path: Option<&Path>) -> String {
    match (page, path) {
        (Some(page), path) => format!(" over {}", page_in(page, path)),
        (None, Some(path)) => format!(" over {}", path.display()),
        (None, None) => String::new(),
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
    fn errors_are_send_sync_clone_and_small() {
        fn assert_bounds<T: Clone + Send + Sync + std::error::Error + 'static>() {}
        assert_bounds::<Error>();
        // No larger than an error that counts frames.
        assert!(size_of::<Error>() <= 64, "{}", size_of::<Error>());
    }

    #[test]
    fn an_error_of_a_page_names_the_path_of_its_file_and_the_number_alone_once_that_is_closed() {
        let page = PageId::new(FileId(3), 14);
        let source = Arc::new(io::Error::from_raw_os_error(5));
        let error = |path| Error::Io { op: IoOp::Read, page, path, source: Arc::clone(&source) };
        let panicked = Error::panicked_over(Callback::CodecOpen, page, &Path::new("data/heap").into());
        let text = panicked.to_string();
        assert!(text.starts_with("the codec's open panicked over block 14 of data/heap (file 3)"), "{text}");
        let (open, closed) = (error(Some(Path::new("data/heap").into())), error(None));
        let text = open.to_string();
        assert!(text.starts_with("read of block 14 of data/heap (file 3) failed: "), "{text}");
        let text = closed.to_string();
        assert!(text.starts_with("read of block 14 of file 3 failed: "), "{text}");
        assert_eq!((open.path(), closed.path()), (Some(Path::new("data/heap")), None));
    }
}
