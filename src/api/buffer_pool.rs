//! The façade: every public operation, in one or two lines each. The work is done in the modules that it calls.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use crate::{
    api::{
        builder::Builder,
        resize::{self, ResizeReport},
        shutdown::{self, Background, Shutdown},
    },
    buffer::page::PageAt,
    error::{Error, Result},
    events::AskingSpan,
    files::drop_pages::{self, Evicted},
    id::{FileId, PageId},
    read::{
        fetch::Fetch,
        latched::{ReadPage, WritePage},
        many::{FetchMany, ReadMany},
        not_needed,
        options::StreamOptions,
        overwrite::Overwrite,
        prefetch::{self, Prefetch},
        stream::{ReadStream, item::StreamItem},
        warm_up::{self, Wanted, WarmUp},
    },
    runtime::{completion::Completion, jobs::WaitsFor, shared::Shared},
    write::{
        checkpoint::{self, CheckpointOptions, CheckpointReport},
        flush::{self, FlushReport},
        room_for_changes::RoomMaker,
    },
};

/// A pool of frames that hold pages of files.
///
/// Cheap to clone; all clones are one pool. When the last one is dropped, dirty pages are thrown away (and counted): [shut the pool
/// down](Self::shutdown) to keep them. Pinned pages stay usable even then.
///
/// The drop blocks until the disk has answered what is in flight, and until the pool's background work (a checkpoint whose
/// completion was dropped, a file being zeroed ahead) has ended, in haste. None of it writes afterwards, and another pool may open
/// the same files. A task awaits [`shutdown_async`](Self::shutdown_async) before it; then the drop waits for nothing. Work that
/// needs a page which a caller changes or pins gives up, and does not write that page's changes. A warm-up stops. Futures and
/// streams that still exist continue when a thread waits for them, in that thread. A drop by a thread of the pool itself (which
/// calls the wakers of tasks, the log and the codec) waits for nothing: the background work then ends by itself.
///
/// # Processes that are forked
/// A pool belongs to the process that built it. A process that is forked from that one has, until it executes another program, none
/// of the pool's threads and none of its pages. There, each call on the pool returns [`Error::Forked`], and so does an operation
/// that was begun before the fork. [`prefetch`](Self::prefetch) declines all pages, and the `now` forms find nothing. The drop of a
/// clone, a guard or a future does nothing. None of this has an effect on the pool's own process or its files. A page, a guard, or
/// an access that had found its page, held at the fork, may only be dropped: its bytes are zeros there. A wait for a latch that
/// another thread held at the fork panics.
///
/// Files, and rings with the memory that they have registered, stay open in the forked process until it ends or executes another
/// program. A callback of the pool that forks must not return in the forked process. Before Linux 4.14 a pool does not notice that
/// it is in a forked process: do not use or drop it there.
#[derive(Clone)]
pub struct BufferPool {
    /// Dropped with the last clone, before `shared`, which it works on.
    background: Arc<Background>,
    shared: Arc<Shared>,
}

