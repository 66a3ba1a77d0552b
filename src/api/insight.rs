//! What a pool reports of itself: counts, files, what is in flight, what is resident, what must never be.

use std::collections::HashMap;

use crate::{
    api::{
        buffer_pool::BufferPool,
        file_stats::{self, FileStats},
        snapshot::Stats,
    },
    buffer::frame::state::Phase,
    id::{FileId, PageId, PageSize},
    io::operation::table::InFlight,
};

/// A page that is in the pool, or on its way there.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resident {
    /// The page.
    pub page: PageId,
    /// Whether it has changes that are not on their way to disk.
    pub dirty: bool,
    /// Whether it is being read, and cannot be used yet.
    pub reading: bool,
    /// Whether it is being written.
    pub writing: bool,
    /// How many pins it has, those of its I/O included.
    pub pins: u32,
    /// Its usage count, 0 to 3: how often it was used since it came in, or since it was last considered for eviction; it is spared
    /// that often.
    pub usage: u8,
}

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
    /// let pool = ringpool::BufferPool::builder().frames(16).build()?;
    /// assert_eq!(pool.frames(), 16);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.shared().pool.size.frames()
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
        let pool = &self.shared().pool;
        let in_slots = pool.slots.holds();
        pool.frames.iter().filter_map(move |(no, frame)| {
            let (page, state) = frame.glance()?;
            Some(Resident {
                page,
                dirty: state.is_dirty(),
                reading: state.phase() == Phase::Reading,
                writing: state.is_writing(),
                pins: (state.pins() + in_slots.of(no)) as u32,
                usage: state.usage() as u8,
            })
        })
    }

    /// Returns the pages in the pool, sorted: keep them to [warm up](Self::warm_up) the pool after a restart. The files' numbers
    /// are valid in this pool only; keep names instead. Example: [`Self::warm_up`].
    #[must_use]
    pub fn resident_pages(&self) -> Vec<PageId> {
        let is_here = |resident: &Resident| !resident.reading;
        let mut pages: Vec<PageId> = self.residency().filter(is_here).map(|resident| resident.page).collect();
        pages.sort_unstable();
        pages
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
        let shared = self.shared();
        shared.check_process().map_err(|error| error.to_string())?;
        let mut faults = shared.pool.faults();
        faults.extend(shared.operations.list().iter().map(|request| format!("still listed: {request:?}")));
        let files = shared.files.all();
        let counts = &shared.pool.dirty_counts;
        let mut dirty = HashMap::<FileId, usize>::new();
        for (page, state) in shared.pool.frames.iter().filter_map(|(_, frame)| frame.glance()) {
            let file = files.iter().find(|file| file.id == page.file);
            if file.is_none_or(|file| file.check_open(page.block).is_err()) {
                faults.push(format!("{page} is resident, and not a page of an open file: {state:?}"));
            }
            *dirty.entry(page.file).or_default() += usize::from(state.is_dirty() || state.is_writing());
        }
        for file in &files {
            let (found, counted) = (dirty.get(&file.id).copied().unwrap_or_default(), counts.of(file.id));
            if counted != found {
                faults.push(format!("{}: {found} pages are dirty, and {counted} are counted", file.id));
            }
        }
        let (found, counted) = (dirty.values().sum::<usize>(), counts.all());
        if counted != found {
            faults.push(format!("{found} pages are dirty, and {counted} are counted"));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
    }
}
