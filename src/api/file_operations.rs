//! Operations on files, in a line each: open, grow, cut, close and remove them. The work is done in [`files`](crate::files).

use std::{num::NonZeroU32, path::Path};

#[cfg(doc)]
use crate::error::Error;
use crate::{
    api::buffer_pool::BufferPool,
    error::Result,
    files::{
        self, FileInfo, close,
        extent::{self, Extended},
        remove,
    },
    id::FileId,
    io::{doublewrite::DoubleWrite, file::open_options::OpenOptions},
    runtime::{completion::Completion, jobs::WaitsFor},
};

/// # Files
impl BufferPool {
    /// Opens a file: a regular file or a block device. Blocks; a task awaits [`open_file_async`](Self::open_file_async) instead.
    ///
    /// A file that ends in the middle of a block has that block too: the missing bytes read as zeros, and writing the page
    /// completes the block. A file that is removed while it is open stays usable, as on every Unix. If an open file is cut from
    /// outside of the pool, the blocks behind the cut give read errors; a block in which the cut is reads as zeros from there on.
    ///
    /// Example: [`OpenOptions`].
    ///
    /// # Errors
    /// [`Error::File`] with the system's reason; [`Error::AlreadyOpen`]; [`Error::TagTaken`]; [`Error::Config`] for options that
    /// contradict each other, or alignment that direct I/O demands and the page size does not have; [`Error::AreaDamaged`] where
    /// the [doublewrite area](crate::options::TornPages::DoubleWrite) has lost a copy that the file may need.
    pub fn open_file(&self, path: impl AsRef<Path>, options: OpenOptions) -> Result<FileId> {
        files::open(self.shared(), path.as_ref(), &options)
    }

    /// Returns the [tags](OpenOptions::tag) of the files of which the [doublewrite area](crate::options::TornPages::DoubleWrite)
    /// holds copies from before a crash, or from before the files were closed with a failed sync. Open these files, or [give the
    /// copies up](Self::give_up_torn_pages), before a page is written that needs a copy. Opening a file restores the pages that
    /// were torn, durably.
    ///
    /// While there are any from before a crash, writes that need a copy fail with [`Error::TornPages`] and leave their pages dirty.
    /// After a failed sync they fail if the area has no other room. Files that are open can still be extended, cut, closed, removed
    /// and written atomically.
    ///
    /// Example: [`TornPages`](crate::options::TornPages).
    #[must_use]
    pub fn torn_page_tags(&self) -> Vec<u64> {
        let doublewrite =
            self.shared().doublewrite.as_ref().filter(|_| self.shared().check_process().is_ok());
        doublewrite.map_or(Vec::new(), DoubleWrite::pending)
    }

    /// Discards the copies that the doublewrite area holds of the file with this tag, which is not open: of a file that was
    /// removed, for example. This is final: another file may have the tag from then on. Writes and syncs a page of the area.
    ///
    /// Does nothing, and succeeds, if the area holds no copies of such a file, or if the file is open: its next crash may need
    /// them, and the pool discards them by itself when it does not.
    ///
    /// Example: [`TornPages`](crate::options::TornPages).
    ///
    /// # Errors
    /// [`Error::File`] if the area cannot be written, or if a sync of it has failed before: the copies are still there.
    pub fn give_up_torn_pages(&self, tag: u64) -> Result<()> {
        self.shared().check_process()?;
        self.shared().doublewrite.as_ref().map_or(Ok(()), |doublewrite| doublewrite.give_up(tag))
    }

    /// Returns the number of blocks of the file. Example: [`Self::extend`].
    ///
    /// # Errors
    /// [`Error::NotOpen`].
    pub fn blocks(&self, file: FileId) -> Result<u32> {
        self.shared().check_process()?;
        self.shared().files.open_file(file).map(|file| file.blocks())
    }

