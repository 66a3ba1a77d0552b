//! The façade: every public operation, in one or two lines each. What they do is below.

use std::{
    fmt,
    num::NonZeroU32,
    path::Path,
    sync::{Arc, Weak},
};

use crate::{
    api::{
        background::Background,
        builder::Builder,
        resize::{self, ResizeReport},
        shutdown::{self, Shutdown},
    },
    buffer::page::PageAt,
    error::{Error, Result},
    events::AskingSpan,
    files::{
        self, FileInfo, close,
        drop_pages::{self, Evicted},
        extent::{self, Extended},
        remove,
    },
    id::{FileId, PageId, PageSize},
    io::{doublewrite::DoubleWrite, file::open_options::OpenOptions},
    read::{
        fetch::Fetch,
        latched::{ReadPage, WritePage},
        many::{FetchMany, ReadMany},
        options::StreamOptions,
        overwrite::Overwrite,
        prefetch::{self, Prefetch},
        stream::{ReadStream, item::StreamItem},
        warm_up::{self, Wanted, WarmUp},
    },
    runtime::{completion::Completion, jobs::WaitsFor, shared::Shared},
    write::checkpoint::{self, CheckpointOptions, CheckpointReport, FlushReport},
};

/// A pool of frames that hold pages of files.
///
/// Cheap to clone; all clones are one pool. When the last one goes, I/O in flight is finished and dirty pages are thrown away
/// (and counted): [shut it down](Self::shutdown) to keep them. Pages in hand stay usable even then.
///
/// The drop waits for what was begun behind the scenes (a checkpoint whose completion was dropped, a file being zeroed ahead), and
/// hastens it, as a [shutdown](Self::shutdown) does: nothing of it writes afterwards, and another pool may open the same files.
/// It waits for disks alone, and blocks: a task awaits [`shutdown_async`](Self::shutdown_async) before it, after which there is nothing to wait for.
/// What wants a page that somebody is changing, or pins, gives that up, and keeps its changes
/// from the disk; a warm-up ends where it is. Futures and streams that are still there go on when they are waited for,
/// in the thread that does so.
///
/// Dropped by a thread of the pool itself (which calls the wakers of tasks, the log and the codec), it waits for nothing: what
/// was begun then ends by itself.
///
/// # Processes that are forked
/// A pool belongs to the process that built it. A process that is forked from that one, until it executes another program, has
/// none of the pool's threads and none of its pages: whatever it asks of the pool is [`Error::Forked`], as is what was begun before the
/// fork; [`prefetch`](Self::prefetch) declines, and the `now` forms find nothing. The end of a clone, a guard or a future does
/// nothing there. Neither the pool's own process nor its files hear of any of this. Pages and guards that were in hand at the
/// fork, and accesses that had found theirs, are good for being dropped only: their bytes are zeros there, and a wait for a latch that a thread had which is not there panics.
///
/// What was open at the fork (files, rings with the memory that they have registered) stays open in the forked process until it ends,
/// or executes another program. A callback of the pool that forks must not return there. Before Linux 4.14 a pool
/// does not notice that it is in a forked process, where it must not be used then, nor dropped.
#[derive(Clone)]
pub struct BufferPool {
    /// Ends with the last clone, before what it works on.
    background: Arc<Background>,
    shared: Arc<Shared>,
}

