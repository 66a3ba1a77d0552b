//! What a pool reports of itself, in a line each: counts, files, what is in flight, what is resident.

use crate::{
    api::{
        buffer_pool::BufferPool,
        file_stats::{self, FileStats},
        residency::{self, Resident},
        snapshot::Stats,
        validate,
    },
    id::{PageId, PageSize},
    io::operation::table::InFlight,
};

/// # Insight
impl BufferPool {
    /// Returns the size of every page. Example: [`Builder`](crate::Builder).
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.shared().config.page_size
    }

    /// Returns the pool's [name](crate::Builder::name). Example: [`Builder`](crate::Builder).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared().counters.pool
    }

    /// Returns the number of frames. Reads one number, and changes with a [`resize`](Self::resize).
    ///
    /// # Examples
    /// ```
    /// let pool = ringpool::BufferPool::builder().frames(16).frames_at_most(64).build()?;
    /// assert_eq!((pool.frames(), pool.frames_at_most()), (16, 64));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.shared().pool.size.frames()
    }

    /// Returns the most frames that a [`resize`](Self::resize) may give the pool: as many as it has, where it cannot be resized.
    /// Example: [`Self::frames`].
    #[must_use]
    pub fn frames_at_most(&self) -> u32 {
        self.shared().pool.size.most()
    }

    /// Returns what the pool did so far and what it holds now. Walks all frames, so not for a hot path. Example: [`Stats`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(self.shared())
    }

    /// Returns the open files, in the order in which they were opened, each with what the pool did with it since then and what the
    /// pool holds of it: what PostgreSQL shows in `pg_statio_all_tables`. Walks all frames, and copies 7 KiB a file, so not for a
    /// hot path. Example: [`FileStats`].
    #[must_use]
    pub fn files(&self) -> Vec<FileStats> {
        self.shared().check_process().map_or(Vec::new(), |()| file_stats::files(self.shared()))
    }

    /// Returns the read and write requests that are under way, the oldest first: what PostgreSQL shows in `pg_aios`.
    ///
    /// Cheap, and delays no I/O. A request that begins or ends meanwhile may or may not be listed. Of more than 512 requests at
    /// once some are not; [`Counts::unlisted_requests`](crate::stats::Counts::unlisted_requests) has their number.
    ///
    /// # Examples
    /// ```
    /// # let pool = ringpool::BufferPool::builder().frames(16).build()?;
    /// for request in pool.in_flight() {
    ///     println!("{request}"); // "read of 4 pages from block 8 of file 0 on (32768 bytes), submitted, 1.2s old"
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn in_flight(&self) -> Vec<InFlight> {
        self.shared().check_process().map_or(Vec::new(), |()| self.shared().operations.list())
    }

    /// Returns what each frame holds, in the order of the frames: what PostgreSQL shows in `pg_buffercache`. It looks at the frames
    /// one after the other, so together they are the state of no single instant.
    ///
    /// # Examples
    /// ```
    /// # use ringpool::{BufferPool, OpenOptions, PageId};
    /// # let folder = tempfile::tempdir()?;
    /// # let pool = BufferPool::builder().frames(16).build()?;
    /// # let file = pool.open_file(folder.path().join("pages"), OpenOptions::new().create(true).initial_blocks(8))?;
    /// pool.write(PageId::new(file, 3)).wait()?[0] = 1;
    /// let dirty = pool.residency().find(|resident| resident.dirty).unwrap();
    /// assert_eq!((dirty.page, dirty.pins), (PageId::new(file, 3), 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn residency(&self) -> impl Iterator<Item = Resident> {
        residency::residency(&self.shared().pool)
    }

    /// Returns the pages in the pool, sorted: keep them to [warm up](Self::warm_up) the pool after a restart. The files' numbers
    /// are valid in this pool only; keep names instead. Example: [`Self::warm_up`].
    #[must_use]
    pub fn resident_pages(&self) -> Vec<PageId> {
        residency::resident_pages(&self.shared().pool)
    }

    /// Checks the whole pool for what must never be: pages with two frames, frames that the page table does not know, shadow pages
    /// that belong to no frame, waiters that were forgotten, pages of files that are closed. For an engine's tests: at the end of
    /// each, and whenever no thread uses the pool. Pages may be pinned. But what other threads begin or end meanwhile, the
    /// background writer included, is reported as a fault, since frames are checked one after the other.
    ///
    /// # Errors
    /// What is wrong, each fault in a line of its own. A fault is a bug of this crate, or memory that other code has overwritten.
    ///
    /// # Examples
    /// ```
    /// # let pool = ringpool::BufferPool::builder().frames(16).build()?;
    /// pool.validate().unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn validate(&self) -> Result<(), String> {
        validate::validate(self.shared())
    }
}
