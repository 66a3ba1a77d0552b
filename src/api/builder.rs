//! Building a pool: checks the options once, allocates and starts everything, and makes the pool.

use std::{sync::Arc, time::Duration};

use crate::{
    api::{buffer_pool::BufferPool, resize},
    buffer::{
        frame::{
            clean_list::CleanList, frames::Frames, page_lsn::PageLsn, size::Size, unlogged::UnloggedChanges,
        },
        residency::Residency,
    },
    codec::PageCodec,
    error::{ConfigError, Result},
    events,
    id::PageSize,
    io::{
        doublewrite::{DoubleWrite, options::TornPages},
        method::{asynchronous::WithAsynchronousFiles, choice},
        options::{BACKGROUND_DEPTH, COMBINE_LIMIT_MAX, IoMethod},
        report::{MethodReport, Registration},
        storage::{Storage, contained::Contained, os::LocalFiles},
    },
    observe::Counters,
    runtime::{
        config::{BackgroundWriter, Config},
        file_table::FileTable,
        jobs::JobPool,
        operation::PageOperations,
        removals::Removals,
        shared::Shared,
    },
    sync::{
        pool_end::PoolEnd,
        turns::Turns,
        uncontrolled::{AtomicU64, Ordering},
    },
    wal::Wal,
    write::write_out,
};

/// The options of a pool. Made by [`BufferPool::builder`].
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use ringpool::{BufferPool, IoMethod, options::BackgroundWriter};
///
/// let pool = BufferPool::builder()
///     .name("orders")
///     .page_size(4096)
///     .memory_bytes(1 << 20)
///     .memory_bytes_at_most(4 << 20)
///     .io_method(IoMethod::worker())
///     .combine_limit_bytes(64 << 10)
///     .background_depth(32)
///     .background_writer(BackgroundWriter::Off)
///     .frame_wait(Duration::from_millis(100))
///     .disk_wait(Duration::from_secs(10))
///     .slow_io(Duration::from_millis(50))
///     .build()?;
/// assert_eq!((pool.name(), pool.page_size().bytes()), ("orders", 4096));
///
/// // The same size in frames:
/// let same = BufferPool::builder().page_size(4096).frames(256).frames_at_most(1024).build()?;
/// let [frames, of_same] = [pool, same].map(|pool| pool.stats().frames);
/// assert_eq!((frames.total, frames.at_most), (of_same.total, of_same.at_most));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder makes nothing until build is called"]
#[derive(Debug)]
pub struct Builder {
    name: Option<Arc<str>>,
    size: PoolSize,
    at_most: PoolSize,
    page_size: Result<PageSize>,
    combine_limit_bytes: usize,
    slow_io: Duration,
    /// The other options.
    config: Config,
    /// None for the system's files.
    storage: Option<Box<dyn Storage>>,
}

/// The size of the pool, as it was set: in one of two units.
#[derive(Copy, Clone, Debug, Default)]
struct PoolSize {
    frames: Option<u32>,
    bytes: Option<usize>,
}

