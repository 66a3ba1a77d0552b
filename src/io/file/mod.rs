//! An open file: how long it is, whether it has writes that are not durable, and whether a sync of it ever failed.
//!
//! Invariants:
//! * Every block below `blocks` can be read. Growing publishes the new length only when the new blocks are zeroed on disk;
//!   cutting publishes it before the caller looks for frames. Both is in [`size`](super::file::size).
//! * `unsynced` is true whenever a write has come back that no sync began after; and at first, since the process that wrote the
//!   file before may have been killed without a sync: what is read may be in the system's cache alone.
//! * A sync that failed poisons the file for good: the kernel may have dropped the dirty pages it could not write, so a
//!   later sync would report success for bytes that are gone.
//!
//! Lock order: `size`, which is held across its I/O, and never taken by a transfer; then `growth`, which is short.

pub(crate) mod atomic_writes;
pub(crate) mod growth;
pub(crate) mod open_options;
pub(crate) mod plain_transfer;
pub(crate) mod read_budget;
pub(crate) mod size;
mod sync;

use std::{
    io,
    num::{NonZeroU32, NonZeroUsize},
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    codec::PageCodec,
    error::{ConfigError, Error, IoOp, Result},
    id::{BlockNo, FileId, PageId, PageSize},
    io::{
        file::{
            atomic_writes::NotAtomic, growth::Growth, open_options::OpenOptions, read_budget::ReadBudget,
            sync::SyncTurns,
        },
        options::COMBINE_LIMIT_MAX,
        storage::{BlockingFile, DirectRefused, Lock, MayBlock, Opened, Storage, StorageFile},
    },
    observe::file_activity::FileActivity,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
        thread, time,
        turns::{Turn, Turns},
    },
};

/// A file that takes no new pages, as long as it is being closed.
#[must_use = "the file is open again when this is dropped"]
pub(crate) struct Closing<'a>(&'a File);

impl Closing<'_> {
    /// Closes the file for good.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.closed.store(seeded!("failed_close_not_undone"), Ordering::Release);
    }
}

/// The most requests in flight of an asynchronous file, unless its storage or the options say another number.
const IN_FLIGHT: NonZeroU32 = NonZeroU32::new(64).expect("it is not 0");

/// A file that a pool has open.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) id: FileId,
    /// The path as it was given, for errors.
    pub(crate) path: Arc<Path>,
    /// Its name when it was opened, whatever links the path went through; `None` where it had none any more.
    pub(crate) name: Option<PathBuf>,
    pub(crate) disk: Box<dyn BlockingFile>,
    /// The same file, if its transfers end later.
    pub(crate) asynchronous: Option<Arc<dyn StorageFile>>,
    /// Whether a power cut may tear a page that is written by a plain write.
    pub(crate) tears_pages: bool,
    /// The pages of a transfer that its storage likes best; 0 where it has not said.
    pub(crate) best_pages: usize,
    pub(crate) page_size: PageSize,
    pub(crate) read_only: bool,
    /// Whether its folder is synced when it is opened for writing, and when it is removed.
    pub(crate) durable_name: bool,
    /// Whether other pools are kept from it.
    pub(crate) lock: Lock,
    /// Whether its length is fixed, so that it can be neither extended nor cut.
    pub(crate) has_fixed_size: bool,
    /// The engine's own number for the file, for the page codec.
    pub(crate) tag: u64,
    /// The codec that seals the pages that are added to it, and verifies those that are read.
    pub(crate) codec: Option<Arc<dyn PageCodec>>,
    /// Whether pages have their LSN in their bytes.
    pub(crate) keeps_lsn: bool,
    /// Whether pages of zeros are new ones, and not shown to the codec.
    pub(crate) sparse: bool,
    /// The most requests in flight, if the options say so. Then all of its requests go by one queue, and threads that transfer by
    /// themselves take [turns](Self::take_turn).
    pub(crate) max_in_flight: Option<NonZeroU32>,
    turns: Option<Turns>,
    /// What offsets and lengths of transfers must be multiples of; divides the page size.
    pub(crate) offset_align: u32,
    /// Whether transfers bypass the system's page cache, else why not.
    pub(crate) direct: Result<(), DirectRefused>,
    /// How many pages one write may have, where pages are written atomically, else why they are not.
    pub(crate) atomic_pages: Result<u32, NotAtomic>,
    /// Why its requests could block the thread that submits them.
    pub(crate) may_block: Option<MayBlock>,
    /// Equal for two paths to one file.
    pub(crate) identity: (u64, u64),
    /// What was done with it.
    pub(crate) activity: Box<FileActivity>,
    pub(crate) read_budget: ReadBudget,
    /// The length; a last block that is not whole counts.
    blocks: AtomicU32,
    /// No block from here on has a page that stays in the pool. Greater than the length only until a cut has succeeded or failed.
    pages_end: AtomicU32,
    unsynced: AtomicBool,
    closed: AtomicBool,
    sync: SyncTurns,
    /// Held by the thread that changes the length on disk, or ends the file.
    pub(in crate::io) size: Mutex<()>,
    /// Held while `blocks` is written.
    pub(in crate::io) growth: Mutex<Growth>,
}