impl BufferPool {
    /// The options of a pool to be.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        Self { background: Arc::new(Background::start(&shared)), shared }
    }

    /// Whether this is the process that built the pool.
    pub(super) fn is_of_this_process(&self) -> bool {
        self.shared.check_process().is_ok()
    }

    /// Returns what finds the pool as long as a clone of it lives.
    pub(super) fn downgrade(&self) -> WeakPool {
        WeakPool { background: Arc::downgrade(&self.background), shared: Arc::downgrade(&self.shared) }
    }

    /// What is behind the façade, for the rest of it, and for tests that go step by step.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The size of every page.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.shared.config.page_size
    }

    // ---- files ------------------------------------------------------------------------------------------------------

    /// Opens a file: a regular file or a block device. Blocks; a task awaits [`open_file_async`](Self::open_file_async) instead.
    ///
    /// A file that ends in the middle of a block has that block too; what is missing reads as zeros, and writing the page
    /// completes it. A file that is removed while it is open goes on as before, as on every Unix. Of a file that somebody
    /// else cuts while it is open, blocks that are gone give read errors, and one that is cut in its middle reads as zeros
    /// from there on.
    ///
    /// # Errors
    /// [`Error::File`] with the system's reason; [`Error::AlreadyOpen`]; [`Error::TagTaken`]; [`Error::Config`] for options that
    /// contradict each other, or alignment that direct I/O demands and the page size does not have; [`Error::AreaDamaged`] where the
    /// [doublewrite area](crate::options::TornPages::DoubleWrite) has lost a copy that the file may need.
    pub fn open_file(&self, path: impl AsRef<Path>, options: OpenOptions) -> Result<FileId> {
        files::open(&self.shared, path.as_ref(), &options)
    }

    /// Returns the [tags](OpenOptions::tag) of the files that must be opened, or [given up](Self::give_up_torn_pages), before a page
    /// is written that needs a copy: the [doublewrite area](crate::options::TornPages::DoubleWrite) holds copies of their pages from before a
    /// crash, or from before they were closed with a failed sync. Opening a file restores the pages that were torn, durably.
    ///
    /// As long as there are any from before a crash, writes that need a copy fail with [`Error::TornPages`] and leave their pages dirty; after
    /// a failed sync they do when the area has no other room. Files that are open can be extended, cut, closed, removed and written
    /// atomically all the same.
    #[must_use]
    pub fn torn_page_tags(&self) -> Vec<u64> {
        let doublewrite = self.shared.doublewrite.as_ref().filter(|_| self.shared.check_process().is_ok());
        doublewrite.map_or(Vec::new(), DoubleWrite::pending)
    }

    /// Gives up what the doublewrite area holds of the file with this tag, which is not open: it was removed, say. For good, when this
    /// is done: another file may have the tag from then on. Writes and syncs a page of the area.
    ///
    /// Does nothing, and succeeds, where the area holds nothing of such a file, and where the file is open: what is held of an open file
    /// are copies that its next crash may need, and they go when its pages are durable without them, when it is closed, or removed.
    ///
    /// # Errors
    /// [`Error::File`] where the area cannot be written, or a sync of it has failed before: the copies are there as before.
    pub fn give_up_torn_pages(&self, tag: u64) -> Result<()> {
        self.shared.check_process()?;
        self.shared.doublewrite.as_ref().map_or(Ok(()), |doublewrite| doublewrite.give_up(tag))
    }

    /// How many blocks the file has.
    ///
    /// # Errors
    /// [`Error::NotOpen`].
    pub fn blocks(&self, file: FileId) -> Result<u32> {
        self.shared.check_process()?;
        self.shared.files.open_file(file).map(|file| file.blocks())
    }

    /// What is known of the file: its length, whether its transfers bypass the system's page cache, what keeps its pages from
    /// being torn.
    ///
    /// # Errors
    /// [`Error::NotOpen`].
    pub fn file_info(&self, file: FileId) -> Result<FileInfo> {
        self.shared.check_process()?;
        self.shared.files.open_file(file).map(|file| FileInfo::of(&self.shared, &file))
    }

    /// Adds zeroed blocks to the end of the file. They are on disk as zeros when this is done; that the file is so long is
    /// durable after the next sync or checkpoint.
    ///
    /// Extenders who come together are served by one write, and with [`OpenOptions::grow_by_blocks`] most extensions need none.
    /// A crash may leave more zeroed blocks behind the end than were handed out, never fewer than were synced.
    ///
    /// # Errors
    /// [`Error::File`], or [`Error::Panicked`] where the codec panics, with the file as long as it was; [`Error::ReadOnly`].
    pub fn extend(&self, file: FileId, blocks: NonZeroU32) -> Completion<Extended> {
        self.operation(WaitsFor::Disk(file), move |shared| extent::extend(shared, file, blocks.get()))
    }

    /// Cuts the file to so many blocks, if it is longer. The pages behind the cut are thrown away, dirty or not. A cut that the file
    /// system made and called failed counts as made.
    ///
    /// # Errors
    /// [`Error::Pinned`] where a page behind the cut stays pinned for as long as a fetch would wait for a frame;
    /// [`Error::File`], with a doublewrite area also where a page that a failed write may have left half written cannot be made whole
    /// first; [`Error::ReadOnly`]. The file is then as long as it was, and no change of any page is lost.
    pub fn truncate(&self, file: FileId, blocks: u32) -> Completion<()> {
        self.operation(WaitsFor::CallersOf(file), move |shared| extent::truncate(shared, file, blocks))
    }

    /// Writes and syncs the file, takes its pages out of the pool and closes it.
    ///
    /// # Errors
    /// The file stays open, with every change, where it could not be written, a write guard of a page was held for as long as a
    /// [`flush`](Self::flush) waits for it ([`Error::Latched`]), or a page of it stays pinned, if only by a read guard of the thread that
    /// waits here, or is changed meanwhile ([`Error::Pinned`]): close it again. So it does where the sync fails that this call makes
    /// ([`Error::File`] with [`IoOp::Sync`](crate::IoOp::Sync)); from then on the file is poisoned. A file that a failed sync has
    /// poisoned is closed by the next call, its unwritten changes are thrown away, and the error is
    /// [`Error::SyncPoisoned`]. Checkpoints that begin after that are of the files that are open: what this one lost is in the
    /// engine's log alone, which must keep it until the file is open again and redo is through.
    pub fn close_file(&self, file: FileId) -> Completion<()> {
        self.operation(WaitsFor::CallersOf(file), move |shared| close::close(shared, file))
    }

    /// Removes the file: throws its pages away, dirty or not, closes it, and removes it from its folder, durably. Where the path that
    /// it was opened by led through a symbolic link, the file is removed, and the link stays: what counts is where the link led when the
    /// file was opened.
    ///
    /// Waits for the file's reads and writes, and for pins as [`close_file`](Self::close_file) does. Its id is never given
    /// again, so a file that is later made under the same path shows none of its pages.
    ///
    /// # Errors
    /// Nothing has happened with [`Error::PathChanged`] where the path does not lead to the file any more,
    /// [`Error::Pinned`], [`Error::ReadOnly`], or [`Error::File`] for a block device. Where the system refuses the removal
    /// itself ([`Error::File`] with [`IoOp::Remove`](crate::IoOp::Remove)), the pages are gone and the file is closed, but on disk as
    /// before. Where only its folder cannot be synced ([`IoOp::SyncFolder`](crate::IoOp::SyncFolder)), the file is closed and
    /// removed, but may be back after a crash: checkpoints fail until the folder is synced. Where only the
    /// [doublewrite area](crate::options::TornPages::DoubleWrite) cannot be written or synced ([`Error::File`] with the area's path, and
    /// [`IoOp::Write`](crate::IoOp::Write) or [`IoOp::Sync`](crate::IoOp::Sync)), the file is closed and removed, and the area still has copies
    /// of it: before another file gets its tag, in this pool or the next, [give them up](Self::give_up_torn_pages).
    pub fn drop_file(&self, file: FileId) -> Completion<()> {
        self.operation(WaitsFor::CallersOf(file), move |shared| remove::drop_file(shared, file))
    }

    // ---- pages ------------------------------------------------------------------------------------------------------

    /// Pins a page, reading it if it is not in the pool. A hit is ready at once: no lock, no allocation, no wait.
    ///
    /// The page is named by a [`PageId`], or with [where it was](PageId::at). [`Fetch::now`] gives it only if it is here.
    #[inline]
    pub fn fetch(&self, page: impl Into<PageAt>) -> Fetch {
        Fetch::new(&self.shared, page.into())
    }

    /// Pins and latches a page to read it: [`fetch`](Self::fetch) and [`PinnedPage::read`](crate::PinnedPage::read) as one, for half
    /// the price, with a guard that owns its pin. Of a page that is used all the time and changed seldom, such as the root of a tree, it writes
    /// nothing that other threads write, so any number of them read it at once.
    #[inline(always)]
    pub fn read(&self, page: impl Into<PageAt>) -> ReadPage {
        ReadPage::new(&self.shared, page.into())
    }

    /// Pins and latches a page to change it: [`fetch`](Self::fetch) and [`PinnedPage::write`](crate::PinnedPage::write) as one, with a
    /// guard that owns its pin.
    #[inline]
    pub fn write(&self, page: impl Into<PageAt>) -> WritePage {
        WritePage::new(&self.shared, page.into())
    }

    /// Pins and latches a page to overwrite it whole, without reading it: the guard's bytes are zeros. For a page whose old bytes do not
    /// matter: one that is used anew, or that redo puts right from an image in the log, be it torn, damaged, or refused by the codec.
    ///
    /// From the end of the guard on the page is as it was left there, and dirty, also where no byte was changed. So in a pool with a log the
    /// guard states a record in any case, or [`Lsn::UNLOGGED`](crate::Lsn::UNLOGGED). A page that was just [added](Self::extend) is had
    /// without a read from the disk that way, too.
    ///
    /// # Examples
    /// ```
    /// # use std::num::NonZeroU32;
    /// # use ringpool::{BufferPool, OpenOptions, PageId};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let pool = BufferPool::builder().frames(16).build()?;
    /// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true))?;
    /// # pool.extend(file, NonZeroU32::MIN).wait()?;
    /// let mut page = pool.overwrite(PageId::new(file, 0)).wait()?;
    /// page[..4].copy_from_slice(b"leaf");
    /// assert!(page[4..].iter().all(|&byte| byte == 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn overwrite(&self, page: impl Into<PageAt>) -> Overwrite {
        Overwrite::new(&self.shared, page.into().page)
    }

    /// Pins several pages, in the order of the list, in which one may stand more than once. What is not in the pool is read
    /// together, with neighbours in one request. All of them or none: see [`FetchMany::wait`].
    ///
    /// Sure to be had, while no page is pinned, is a quarter of the pool's frames: all read streams and prefetches together may hold the
    /// other three quarters in advance, and a stream that is not pulled keeps its part. A call for more pages than that may end in
    /// [`Error::AllPinned`] while there are such streams; drop those that are not read, or give them a smaller
    /// [`look_ahead`](crate::StreamOptions::look_ahead_pages). The same holds for a [`resize`](Self::resize) to fewer frames.
    pub fn fetch_many(&self, pages: &[PageId]) -> FetchMany {
        FetchMany::new(&self.shared, pages)
    }

    /// Pins and latches several pages to read them together: [`fetch_many`](Self::fetch_many) with guards that own their pins, in the
    /// order of the list. No latch is held while another one is waited for, so the call is part of no deadlock, in whatever order other
    /// threads latch the same pages. It needs a moment at which all can be had: writers that change hot pages of the list all the time may
    /// keep it waiting for long.
    ///
    /// # Examples
    /// ```
    /// # use std::num::NonZeroU32;
    /// # use ringpool::{BufferPool, OpenOptions, PageId};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let pool = BufferPool::builder().frames(16).build()?;
    /// # let file = pool.open_file(folder.path().join("accounts"), OpenOptions::new().create(true))?;
    /// # pool.extend(file, NonZeroU32::new(8).unwrap()).wait()?;
    /// let accounts = [5_u32, 3].map(|block| PageId::new(file, block));
    /// // Both balances of one moment.
    /// let pages = pool.read_many(&accounts).wait()?;
    /// assert_eq!(pages.iter().map(|page| u32::from(page[0])).sum::<u32>(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_many(&self, pages: &[PageId]) -> ReadMany {
        ReadMany::new(self.fetch_many(pages))
    }

    /// Starts reading the pages that are not in the pool, as one batch, with neighbours in one request. The iterator is called
    /// before reads begin, for 512 pages at a time, so it may fetch pages, wait and panic. Never waits for a
    /// read: what cannot be started now is declined, and is read when it is fetched. So is what would take the frame of a page
    /// that was used, while pages that were not used have a tenth of the frames; and what would give a file more than three quarters of
    /// the frames that look-ahead may have, while other files are open. (With [`IoMethod::Sync`] the calling thread does
    /// the reads here.)
    ///
    /// [`IoMethod::Sync`]: crate::IoMethod::Sync
    pub fn prefetch(&self, pages: impl IntoIterator<Item = PageId>) -> Prefetch {
        prefetch::prefetch(&self.shared, pages)
    }

    /// Returns a stream of the pages, in their order, read ahead as far as that pays: an [`Iterator`] for threads, and
    /// [`next_page`](ReadStream::next_page) for tasks. They may be of several files; those of one are [`FileId::pages`]. Neighbouring blocks
    /// become one request, whatever the order in which they are asked for.
    ///
    /// The items may carry data along: see [`StreamItem`]. Nothing is asked for before the first page is.
    ///
    /// # Examples
    /// ```
    /// # use std::num::NonZeroU32;
    /// # use ringpool::{BufferPool, OpenOptions, PageId, StreamOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let pool = BufferPool::builder().frames(16).build()?;
    /// # let open = |name| pool.open_file(folder.path().join(name), OpenOptions::new().create(true));
    /// # let (table, index) = (open("table")?, open("index")?);
    /// # pool.extend(table, NonZeroU32::new(8).unwrap()).wait()?;
    /// # pool.extend(index, NonZeroU32::new(8).unwrap()).wait()?;
    /// for page in pool.read_stream(table.pages(0..8_u32), StreamOptions::new()) {
    ///     assert_eq!(page?.read()[0], 0);
    /// }
    /// // Of two files, each with the number of a query that wants it.
    /// let wanted = [(PageId::new(index, 7_u32), 1), (PageId::new(table, 2_u32), 2)];
    /// for item in pool.read_stream(wanted, StreamOptions::new()) {
    ///     let (page, query) = item?;
    ///     println!("query {query} has {}", page.id());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_stream<I>(&self, pages: I, options: StreamOptions) -> ReadStream<I::IntoIter>
    where
        I: IntoIterator<Item: StreamItem>,
    {
        ReadStream::new(Arc::clone(&self.shared), pages.into_iter(), &options)
    }

    /// Writes a page if it is dirty, and takes it out of the pool.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Wal`], [`Error::Latched`] where it could not be written, as for [`flush`](Self::flush): it then
    /// stays.
    pub fn evict(&self, page: PageId) -> Completion<Evicted> {
        self.operation(WaitsFor::CallersOf(page.file), move |shared| drop_pages::evict(shared, page))
    }

    // ---- durability -------------------------------------------------------------------------------------------------

    /// Writes a page if it is dirty. It is in the file then, but durable only after a [sync](Self::sync_file).
    ///
    /// The thread that waits may hold read guards and frozen bytes of the page, whether or not others wait to change it. A write guard of
    /// it, of whatever thread, is waited for, as long as a fetch waits for a frame ([`frame_wait`](Builder::frame_wait)).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Wal`]; [`Error::Latched`] where the page was being changed all that time, be it that a write guard
    /// was forgotten or that the thread that waits has it. The page is as dirty as before.
    pub fn flush(&self, page: PageId) -> Completion<()> {
        self.operation(WaitsFor::CallersOf(page.file), move |shared| checkpoint::flush_page(shared, page))
    }

    /// Writes the file's dirty pages, in sorted batches. Waits for write guards as [`flush`](Self::flush) does, and after the first
    /// that was waited for in vain only for a moment each.
    ///
    /// # Errors
    /// The first of [`Error::Io`], [`Error::Wal`], [`Error::Latched`]; the others were tried all the same.
    pub fn flush_file(&self, file: FileId) -> Completion<FlushReport> {
        self.operation(WaitsFor::CallersOf(file), move |shared| checkpoint::flush_file(shared, file))
    }

    /// Makes durable what was written to the file so far. Gives whether there was anything.
    ///
    /// # Errors
    /// [`Error::File`] the first time a sync fails, [`Error::SyncPoisoned`] for ever after (C4).
    pub fn sync_file(&self, file: FileId) -> Completion<bool> {
        self.operation(WaitsFor::Disk(file), move |shared| checkpoint::sync_file(shared, file))
    }

    /// Writes everything that is dirty at its start, in sorted batches, and syncs its files. New work goes on meanwhile.
    ///
    /// Checkpoints take turns: each covers what is dirty when its turn comes. One that was begun goes on to its end, also when
    /// nobody waits for it any more.
    ///
    /// Waits for write guards as [`flush_file`](Self::flush_file) does: a thread that holds one waits for itself, for
    /// [`frame_wait`](Builder::frame_wait), and gets [`Error::Latched`]. Read guards and frozen bytes may be held meanwhile.
    ///
    /// # Errors
    /// The first of what went wrong; what could not be written stays dirty. Everything else was written and synced all the same.
    pub fn checkpoint(&self, options: CheckpointOptions) -> Completion<CheckpointReport> {
        self.operation(WaitsFor::Callers, move |shared| checkpoint::checkpoint(shared, options))
    }

    /// Gives the pool so many frames, up to [as many as it was built for](Builder::frames_at_most). Others go on with it meanwhile, and
    /// with every page that they have.
    ///
    /// More frames are there when their memory has been faulted in, and registered, as when the pool was built.
    /// Fewer are there when the pages in the frames that go are out of the pool: the dirty ones are written first, and
    /// the others are to be read again when they are wanted. All frames serve until those writes, and the reads into the frames that
    /// go, have ended, however long the disk takes. From then on the frames that go get no new pages. Where the disk has some of them
    /// again, since their pages were changed or read meanwhile, and is not through within 50 ms, all of them serve once more until it
    /// is; each time that this happens the next time is twice as long. Under [`IoMethod::Sync`](crate::IoMethod::Sync) such a
    /// late change is written by the thread that resizes, and the frames are out of service until that write ends. When all
    /// pages are out, their memory goes back to the system, in steps of 16 to 64 MiB. What
    /// depends on the number of frames follows it: the share of those who look ahead, what the background writer keeps ready, the
    /// queues of the replacement (which forgets the pages that went lately). Read streams that were begun keep their limits.
    ///
    /// Resizes take turns. One that was begun goes on to its end, also when nobody waits for it any more.
    ///
    /// # Errors
    /// [`Error::CannotGrow`]; [`Error::Pinned`] where for as long as a fetch would wait for a frame no frame could be freed, since those
    /// that are to go stay pinned, or are changed faster than they can be written; [`Error::Io`] and [`Error::Wal`] where their changes
    /// cannot be written; [`Error::Config`] for a number that the pool was not built for. The pool has as many frames as before
    /// then, with every change of every page.
    pub fn resize(&self, frames: u32) -> Completion<ResizeReport> {
        self.operation(WaitsFor::Callers, move |shared| resize::resize(shared, frames))
    }

    /// Ends the pool's work: for all clones. Pages in hand stay usable, and resident pages can still be fetched; nothing is
    /// read or written any more. Waits for what was begun behind the scenes, as the drop of the [last clone](Self) does. Blocks; a task awaits
    /// [`shutdown_async`](Self::shutdown_async) instead.
    ///
    /// The files and the [doublewrite area](crate::options::TornPages::DoubleWrite) stay open, and locked against other pools
    /// ([`Error::InUse`]), as long as a clone of the pool lives, or a stream, a fetch or a [`Completion`] of it, forgotten ones included: a
    /// thread that was in one of these when the pool ended may still be about to end its transfer. Drop them before the
    /// files are opened elsewhere, or [close](Self::close_file) the files before the shutdown, which gives up their locks. Pins and frozen
    /// bytes keep no file open.
    ///
    /// The error has the pool, and no `?` parts the two: it can become a `Box<dyn Error>`, or a part of an engine's own error, but not an
    /// [`Error`], which has no place for a pool. So dirty pages are thrown away only with the error, or by
    /// [`Shutdown::Discard`](crate::Shutdown::Discard):
    ///
    /// ```
    /// use ringpool::{BufferPool, Shutdown, ShutdownError, report::FlushReport};
    ///
    /// /// Tries a second time, in case the disk was full for a moment.
    /// fn close(pool: BufferPool) -> Result<FlushReport, ShutdownError> {
    ///     pool.shutdown(Shutdown::Flush).or_else(|refused| {
    ///         eprintln!("{refused}");
    ///         let (pool, _) = refused.into_parts();
    ///         pool.shutdown(Shutdown::Flush)
    ///     })
    /// }
    /// # close(BufferPool::builder().frames(4).build().unwrap()).unwrap();
    /// ```
    ///
    /// ```compile_fail,E0277
    /// # use ringpool::{BufferPool, Result, Shutdown};
    /// fn close(pool: BufferPool) -> Result<()> {
    ///     pool.shutdown(Shutdown::Flush)?; // the pool and its dirty pages would be gone
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// Where pages could not be written, with the pool, which goes on as before: for a write guard that is held, or was forgotten,
    /// [`Error::Latched`] after [`frame_wait`](Builder::frame_wait), as from a [checkpoint](Self::checkpoint). Where what others wrote
    /// while it ended could not be synced, or the [doublewrite area](crate::options::TornPages::DoubleWrite) not be emptied, with the pool, which
    /// has ended. In a process that was [forked](Self#processes-that-are-forked), however it is to end, with nothing done.
    pub fn shutdown(self, how: Shutdown) -> Result<FlushReport, ShutdownError> {
        match shutdown::shut_down(&self.shared, &self.background, how) {
            Ok(report) => Ok(report),
            Err(error) => Err(ShutdownError::new(self, error)),
        }
    }

    // ---- after a restart --------------------------------------------------------------------------------------------

    /// Reads pages into the pool, and waits for them: sorted, neighbours in one request, and as many in advance as a
    /// [read stream](Self::read_stream) may have. Of more pages than the pool has frames the last ones are left out. What cannot
    /// be read is counted and passed over. The iterator is called here, to its end; no more of its pages are kept than there may be
    /// frames.
    ///
    /// # Errors
    /// [`Error::ShutDown`].
    pub fn warm_up(&self, pages: impl IntoIterator<Item = PageId>) -> Completion<WarmUp> {
        let wanted = Wanted::of(pages.into_iter(), self.shared.pool.size.most());
        let wait = wanted.first_file().map_or(WaitsFor::Disks, WaitsFor::Disk);
        self.operation(wait, move |shared| warm_up::warm_up(shared, wanted))
    }

    /// Makes an operation of this work, which may have to wait for that.
    pub(super) fn operation<T: Send + 'static>(
        &self,
        wait: WaitsFor,
        work: impl FnOnce(&Arc<Shared>) -> Result<T> + Send + 'static,
    ) -> Completion<T> {
        let shared = Arc::clone(&self.shared);
        let process = shared.pool.process.clone();
        let asking = self.shared.check_process().map_or(AskingSpan::none(), |()| AskingSpan::current());
        let work = move || asking.run(|| work(&shared));
        Completion::new(process, Arc::clone(&self.shared.jobs), wait, work)
    }
}