impl PoolSize {
    /// Returns the number of frames, if it was set. `options`: the names of the options that set the two units.
    fn frames(self, options: [&'static str; 2], page_size: PageSize) -> Result<Option<u32>, ConfigError> {
        let [in_frames, in_bytes] = options;
        let Some(bytes) = self.bytes else { return Ok(self.frames) };
        let refused = |advice| Err(ConfigError::new(in_bytes, bytes, advice));
        match (self.frames, u32::try_from(bytes / page_size.bytes())) {
            (Some(frames), _) => {
                let advice = format!("{in_bytes} {bytes} is set too: set one of the two");
                Err(ConfigError::new(in_frames, frames, advice))
            }
            (None, Ok(0)) => refused(format!("less than one page of {page_size}: choose more")),
            (None, Ok(frames)) => Ok(Some(frames)),
            (None, Err(_)) => refused(format!("more than {} frames: choose larger pages", u32::MAX)),
        }
    }
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            name: None,
            size: PoolSize::default(),
            at_most: PoolSize::default(),
            page_size: Ok(PageSize::DEFAULT),
            combine_limit_bytes: Config::COMBINE_LIMIT,
            slow_io: Self::SLOW_IO,
            config: Config {
                // The first four are set when all options are known.
                frames: 0,
                frames_at_most: 0,
                page_size: PageSize::DEFAULT,
                combine_pages: 0,
                io_method: IoMethod::Auto,
                wal: None,
                unlogged_changes: UnloggedChanges::default(),
                page_lsn: None,
                codec: None,
                torn_pages: TornPages::default(),
                frame_wait: Config::FRAME_WAIT,
                disk_wait: Config::DISK_WAIT,
                background_depth: BACKGROUND_DEPTH,
                background_writer: BackgroundWriter::Auto,
            },
            storage: None,
        }
    }

    const SLOW_IO: Duration = Duration::from_secs(1);

    const MEMORY: usize = 128 << 20;

    /// Sets the name of the pool, for the label `pool` of its metrics and for its `tracing` events: choose a different name for
    /// each pool of the process. Default: the number of pools that the process has built so far, this one included: "1", "2".
    /// Example: [`Builder`].
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the number of frames, at least 1. Use this or [`memory_bytes`](Self::memory_bytes): to set both is an error.
    /// Example: [`Builder`].
    pub fn frames(mut self, frames: u32) -> Self {
        self.size.frames = Some(frames);
        self
    }

    /// Sets the memory for pages, in bytes: the pool has as many frames as fit into it. At least one page. Default, if
    /// [`frames`](Self::frames) is not set either: 128 MiB. Example: [`Builder`].
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.size.bytes = Some(bytes);
        self
    }

    /// Sets the number of frames up to which the pool can be [resized](BufferPool::resize): at least the initial number. Default:
    /// the initial number, and the pool keeps its size. Use this or [`memory_bytes_at_most`](Self::memory_bytes_at_most): to set
    /// both is an error.
    ///
    /// The further frames cost address space, and little else until they are added: their share of the page table (10 to 20 bytes a
    /// frame, more if pages are far apart in their files), a byte each, and with a codec room for sealed copies of them (one page
    /// for 400 frames, at most 256). But the memory of a pool that can be resized is allocated and registered in steps of 16 to 64
    /// MiB (more if it could have more than 1 TiB): a request for scattered frames is a little more likely to be unregistered.
    ///
    /// Example: [`Builder`].
    pub fn frames_at_most(mut self, frames: u32) -> Self {
        self.at_most.frames = Some(frames);
        self
    }

    /// Sets the memory up to which the pool can be [resized](BufferPool::resize), in bytes, in place of
    /// [`frames_at_most`](Self::frames_at_most). Example: [`Builder`].
    pub fn memory_bytes_at_most(mut self, bytes: usize) -> Self {
        self.at_most.bytes = Some(bytes);
        self
    }

    /// Sets the size of every page, in bytes: a power of two from 512 to 65,536. Default: 8,192. For a [`PageSize`] that was read
    /// from text, pass its [`bytes`](PageSize::bytes). Example: [`Builder`].
    pub fn page_size(mut self, bytes: u32) -> Self {
        self.page_size = PageSize::new(bytes);
        self
    }

    /// Sets how transfers are made. Default: the best method that works. Example: [`Builder`].
    pub fn io_method(mut self, method: IoMethod) -> Self {
        self.config.io_method = method;
        self
    }

    /// Sets the log that must be durable before the pages that it describes are written. Default: none. Example: [`Wal`].
    pub fn wal(mut self, wal: impl Wal) -> Self {
        self.config.wal = Some(Arc::new(wal));
        self
    }

    /// Sets what happens to pages that are changed without a log position, in a pool with a log. Default: such changes are counted.
    /// Example: [`Wal`].
    pub fn unlogged_changes(mut self, rule: UnloggedChanges) -> Self {
        self.config.unlogged_changes = rule;
        self
    }

    /// Sets where pages keep their LSN, so that the pool reads it with the page, and writes there what
    /// [`set_lsn`](crate::PageWrite::set_lsn) states. Default: nowhere. The log's positions must then
    /// [rise](crate::PageLsn#positions-rise-over-all-lives-of-the-files) over all lives of the files. Example: [`PageLsn`].
    pub fn page_lsn(mut self, place: PageLsn) -> Self {
        self.config.page_lsn = Some(place);
        self
    }

    /// Sets the codec that changes pages on their way to and from disk. Default: none. A page that is written is sealed in a copy: there is
    /// room for one copy for 400 frames, at least 16 (a quarter of the frames, if that is less), at most 256. Example: [`PageCodec`].
    pub fn codec(mut self, codec: impl PageCodec) -> Self {
        self.config.codec = Some(Arc::new(codec));
        self
    }

    /// Sets the protection against pages that a power cut tears. Default: none. Example: [`TornPages`].
    pub fn torn_pages(mut self, protection: TornPages) -> Self {
        self.config.torn_pages = protection;
        self
    }

    /// Sets how long a fetch waits for a frame while all are pinned, before it ends in
    /// [`Error::AllPinned`](crate::Error::AllPinned). Default: one second. Closing and truncating wait as long for pins, and an
    /// operation that writes a page waits as long for its write guard.
    ///
    /// Time in which a frame is being read or written, or is to be written, does not count: the disk may take as long as
    /// [`disk_wait`](Self::disk_wait). For a bound on all of it, use [`Fetch::wait_timeout`](crate::pending::Fetch::wait_timeout).
    /// Example: [`Builder`].
    pub fn frame_wait(mut self, wait: Duration) -> Self {
        self.config.frame_wait = wait;
        self
    }

    /// Sets how long a fetch that needs a frame waits while the disk completes no read and no write, before it ends in
    /// [`Error::NoFrame`](crate::Error::NoFrame). Default: 60 seconds. (A disk that refuses to write is an error of its own, within
    /// a moment.)
    ///
    /// Under [`IoMethod::Sync`] this bounds the time between two transfers, and no transfer: a thread or task that finds only dirty
    /// pages writes some of them itself, of any file, and no `disk_wait` and no
    /// [`wait_timeout`](crate::pending::Fetch::wait_timeout) ends that write. If files on disks that may not answer share a pool,
    /// choose another method. Example: [`Builder`].
    pub fn disk_wait(mut self, wait: Duration) -> Self {
        self.config.disk_wait = wait;
        self
    }

    /// Sets from how long on a read, a write or a sync counts as slow, the wait in a queue included; one second unless set. Slow
    /// ones are [counted](crate::stats::Counts::slow_requests), and told to `tracing` [when they are over](crate#spans-and-events),
    /// if need be by a thread of the pool before it wakes those that wait: a subscriber returns soon and does not wait for the
    /// pool. Example: [`Builder`].
    pub fn slow_io(mut self, from: Duration) -> Self {
        self.slow_io = from;
        self
    }

    /// Sets the most bytes that one request covers, up to 1 MiB. Default: 128 KiB. A request of one page is always allowed.
    /// Example: [`Builder`].
    pub fn combine_limit_bytes(mut self, bytes: usize) -> Self {
        self.combine_limit_bytes = bytes;
        self
    }

    /// Sets how many reads ahead (those that no caller waits for yet) a ring has in flight for one file. Default: 128. For all
    /// files together it has one more, so that a file that does not answer leaves that one to the others.
    ///
    /// With more of them a device that works on many requests at once reads faster, but a miss waits in the device for the requests
    /// before it. If a device is as fast with fewer, as a SATA disk is with 32, misses are shorter with fewer. Any number counts as
    /// at least 1, and at most as one less than three quarters of the queue depth. Of the worker threads, which are few, three
    /// quarters may read ahead, whatever is set here. Example: [`Builder`].
    pub fn background_depth(mut self, requests: u32) -> Self {
        self.config.background_depth = requests;
        self
    }

    /// Sets whether a thread writes dirty pages before their frames are needed. Default: one does in pools of at least 256 frames. In a
    /// smaller pool, a thread or task that needs a frame and finds only dirty pages has some of them written, and waits for that.
    /// Example: [`Builder`].
    pub fn background_writer(mut self, writer: BackgroundWriter) -> Self {
        self.config.background_writer = writer;
        self
    }

    /// Sets where all files of the pool are kept, the area against [torn pages](Self::torn_pages) included. Default: the system's
    /// files ([`LocalFiles`]). The storages of `testing` are disks that an engine's tests can make fail. Example: [`Storage`].
    pub fn storage(mut self, storage: impl Storage) -> Self {
        self.storage = Some(Box::new(Contained::new(storage)));
        self
    }

    /// Checks the options, takes all memory (it is faulted in here, which takes a while for large pools), and starts the I/O
    /// method. Example: [`Builder`].
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) that names the option that cannot work, and a value that would.
    /// [`Error::File`](crate::Error::File) if the area against [torn pages](Self::torn_pages) cannot be used,
    /// [`Error::AreaDamaged`](crate::Error::AreaDamaged) if it is damaged.
    pub fn build(self) -> Result<BufferPool> {
        let slow_io = self.slow_io;
        let name = self.name.clone().unwrap_or_else(next_name);
        let (config, storage) = self.into_config()?;
        let is_local = storage.is_none();
        let storage = storage.unwrap_or_else(|| Box::new(LocalFiles));
        let counters = Arc::new(Counters::of_pool(name, slow_io));
        let open_area = |area| {
            let (page_size, largest_batch) = (config.page_size, write_out::largest_batch(&config));
            DoubleWrite::open(&*storage, area, page_size, largest_batch, config.codec.is_some(), &counters)
        };
        let doublewrite = config.torn_pages.area().map(open_area).transpose()?;
        let size = Size::new(config.frames, config.frames_at_most);
        let mut frames = Frames::new(size, config.page_size, config.copies(), Arc::clone(&counters))?;
        let ready = config.background_writer.marks(config.frames_at_most).map_or(0, |marks| marks.high);
        frames.clean_list = CleanList::new(ready);
        frames.unlogged_rule = config.wal.as_ref().map(|_| config.unlogged_changes);
        frames.page_lsn = config.page_lsn;
        let pool = Arc::new(Residency::new(frames)?);
        let chunks: Vec<_> =
            (0..pool.arena.chunk_count()).map(|number| resize::chunk_at_present(&pool, number)).collect();
        let (mut method, method_report) =
            choice::open_method(&config.io_method, &chunks, &config.scheduling(), &counters)?;
        if !is_local {
            // The system's files are all for the method: they do not pay for a second queue.
            let beside = WithAsynchronousFiles::new(method, &config.scheduling(), Arc::clone(&counters));
            method = Arc::new(beside);
        }
        tell_of_opening(&counters.pool, &config, &method_report);
        let end = Arc::new(PoolEnd::default());
        let files = FileTable::new(Arc::clone(&pool.file_paths));
        Ok(BufferPool::new(Shared {
            method,
            pool,
            files,
            removals: Removals::default(),
            storage,
            doublewrite,
            jobs: Arc::new(JobPool::new(Arc::clone(&end))),
            operations: Arc::new(PageOperations::new(config.page_size, Arc::clone(&counters))),
            counters,
            config,
            method_report,
            checkpoints: Turns::default(),
            resizes: Turns::default(),
            end,
        }))
    }

    fn into_config(self) -> Result<(Config, Option<Box<dyn Storage>>)> {
        let page_size = self.page_size?;
        let frames = self.size.frames(["frames", "memory_bytes"], page_size)?;
        let frames = frames.unwrap_or((Self::MEMORY / page_size.bytes()) as u32);
        let most = self.at_most.frames(["frames_at_most", "memory_bytes_at_most"], page_size)?;
        let frames_at_most = most.unwrap_or(frames);
        if self.combine_limit_bytes > COMBINE_LIMIT_MAX {
            let advice = format!("choose at most {COMBINE_LIMIT_MAX} bytes");
            return Err(ConfigError::new("combine_limit_bytes", self.combine_limit_bytes, advice).into());
        }
        let combine_pages = (self.combine_limit_bytes / page_size.bytes()).max(1);
        let config = Config { frames, frames_at_most, page_size, combine_pages, ..self.config };
        config.validate()?;
        Ok((config, self.storage))
    }
}

fn tell_of_opening(pool: &str, config: &Config, report: &MethodReport) {
    let MethodReport { in_use, reason, fixed_buffers, fixed_files, .. } = report;
    let page_size = config.page_size.bytes() as u32;
    events::pool_opened(pool, config.frames, page_size, in_use, fixed_buffers, fixed_files);
    if let Some(reason) = reason {
        events::method_fell_back(pool, in_use, reason);
    }
    for (what, registration) in [("frames", fixed_buffers), ("files", fixed_files)] {
        if let Registration::Refused(reason) = registration {
            events::not_registered(pool, what, reason);
        }
    }
}

fn next_name() -> Arc<str> {
    static BUILT: AtomicU64 = AtomicU64::new(0);
    (BUILT.fetch_add(1, Ordering::Relaxed) + 1).to_string().into()
}