impl File {
    /// Opens the file at `path`. If it may be written to, its name is durable then, unless the options say
    /// otherwise: the process that created it, this pool's or
    /// an earlier one, may have been kept from syncing its folder. The caller grows it to `options.initial_blocks`, decides
    /// against atomic writes, [refuses](Self::check_lock) a file that another pool has, and sets codec and places for LSNs.
    pub(crate) fn open(
        disk: &dyn Storage,
        id: FileId,
        path: &Path,
        options: &OpenOptions,
        page_size: PageSize,
    ) -> Result<Self> {
        let failed = |op| move |source| Error::File { op, path: path.into(), source: Arc::new(source) };
        let opened = disk.open(path, options, page_size).map_err(failed(IoOp::Open))?;
        let tears_pages = opened.tears_pages();
        let Opened {
            file,
            asynchronous,
            capabilities,
            name,
            identity,
            lock,
            len,
            has_fixed_size,
            offset_align,
            direct,
            atomic_pages,
            may_block,
        } = opened;
        let is_written = !options.read_only && lock != Lock::InUse && !seeded!("folder_not_synced");
        if let Some(name) = name.as_deref().filter(|_| is_written && options.durable_name) {
            disk.sync_folder(name).map_err(failed(IoOp::SyncFolder))?;
        }
        let page = page_size.bytes() as u64;
        // A part of a block can be completed only where the length can change.
        let blocks = if has_fixed_size { len / page } else { len.div_ceil(page) };
        let blocks = u32::try_from(blocks).map_err(|_| {
            let blocks = u32::MAX;
            let advice =
                format!("{len} bytes are more than {blocks} blocks: use larger pages or several files");
            ConfigError::new("page_size", page_size.bytes(), advice).at(path)
        })?;
        let best = capabilities.best_transfer.map_or(0, NonZeroUsize::get).min(COMBINE_LIMIT_MAX);
        let of_storage = capabilities.in_flight.or_else(|| asynchronous.as_ref().map(|_| IN_FLIGHT));
        let max_in_flight = [options.max_in_flight, of_storage].into_iter().flatten().min();
        Ok(Self {
            id,
            path: path.into(),
            name,
            may_block,
            disk: file,
            asynchronous,
            tears_pages,
            best_pages: best / page_size.bytes(),
            page_size,
            read_only: options.read_only,
            durable_name: options.durable_name,
            lock,
            has_fixed_size,
            tag: options.tag.unwrap_or(0),
            codec: None,
            keeps_lsn: false,
            sparse: options.sparse,
            max_in_flight,
            turns: max_in_flight.map(Turns::of_so_many),
            offset_align,
            direct,
            atomic_pages,
            identity,
            activity: Box::new(FileActivity::new()),
            read_budget: ReadBudget::default(),
            blocks: AtomicU32::new(blocks),
            pages_end: AtomicU32::new(blocks),
            unsynced: AtomicBool::new(!options.read_only),
            closed: AtomicBool::new(false),
            sync: SyncTurns::default(),
            size: Mutex::new(()),
            growth: Mutex::new(Growth::new(blocks, options.grow_by_blocks)),
        })
    }

    /// Opens a file that the pool keeps for itself, as [`open`](Self::open) does: no other pool has it.
    pub(crate) fn open_alone(
        disk: &dyn Storage,
        id: FileId,
        path: &Path,
        options: &OpenOptions,
        page_size: PageSize,
    ) -> Result<Self> {
        wait_for_lock(|| {
            let file = Self::open(disk, id, path, options, page_size)?;
            file.check_lock()?;
            Ok(file)
        })
    }

