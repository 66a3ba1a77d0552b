//! Prefetch: many reads started as one batch, and none waited for.
//!
//! What is not resident gets a clean frame and joins a request with its neighbours; requests go to the method together.
//! What has no clean frame, no place in look-ahead's share of the frames, or no room in the method's queue is declined: it
//! will be read when it is fetched.

use crate::{
    id::{BlockNo, FileId, PageId},
    io::{file::File, request::Request},
    lease::{PageLease, ReadLease},
    pool::{frame_pool::DirtyVictims, handle::Claimed},
    read::{
        fetch::{begin_read, read_request},
        supply::write_victims,
    },
    shared::Shared,
    stats::Counter,
    sync::Arc,
};

/// Requests that are handed over together.
const BATCH: usize = 32;

/// What became of the blocks that were to be prefetched.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prefetch {
    /// Reads of so many blocks were started.
    pub started: u32,
    /// So many were in the pool or on their way.
    pub already: u32,
    /// So many could not be started without waiting, or do not exist: no file, or behind its end.
    pub declined: u32,
}

pub(crate) fn prefetch(shared: &Shared, id: FileId, blocks: impl IntoIterator<Item = BlockNo>) -> Prefetch {
    let file = shared.check_open().and_then(|()| shared.files.open_file(id));
    let mut outcome = Prefetch::default();
    let mut blocks = blocks.into_iter();
    if let Ok(file) = file {
        let mut prefetcher = Prefetcher::new(shared, file);
        for block in blocks.by_ref() {
            match prefetcher.start(PageId { file: id, block }) {
                Start::Started => outcome.started += 1,
                Start::Already => outcome.already += 1,
                Start::Declined => outcome.declined += 1,
                Start::NoRoom => {
                    outcome.declined += 1;
                    break;
                }
            }
        }
        prefetcher.submit();
    }
    outcome.declined += blocks.count() as u32;
    shared.counters.add(Counter::Prefetches, u64::from(outcome.started));
    outcome
}

enum Start {
    Started,
    Already,
    /// Not this block.
    Declined,
    /// Neither this block nor any that follows.
    NoRoom,
}

struct Prefetcher<'a> {
    shared: &'a Shared,
    file: Arc<File>,
    /// Requests that the method's queue can take beside those in `batch`.
    room: usize,
    batch: Vec<Request<PageLease>>,
    /// The request that is growing.
    growing: Option<ReadLease>,
}

impl<'a> Prefetcher<'a> {
    fn new(shared: &'a Shared, file: Arc<File>) -> Self {
        Self { shared, file, room: shared.method.room(), batch: Vec::with_capacity(BATCH), growing: None }
    }

    fn start(&mut self, page: PageId) -> Start {
        if self.shared.pool.is_mapped(page) {
            return Start::Already;
        }
        if self.file.check(page.block).is_err() {
            return Start::Declined;
        }
        let joins = self.growing.as_ref().is_some_and(|lease| {
            lease.last().is_followed_by(page) && lease.pages() < self.shared.config.combine_pages
        });
        if !joins && !self.begin_request() {
            return Start::NoRoom;
        }
        let look_ahead = &self.shared.pool.look_ahead;
        if !look_ahead.try_take() {
            return Start::NoRoom;
        }
        let Some(claimed) = self.claim() else {
            look_ahead.give_back(1);
            return Start::NoRoom;
        };
        match self.shared.pool.map(claimed, page, self.file.read_only) {
            Ok(pin) => match begin_read(self.shared, &self.file, pin) {
                Ok(lease) => {
                    self.grow(lease.into_ahead());
                    Start::Started
                }
                Err(_) => {
                    look_ahead.give_back(1);
                    Start::Declined
                }
            },
            Err(_) => {
                look_ahead.give_back(1);
                Start::Already
            }
        }
    }

    /// Ends the growing request, so that another can begin. False where the queue has no room for it.
    fn begin_request(&mut self) -> bool {
        self.seal();
        if self.batch.len() == BATCH {
            self.submit();
        }
        self.batch.len() < self.room
    }

    fn grow(&mut self, lease: ReadLease) {
        match &mut self.growing {
            Some(growing) => growing.append(lease),
            None => self.growing = Some(lease),
        }
    }

    fn seal(&mut self) {
        if let Some(lease) = self.growing.take() {
            self.batch.push(read_request(self.shared, Arc::clone(&self.file), lease));
        }
    }

    /// A clean frame. Where only dirty ones are to be had, their write-out is started, and those that are through at once
    /// are tried.
    fn claim(&mut self) -> Option<Claimed<'a>> {
        let pool = &self.shared.pool;
        let mut dirty = DirtyVictims::new();
        pool.claim_victim(&mut dirty).or_else(|| {
            if dirty.is_empty() {
                return None;
            }
            // The log may have to be flushed first: do not keep the reads waiting.
            self.submit();
            write_victims(self.shared, &dirty);
            dirty.iter().find_map(|&no| pool.claim(no))
        })
    }

    fn submit(&mut self) {
        self.seal();
        self.room = self.room.saturating_sub(self.batch.len());
        if !self.batch.is_empty() {
            self.shared.method.submit(&mut self.batch);
        }
    }
}