/// A pool that ends without regard to this.
pub(super) struct WeakPool {
    background: Weak<Background>,
    shared: Weak<Shared>,
}

impl WeakPool {
    pub(super) fn upgrade(&self) -> Option<BufferPool> {
        Some(BufferPool { background: self.background.upgrade()?, shared: self.shared.upgrade()? })
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

/// A shutdown that could not write everything, with the pool. That goes on: mend what is wrong and try again, or discard. (It has ended all
/// the same where only what others wrote meanwhile could not be synced, or only the doublewrite area not be emptied: ask
/// [`pool_is_open`](Self::pool_is_open).)
///
/// While this value lives, so do the pool and its dirty pages. Its text says how many there are.
#[must_use = "the pool's dirty pages may be lost with it"]
#[derive(thiserror::Error)]
#[error(
    "the pool could not be flushed and {}, with {dirty_pages} dirty pages: {error}",
    if .pool.shared.has_ended() { "has ended" } else { "is still open" }
)]
pub struct ShutdownError {
    pool: BufferPool,
    #[source]
    error: Error,
    dirty_pages: u64,
}

impl ShutdownError {
    pub(crate) fn new(pool: BufferPool, error: Error) -> Self {
        // A process that was forked from the pool's own has none of its pages.
        let dirty_pages = pool.shared.check_process().map_or(0, |()| pool.shared.dirty_pages());
        Self { pool, error, dirty_pages }
    }

    /// Returns what went wrong.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Returns the pool, as it is now.
    #[must_use]
    pub fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// Returns whether the pool is open still, so that the shutdown can be tried again. If not it has ended, and reads and writes nothing any
    /// more: what could not be synced is to be recovered from the log, as after a crash. True in a process that was
    /// [forked](BufferPool#processes-that-are-forked), for the pool's own.
    #[must_use]
    pub fn pool_is_open(&self) -> bool {
        !self.pool.shared.has_ended()
    }

    /// Returns how many pages were dirty when the shutdown was given up: lost, if neither this pool nor a clone of it writes them.
    #[must_use]
    pub fn dirty_pages(&self) -> u64 {
        self.dirty_pages
    }

    /// Returns the pool, and what went wrong.
    #[must_use = "the pool's dirty pages may be lost with it"]
    pub fn into_parts(self) -> (BufferPool, Error) {
        (self.pool, self.error)
    }
}

impl fmt::Debug for ShutdownError {
    /// Its text, as a program shows it whose `main` returns it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