    /// Returns what is known of the file: its length, whether its transfers bypass the system's page cache, what keeps its pages
    /// from being torn.
    ///
    /// # Errors
    /// [`Error::NotOpen`].
    ///
    /// # Examples
    /// ```
    /// # use ringpool::{BufferPool, OpenOptions};
    /// # let folder = tempfile::tempdir()?;
    /// # let pool = BufferPool::builder().frames(16).build()?;
    /// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
    /// let info = pool.file_info(file)?;
    /// assert_eq!((info.blocks, info.read_only), (8, false));
    /// if let Some(reason) = info.buffered_because {
    ///     println!("{} is not read directly: {reason}", info.path.display());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn file_info(&self, file: FileId) -> Result<FileInfo> {
        self.shared().check_process()?;
        self.shared().files.open_file(file).map(|file| FileInfo::of(self.shared(), &file))
    }

    /// Adds zeroed blocks to the end of the file. They are on disk as zeros when this is done. The new length is durable after the
    /// next sync or checkpoint.
    ///
    /// One write extends the file for all threads that extend it at the same time, and with [`OpenOptions::grow_by_blocks`] most
    /// extensions need none. A crash may leave more zeroed blocks at the end than were handed out, never fewer than were synced.
    ///
    /// # Errors
    /// [`Error::File`], or [`Error::Panicked`] where the codec panics, with the file as long as it was; [`Error::ReadOnly`].
    ///
    /// # Examples
    /// ```
    /// # use ringpool::{BufferPool, OpenOptions};
    /// # use std::num::NonZeroU32;
    /// # let folder = tempfile::tempdir()?;
    /// # let pool = BufferPool::builder().frames(16).build()?;
    /// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(0))?;
    /// let added = pool.extend(file, NonZeroU32::new(4).unwrap()).wait()?;
    /// assert_eq!((added.first.0, added.blocks), (0, 4));
    /// assert_eq!(pool.blocks(file)?, 4);
    /// pool.truncate(file, 1).wait()?;
    /// assert_eq!(pool.blocks(file)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn extend(&self, file: FileId, blocks: NonZeroU32) -> Completion<Extended> {
        self.operation(WaitsFor::Disk(file), move |shared| extent::extend(shared, file, blocks.get()))
    }

    /// Cuts the file to this number of blocks, if it is longer. The pages behind the cut are thrown away, dirty or not. A cut that
    /// the file system made, but reported as failed, counts as made. Example: [`Self::extend`].
    ///
    /// # Errors
    /// [`Error::Pinned`] if a page behind the cut stays pinned for as long as a fetch would wait for a frame. [`Error::File`] if
    /// the system refuses the cut; with a doublewrite area also if the cut must first repair a page that a failed write may have
    /// left half written, and cannot. [`Error::ReadOnly`]. The file is then as long as it was, and no change of any page is lost.
    pub fn truncate(&self, file: FileId, blocks: u32) -> Completion<()> {
        self.operation(WaitsFor::CallersOf(file), move |shared| extent::truncate(shared, file, blocks))
    }

    /// Writes and syncs the file, takes its pages out of the pool and closes it.
    ///
    /// # Errors
    /// The file stays open, with every change, if it could not be written; if a write guard of a page was held for as long as a
    /// [`flush`](Self::flush) waits for it ([`Error::Latched`]); if a page of it stays pinned, if only by a read guard of the
    /// thread that waits here, or is changed meanwhile ([`Error::Pinned`]). Close it again then. It also stays open if the sync of
    /// this call fails ([`Error::File`] with [`IoOp::Sync`](crate::IoOp::Sync)); from then on the file is poisoned. The next call
    /// closes a poisoned file, throws its unwritten changes away, and returns [`Error::SyncPoisoned`]. Later checkpoints cover only
    /// open files. So the engine's log alone has what this file lost, and must keep it until the file is open again and redo is
    /// done.
    ///
    /// # Examples
    /// ```
    /// # use ringpool::{BufferPool, Error, OpenOptions, PageId};
    /// # let folder = tempfile::tempdir()?;
    /// # let pool = BufferPool::builder().frames(16).build()?;
    /// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
    /// # let path = folder.path().join("pages");
    /// pool.write(PageId::new(file, 0)).wait()?[0] = 1;
    /// pool.close_file(file).wait()?;
    /// assert_eq!(std::fs::read(&path)?[0], 1);
    ///
    /// // Opened again it has another id, and `drop_file` removes it.
    /// let again = pool.open_file(&path, OpenOptions::new())?;
    /// assert!(matches!(pool.blocks(file), Err(Error::NotOpen { .. })));
    /// pool.drop_file(again).wait()?;
    /// assert!(!path.exists());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close_file(&self, file: FileId) -> Completion<()> {
        self.operation(WaitsFor::CallersOf(file), move |shared| close::close(shared, file))
    }

    /// Removes the file: throws its pages away, dirty or not, closes it, and removes it from its folder: durably, unless it was
    /// opened without a [durable name](OpenOptions::durable_name). If the path that it was opened by led through a symbolic link,
    /// the file to which the link led then is removed, and the link stays.
    ///
    /// Waits for the file's reads and writes, and for pins as [`close_file`](Self::close_file) does. Its id is never used again, so
    /// a later file under the same path shows none of its pages.
    ///
    /// Example: [`Self::close_file`].
    ///
    /// # Errors
    /// Nothing has changed after [`Error::PathChanged`] (the path does not lead to the file any more), [`Error::Pinned`],
    /// [`Error::ReadOnly`], or [`Error::File`] for a block device. If the system refuses the removal itself ([`Error::File`] with
    /// [`IoOp::Remove`](crate::IoOp::Remove)), the pages are gone and the file is closed, but on disk as before. If only its folder
    /// cannot be synced ([`IoOp::SyncFolder`](crate::IoOp::SyncFolder)), the file is closed and removed, but a crash may bring it
    /// back: checkpoints fail until the folder is synced. If only the [doublewrite area](crate::options::TornPages::DoubleWrite)
    /// cannot be written or synced ([`Error::File`] with the area's path, and [`IoOp::Write`](crate::IoOp::Write) or
    /// [`IoOp::Sync`](crate::IoOp::Sync)), the file is closed and removed, and the area still has copies of it. Before another file
    /// gets its tag, in this pool or the next, [give them up](Self::give_up_torn_pages).
    pub fn drop_file(&self, file: FileId) -> Completion<()> {
        self.operation(WaitsFor::CallersOf(file), move |shared| remove::drop_file(shared, file))
    }
}