impl BufferPool {
    /// Returns the options of a new pool. Example: [`Builder`].
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        RoomMaker::start(&shared);
        Self::of(Arc::new(Background::start(shared)))
    }

    pub(super) fn of(background: Arc<Background>) -> Self {
        Self { shared: Arc::clone(&background.shared), background }
    }

    /// Returns what finds the pool as long as a clone of it lives.
    pub(super) fn downgrade(&self) -> Weak<Background> {
        Arc::downgrade(&self.background)
    }

    /// What is behind the façade, for the rest of it, and for tests that go step by step.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Pins a page, reading it if it is not in the pool. A hit is ready at once: no lock, no allocation, no wait.
    ///
    /// Name the page by a [`PageId`], or with [the frame where it was](PageId::at). [`Fetch::now`] returns it only if it is in the
    /// pool.
    ///
    /// Example: [`PinnedPage`](crate::PinnedPage).
    #[inline]
    pub fn fetch(&self, page: impl Into<PageAt>) -> Fetch {
        Fetch::new(&self.shared, page.into())
    }

    /// Pins and latches a page to read it: [`fetch`](Self::fetch) and [`PinnedPage::read`](crate::PinnedPage::read) in one step,
    /// for half the price, with a guard that owns its pin. On a page that is used all the time and seldom changed, such as the root
    /// of a tree, the call writes no memory that other threads write, so any number of threads read it at once.
    /// Example: [`ringpool`](crate).
    #[inline(always)]
    pub fn read(&self, page: impl Into<PageAt>) -> ReadPage {
        ReadPage::new(&self.shared, page.into())
    }

    /// Pins and latches a page to change it: [`fetch`](Self::fetch) and [`PinnedPage::write`](crate::PinnedPage::write) in one
    /// step, with a guard that owns its pin. Example: [`ringpool`](crate).
    #[inline]
    pub fn write(&self, page: impl Into<PageAt>) -> WritePage {
        WritePage::new(&self.shared, page.into())
    }

    /// Pins and latches a page to overwrite it whole, without reading it: the guard's bytes are zeros. Use it for a page whose old
    /// bytes do not matter: one that was just [added](Self::extend) or is used anew, or one that redo restores from an image in the
    /// log, even if it is torn, damaged, or refused by the codec.
    ///
    /// When the guard ends, the page keeps the guard's bytes and is dirty, even if no byte was changed. So in a pool with a log the
    /// guard must state a record, or [`Lsn::UNLOGGED`](crate::Lsn::UNLOGGED).
    ///
    /// Example: [`Overwrite`].
    pub fn overwrite(&self, page: impl Into<PageAt>) -> Overwrite {
        Overwrite::new(&self.shared, page.into().page)
    }

    /// Pins several pages, in the order of the list, which may contain a page more than once. Pages that are not in the pool are
    /// read together, with neighbours in one request. The result is all of them or none: see [`FetchMany::wait`].
    ///
    /// A call for more than a quarter of the frames may end in [`Error::AllPinned`] while there are read streams or prefetches: all
    /// of these together may hold the other three quarters in advance, and a stream that is not pulled keeps its part. Drop the
    /// streams that are not read, or give them a smaller [`look_ahead`](crate::StreamOptions::look_ahead_pages). The same limit
    /// applies to a [`resize`](Self::resize) to fewer frames.
    ///
    /// Example: [`FetchMany`].
    pub fn fetch_many(&self, pages: &[PageId]) -> FetchMany {
        FetchMany::new(&self.shared, pages)
    }

    /// Pins and latches several pages to read them together: [`fetch_many`](Self::fetch_many) with guards that own their pins, in
    /// the order of the list. No latch is held while another one is waited for, so the call is part of no deadlock. It needs a
    /// moment at which all can be had: writers that change hot pages of the list all the time may keep it waiting for long.
    ///
    /// Example: [`ReadMany`].
    pub fn read_many(&self, pages: &[PageId]) -> ReadMany {
        ReadMany::new(self.fetch_many(pages))
    }

    /// Starts reading the pages that are not in the pool, as one batch, with neighbours in one request. The iterator is called
    /// before reads begin, for 512 pages at a time, so it may fetch pages, wait and panic. Never waits for a read (with
    /// [`IoMethod::Sync`](crate::IoMethod::Sync) the calling thread does the reads here): a page whose read cannot be started now
    /// is declined, and is read when it is fetched. A page is also declined if its read would take the frame of a page that was
    /// used, while pages that were not used have a tenth of the frames; and if its file would have more than three quarters of the
    /// frames that look-ahead may have, while other files are open.
    ///
    /// Example: [`ringpool`](crate).
    pub fn prefetch(&self, pages: impl IntoIterator<Item = PageId>) -> Prefetch {
        prefetch::prefetch(&self.shared, pages)
    }

    /// Says that these pages will not be used soon, as an engine may know of a page that has moved elsewhere, or of a log that was
    /// copied. Those that are clean and idle give up their frames, before other pages have to, and are read again when they are
    /// asked for. Returns how many did. Never waits, and does nothing while more than an eighth of the frames is free.
    ///
    /// # Examples
    /// ```
    /// # use ringpool::{BufferPool, OpenOptions, PageId};
    /// # let folder = tempfile::tempdir()?;
    /// # let pool = BufferPool::builder().frames(16).build()?;
    /// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(16))?;
    /// for block in 0..16_u32 {
    ///     pool.read(PageId::new(file, block)).wait()?;
    /// }
    /// assert_eq!(pool.not_needed([PageId::new(file, 15)]), 1);
    /// assert!(pool.read(PageId::new(file, 15)).now().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn not_needed(&self, pages: impl IntoIterator<Item = PageId>) -> u32 {
        not_needed::not_needed(&self.shared, pages)
    }

    /// Returns a stream of the pages, in their order, read ahead as far as that is useful: an [`Iterator`] for threads, and
    /// [`next_page`](ReadStream::next_page) for tasks. The pages may be of several files; [`FileId::pages`] gives those of one.
    /// Neighbouring blocks become one request, whatever the order in which they are asked for. The items may carry data along: see
    /// [`StreamItem`]. The stream reads nothing before the caller asks for the first page.
    ///
    /// Example: [`ReadStream`].
    pub fn read_stream<I>(&self, pages: I, options: StreamOptions) -> ReadStream<I::IntoIter>
    where
        I: IntoIterator<Item: StreamItem>,
    {
        ReadStream::new(Arc::clone(&self.shared), pages.into_iter(), &options)
    }

    /// Writes a page if it is dirty, and takes it out of the pool. Example: [`Self::flush`].
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Wal`], [`Error::Latched`] if it could not be written, as for [`flush`](Self::flush). It then stays
    /// in the pool.
    pub fn evict(&self, page: PageId) -> Completion<Evicted> {
        self.operation(WaitsFor::CallersOf(page.file), move |shared| drop_pages::evict(shared, page))
    }

    /// Writes a page if it is dirty. The page is then in the file, but durable only after a [sync](Self::sync_file).
    ///
    /// The thread that waits may hold read guards and frozen bytes of the page, even if other threads wait to change it. The call
    /// waits for a write guard of the page, of any thread, as long as a fetch waits for a frame
    /// ([`frame_wait`](Builder::frame_wait)).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Wal`]; [`Error::Latched`] if the page was being changed all that time: a write guard was forgotten,
    /// for example, or the thread that waits holds it. The page is as dirty as before.
    ///
    /// # Examples
    /// ```
    /// # use ringpool::{BufferPool, OpenOptions, PageId, report::Evicted};
    /// # let folder = tempfile::tempdir()?;
    /// # let pool = BufferPool::builder().frames(16).build()?;
    /// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
    /// let pages = [0_u32, 1, 4, 7].map(|block| PageId::new(file, block));
    /// for page in pages {
    ///     pool.write(page).wait()?[0] = 1;
    /// }
    /// pool.flush(pages[0]).wait()?;
    /// assert_eq!(pool.flush_many(&pages[..2]).wait()?.pages_written, 1); // the second
    /// assert_eq!(pool.flush_file(file).wait()?.pages_written, 2); // the others
    /// assert!(pool.sync_file(file).wait()?);
    ///
    /// // A page that is evicted is read from the disk the next time.
    /// assert_eq!(pool.evict(pages[0]).wait()?, Evicted::Yes);
    /// assert!(pool.fetch(pages[0]).now().is_none());
    /// assert_eq!(pool.read(pages[0]).wait()?[0], 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flush(&self, page: PageId) -> Completion<()> {
        self.operation(WaitsFor::CallersOf(page.file), move |shared| flush::flush_page(shared, page))
    }

    /// Writes those of these pages that are dirty, as [`flush_file`](Self::flush_file) does: for an engine that knows which pages
    /// it has changed, since the cost follows their number, and not the size of the file. Example: [`Self::flush`].
    ///
    /// # Errors
    /// Those of [`flush_file`](Self::flush_file).
    pub fn flush_many(&self, pages: &[PageId]) -> Completion<FlushReport> {
        let pages = pages.to_vec();
        let wait = pages.first().map_or(WaitsFor::Callers, |page| WaitsFor::CallersOf(page.file));
        self.operation(wait, move |shared| flush::flush_many(shared, &pages))
    }

    /// Writes the file's dirty pages, in sorted batches. Waits for write guards as [`flush`](Self::flush) does. After the first
    /// wait that was in vain, it waits only for a moment for each of the others. Example: [`Self::flush`].
    ///
    /// # Errors
    /// The first of [`Error::Io`], [`Error::Wal`], [`Error::Latched`]; all other pages were tried as well.
    pub fn flush_file(&self, file: FileId) -> Completion<FlushReport> {
        self.operation(WaitsFor::CallersOf(file), move |shared| flush::flush_file(shared, file))
    }

    /// Makes durable what was written to the file so far. Returns whether there was anything. Example: [`Self::flush`].
    ///
    /// # Errors
    /// [`Error::File`] the first time a sync fails, [`Error::SyncPoisoned`] from then on (C4).
    pub fn sync_file(&self, file: FileId) -> Completion<bool> {
        self.operation(WaitsFor::Disk(file), move |shared| flush::sync_file(shared, file))
    }

    /// Writes all pages that are dirty at its start, in sorted batches, and syncs their files. Other calls continue meanwhile.
    ///
    /// Checkpoints take turns: each covers the pages that are dirty when its turn comes. A checkpoint that was begun continues to
    /// its end, even if its completion is dropped. It waits for write guards as [`flush_file`](Self::flush_file) does: a thread
    /// that holds one waits for itself, and gets [`Error::Latched`].
    ///
    /// Example: [`CheckpointOptions`].
    ///
    /// # Errors
    /// The first failure. Pages that could not be written stay dirty; all others were written and synced.
    pub fn checkpoint(&self, options: CheckpointOptions) -> Completion<CheckpointReport> {
        self.operation(WaitsFor::Callers, move |shared| checkpoint::checkpoint(shared, options))
    }

    /// Sets the number of frames, up to [the number that the pool was built for](Builder::frames_at_most). Other threads and tasks
    /// can use the pool meanwhile, with every page that they hold.
    ///
    /// The pool has more frames when their memory has been faulted in, and registered, as when the pool was built. It has fewer
    /// when the pages in the frames to be removed are out of the pool: the dirty ones are written first, and the others must be
    /// read again when they are wanted. All frames serve until those writes, and the reads into the frames to be removed, have
    /// ended, however long the disk takes. Then these frames get no new pages. If pages in them were changed or read meanwhile, so
    /// that the disk has frames of them again for 50 ms, all of them serve once more until it has finished; each time the limit
    /// doubles. Under [`IoMethod::Sync`](crate::IoMethod::Sync) the thread that resizes writes such a late change, and the frames
    /// are out of service until that write ends. When all pages are out, the memory returns to the system, in steps of 16 to 64
    /// MiB. What depends on the number of frames follows it: the read-ahead quota, the number of frames that the background writer
    /// keeps ready, the queues of the replacement (which loses its ghosts). Read streams that were begun keep their limits.
    ///
    /// Resizes take turns. A resize that was begun continues to its end, even if its completion is dropped.
    ///
    /// # Errors
    /// [`Error::CannotGrow`]. [`Error::Pinned`] if for as long as a fetch would wait for a frame no frame could be freed: the
    /// frames to be removed stay pinned, or are changed faster than they can be written. [`Error::Io`] and [`Error::Wal`] if their
    /// changes cannot be written. [`Error::Config`] for a number that the pool was not built for. The pool then has as many frames
    /// as before, with every change of every page.
    ///
    /// # Examples
    /// ```
    /// # use ringpool::BufferPool;
    /// let pool = BufferPool::builder().frames(16).frames_at_most(64).build()?;
    /// assert_eq!(pool.resize(64).wait()?.frames, 64);
    /// assert_eq!(pool.resize(8).wait()?.frames, 8);
    /// assert!(pool.resize(65).wait().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resize(&self, frames: u32) -> Completion<ResizeReport> {
        self.operation(WaitsFor::Callers, move |shared| resize::resize(shared, frames))
    }

    /// Ends the pool's work, for all clones. Pinned pages stay usable, and resident pages can still be fetched; nothing is read or
    /// written any more. Waits for the pool's background work, as the drop of the [last clone](Self) does. Blocks; a task awaits
    /// [`shutdown_async`](Self::shutdown_async) instead.
    ///
    /// The files and the [doublewrite area](crate::options::TornPages::DoubleWrite) stay open, and locked against other pools
    /// ([`Error::InUse`]), as long as a clone of the pool lives, or a stream, a fetch or a [`Completion`] of it, forgotten ones
    /// included: a thread that was in one of these may still be about to end its transfer. Drop them before the files are opened
    /// elsewhere, or [close](Self::close_file) the files before the shutdown, which releases their locks. Pins and frozen bytes
    /// keep no file open.
    ///
    /// The error has the pool, and no `?` separates the two: it can become a `Box<dyn Error>`, or a part of an engine's own error,
    /// but not an [`Error`], which has no place for a pool. So dirty pages are thrown away only with the error, or by
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
    /// With the pool, which is still open: pages could not be written, as by a [checkpoint](Self::checkpoint). With the pool, which
    /// has ended: the pages that other threads wrote meanwhile could not be synced, or the [doublewrite
    /// area](crate::options::TornPages::DoubleWrite) could not be emptied. In a process that was
    /// [forked](Self#processes-that-are-forked), with either value of `how`: nothing is done.
    pub fn shutdown(self, how: Shutdown) -> Result<FlushReport, ShutdownError> {
        match shutdown::shut_down(&self.shared, &self.background, how) {
            Ok(report) => Ok(report),
            Err(error) => Err(ShutdownError::new(self, error)),
        }
    }

    /// Reads pages into the pool, and waits for them: sorted, neighbours in one request, and as many in advance as a [read
    /// stream](Self::read_stream) may have. Pages that cannot be read are counted and skipped. If there are more pages than the
    /// pool has frames, the last ones are left out: this call runs the iterator to its end, and keeps no more of its pages than
    /// there may be frames.
    ///
    /// # Errors
    /// [`Error::ShutDown`].
    ///
    /// # Examples
    /// ```
    /// # use ringpool::{BufferPool, OpenOptions, PageId};
    /// # let folder = tempfile::tempdir()?;
    /// # let pool = BufferPool::builder().frames(16).build()?;
    /// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
    /// # for page in file.pages(0..8_u32) { pool.read(page).wait()?; }
    /// // Before the shutdown: the numbers of the blocks, kept beside the name of their file.
    /// let blocks: Vec<u32> = pool.resident_pages().iter().map(|page| page.block.0).collect();
    /// # let pool = BufferPool::builder().frames(16).build()?;
    /// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().lock(ringpool::options::Fallback::Off))?;
    /// // After the restart:
    /// assert_eq!(pool.warm_up(file.pages(blocks)).wait()?.pages, 8);
    /// assert!(pool.read(PageId::new(file, 7)).now().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn warm_up(&self, pages: impl IntoIterator<Item = PageId>) -> Completion<WarmUp> {
        let wanted = Wanted::of(pages.into_iter(), self.shared.pool.size.most());
        let wait = wanted.pages.first().map_or(WaitsFor::Disks, |page| WaitsFor::Disk(page.file));
        self.operation(wait, move |shared| warm_up::warm_up(shared, wanted))
    }

    /// Makes an operation of this work, which may have to wait for that.
    pub(super) fn operation<T: Send + 'static>(
        &self,
        wait: WaitsFor,
        work: impl FnOnce(&Arc<Shared>) -> Result<T> + Send + 'static,
    ) -> Completion<T> {
        let shared = Arc::clone(&self.shared);
        let asking = self.shared.check_process().map_or(AskingSpan::none(), |()| AskingSpan::current());
        let work = move || asking.run(|| work(&shared));
        Completion::new(self.shared.pool.process.clone(), Arc::clone(&self.shared.jobs), wait, work)
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

/// A shutdown that could not write everything, with the pool, which as a rule is still open: mend what is wrong and try again, or
/// discard. [`pool_is_open`](Self::pool_is_open) tells.
///
/// While this value lives, the pool and its dirty pages live too. Its text gives their number.
///
/// # Examples
/// ```
/// # use ringpool::{BufferPool, Error, OpenOptions, PageId, Shutdown};
/// # let folder = tempfile::tempdir()?;
/// # let pool = BufferPool::builder().frames(16).frame_wait(std::time::Duration::ZERO).build()?;
/// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
/// let mut page = pool.write(PageId::new(file, 0)).wait()?;
/// page[0] = 1;
/// let refused = pool.shutdown(Shutdown::Flush).unwrap_err();
/// assert!(matches!(refused.error(), Error::Latched { .. }) && refused.pool_is_open());
/// println!("{refused}"); // "... is still open, with 1 dirty pages: ..."
///
/// // Release the page, and try again.
/// drop(page);
/// assert_eq!((refused.dirty_pages(), refused.pool().stats().frames.dirty), (0, 1));
/// let (pool, _) = refused.into_parts();
/// assert_eq!(pool.shutdown(Shutdown::Flush)?.pages_written, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

    /// Returns what went wrong. Example: [`ShutdownError`].
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Returns the pool, as it is now. Example: [`ShutdownError`].
    #[must_use]
    pub fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// Returns whether the pool is open still, so that the shutdown can be tried again. If not it has ended: what could not be
    /// synced is to be recovered from the log, as after a crash. True in a process that was
    /// [forked](BufferPool#processes-that-are-forked), for the pool's own. Example: [`ShutdownError`].
    #[must_use]
    pub fn pool_is_open(&self) -> bool {
        !self.pool.shared.has_ended()
    }

    /// Returns how many pages were dirty when the shutdown was given up: lost, if neither this pool nor a clone of it writes them.
    /// Example: [`ShutdownError`].
    #[must_use]
    pub fn dirty_pages(&self) -> u64 {
        self.dirty_pages
    }

    /// Returns the pool and what went wrong. Example: [`ShutdownError`].
    #[must_use = "the pool's dirty pages may be lost with it"]
    pub fn into_parts(self) -> (BufferPool, Error) {
        (self.pool, self.error)
    }
}

impl fmt::Debug for ShutdownError {
    /// Its text, as the runtime shows it if `main` returns it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