    /// Returns an error where another pool has the file.
    pub(crate) fn check_lock(&self) -> Result<()> {
        if self.lock == Lock::InUse { Err(Error::InUse { path: self.path.clone() }) } else { Ok(()) }
    }

    /// Returns the length in blocks, a last one that is not whole included.
    pub(crate) fn blocks(&self) -> u32 {
        self.blocks.load(Ordering::Acquire)
    }

    /// Returns how many pages one write may have, in a pool that combines so many unless the storage likes larger transfers.
    pub(crate) fn pages_a_write(&self, combine: usize) -> usize {
        // Pages that are written atomically are written one by one.
        if self.atomic_pages.is_ok() { 1 } else { combine.max(self.best_pages) }
    }

    /// Publishes another length. What is on disk is the part of [`size`](super::file::size). A thread that publishes a lesser
    /// one, and a thread that has mapped a page and now checks whether it is there, each need a fence to see what the other has
    /// done.
    pub(crate) fn set_blocks(&self, blocks: u32) {
        self.pages_end.fetch_max(blocks, Ordering::Relaxed);
        self.blocks.store(blocks, Ordering::Release);
    }

    /// Returns the range of blocks from `block` on that may have pages in the pool. It stays so while the caller holds the lock
    /// `size` and has published a lesser length or that the file is being closed.
    pub(crate) fn pages_from(&self, block: BlockNo) -> Range<u32> {
        block.0..self.pages_end.load(Ordering::Relaxed)
    }

    /// Notes, after a cut, that no block behind the length has a page. The caller holds the lock `size`.
    pub(in crate::io) fn forget_pages_behind_end(&self) {
        self.pages_end.store(self.blocks(), Ordering::Relaxed);
    }

    /// Waits until the calling thread may transfer by itself, if the file allows only so many at once.
    pub(crate) fn take_turn(&self) -> Option<Turn<'_>> {
        self.turns.as_ref().map(Turns::take)
    }

    /// Returns whether `block` lies within the file.
    pub(crate) fn has(&self, block: BlockNo) -> bool {
        block.0 < self.blocks()
    }

    /// Returns an error that says what is wrong where `block` does not lie within the file.
    pub(crate) fn check(&self, block: BlockNo) -> Result<()> {
        let blocks = self.blocks();
        if block.0 < blocks {
            Ok(())
        } else {
            Err(Error::PastEof { page: PageId::new(self.id, block), path: self.path.clone(), blocks })
        }
    }

    /// Publishes that the file takes no new pages any more; taken back when the returned value is dropped, unless it is
    /// [kept](Closing::keep). As with a lesser length, it takes a fence. The caller holds the lock `size`, so the length stays
    /// too.
    pub(crate) fn begin_closing(&self) -> Closing<'_> {
        // An extension that needs no lock of the size looks at this under its own lock.
        let _growth = self.growth.lock();
        self.closed.store(true, Ordering::Release);
        Closing(self)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Returns an error unless a page may come into the pool: the file is open and has this block.
    pub(crate) fn check_open(&self, block: BlockNo) -> Result<()> {
        if self.is_closed() { Err(Error::NotOpen { file: self.id }) } else { self.check(block) }
    }

    /// Notes that a write has come back. Called before its frame stops counting as being written, so that a checkpoint which
    /// finds the frame clean finds the file unsynced.
    pub(crate) fn note_written(&self) {
        self.unsynced.store(!seeded!("write_not_noted"), Ordering::SeqCst);
    }

    /// Returns whether a sync would have something to do, or an error to report.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.unsynced.load(Ordering::SeqCst)
    }

    pub(in crate::io) fn poisoned_by(&self, source: &Arc<io::Error>) -> Error {
        Error::SyncPoisoned { file: self.id, path: self.path.clone(), source: Arc::clone(source) }
    }

    /// Makes the error where another file, which is open, has the tag of this one.
    pub(crate) fn tag_taken(&self, other: &Self) -> Error {
        let (path, open_path) = (self.path.clone(), other.path.clone());
        Error::TagTaken { path, tag: self.tag, file: other.id, open_path }
    }

    /// Makes the error of an operation on the whole file.
    pub(crate) fn error(&self, op: IoOp, source: impl Into<Arc<io::Error>>) -> Error {
        Error::File { op, path: self.path.clone(), source: source.into() }
    }
}

/// How long a file that another pool has may stay so. The kernel gives up the locks of a process that was killed with requests in
/// a ring a little later than the process is gone; and the system may hold a device for a moment to inspect it.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// The time from one try to the next.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Opens a file again while it is [in use](Error::InUse), until the patience ends.
pub(crate) fn wait_for_lock<T>(open: impl Fn() -> Result<T>) -> Result<T> {
    let deadline = time::now() + LOCK_PATIENCE;
    loop {
        match open() {
            Err(Error::InUse { .. }) if time::now() < deadline => thread::park_timeout(LOCK_PAUSE),
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        io::tests::support::{FakeDisk, os_file},
        observe::{Counter, Counters, Measure},
    };

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join("missing"), dir.path().to_owned()] {
            let error = os_file(&path, &OpenOptions::new()).unwrap_err();
            assert!(
                matches!(&error, Error::File { op: IoOp::Open, path: named, .. } if **named == path),
                "{error}"
            );
        }
    }

    #[test]
    fn a_part_of_a_block_counts_as_one_and_no_more_lie_behind() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (len, blocks) in [(0, 0), (1, 1), (8192, 1), (8193, 2)] {
            file.as_file().set_len(len).unwrap();
            let open = os_file(file.path(), &OpenOptions::new()).unwrap();
            assert_eq!(open.blocks(), blocks, "{len} bytes");
            assert!(
                matches!(open.check(BlockNo(blocks)), Err(Error::PastEof { blocks: n, .. }) if n == blocks)
            );
            assert!(blocks == 0 || open.check(BlockNo(blocks - 1)).is_ok());
        }
    }

    #[test]
    fn a_part_of_a_block_at_the_end_of_a_device_is_none_and_its_size_stays() {
        let disk = FakeDisk::new(vec![7; 2 * 8192 + 512]);
        disk.fix_size();
        let file = disk.open_file(8192).unwrap();
        assert_eq!(file.blocks(), 2);
        assert!(matches!(file.extend(1, &Counters::new()), Err(Error::FixedSize { .. })));
        assert_eq!(disk.bytes().len(), 2 * 8192 + 512);
    }

    #[test]
    fn more_blocks_than_numbers_are_refused() {
        let disk = FakeDisk::new(Vec::new());
        disk.set_reported_len((1 << 32) * 8192);
        let error = disk.open_file(8192).unwrap_err();
        assert!(error.to_string().contains("larger pages"), "{error}");
        disk.set_reported_len(u64::from(u32::MAX) * 8192);
        assert_eq!(disk.open_file(8192).unwrap().blocks(), u32::MAX);
    }

    #[test]
    fn a_file_is_synced_once_for_what_was_written() {
        let disk = FakeDisk::new(Vec::new());
        let file = disk.open_file(8192).unwrap();
        let counters = Counters::new();
        assert!(file.sync(&counters).unwrap(), "a process that had it open before may have been killed");
        assert!(!file.sync(&counters).unwrap());
        file.note_written();
        assert!(file.sync(&counters).unwrap());
        assert!(!file.sync(&counters).unwrap());
        assert_eq!((disk.syncs(), counters.get(Counter::Syncs)), (2, 2));
        assert_eq!(counters.measures.get(Measure::Sync).count(), 2);
    }

    #[test]
    fn a_failed_sync_poisons_the_file_for_good() {
        let disk = FakeDisk::new(Vec::new());
        let file = disk.open_file(8192).unwrap();
        let counters = Counters::new();
        file.note_written();
        disk.fail_next_sync(5);
        assert!(matches!(file.sync(&counters), Err(Error::File { op: IoOp::Sync, .. })));
        for _ in 0..2 {
            let error = file.sync(&counters).unwrap_err();
            assert!(matches!(error, Error::SyncPoisoned { .. }));
            assert_eq!(error.raw_os_error(), Some(5));
            file.note_written();
        }
        assert_eq!(disk.syncs(), 1, "a second sync would have reported success");
        assert!(disk.open_file(8192).unwrap().sync(&counters).is_ok());
    }
}
