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
        supply::have_victims_written,
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
    let mut prefetcher = file.ok().map(|file| Prefetcher::new(shared, file));
    let mut outcome = Prefetch::default();
    for block in blocks {
        let page = PageId { file: id, block };
        match prefetcher.as_mut().map(|prefetcher| prefetcher.start(page)) {
            Some(Start::Started) => outcome.started += 1,
            Some(Start::Already) => outcome.already += 1,
            Some(Start::Declined) | None => outcome.declined += 1,
        }
    }
    if let Some(mut prefetcher) = prefetcher {
        prefetcher.submit();
    }
    shared.counters.add(Counter::Prefetches, u64::from(outcome.started));
    outcome
}

enum Start {
    Started,
    Already,
    Declined,
}

struct Prefetcher<'a> {
    shared: &'a Shared,
    file: Arc<File>,
    /// Requests that the method's queue can take beside those in `batch`.
    room: usize,
    /// There was no place for a page once; it is not looked for again.
    full: bool,
    batch: Vec<Request<PageLease>>,
    /// The request that is growing.
    growing: Option<ReadLease>,
}

impl<'a> Prefetcher<'a> {
    fn new(shared: &'a Shared, file: Arc<File>) -> Self {
        Self {
            shared,
            file,
            room: shared.method.room(),
            full: false,
            batch: Vec::with_capacity(BATCH),
            growing: None,
        }
    }

    fn start(&mut self, page: PageId) -> Start {
        if self.shared.pool.is_mapped(page) {
            return Start::Already;
        }
        if self.file.check(page.block).is_err() {
            return Start::Declined;
        }
        match self.claim_place(page) {
            Some(claimed) => self.read(claimed, page),
            None => {
                self.full = true;
                Start::Declined
            }
        }
    }

    /// A frame, with a place in look-ahead's share and in a request.
    fn claim_place(&mut self, page: PageId) -> Option<Claimed<'a>> {
        let joins = self.growing.as_ref().is_some_and(|lease| {
            lease.last().is_followed_by(page) && lease.pages() < self.shared.config.combine_pages
        });
        let look_ahead = &self.shared.pool.look_ahead;
        if self.full || !(joins || self.begin_request()) || !look_ahead.try_take() {
            return None;
        }
        let claimed = self.claim();
        if claimed.is_none() {
            look_ahead.give_back(1);
        }
        claimed
    }

    /// Maps the page to the frame and adds it to the growing request.
    fn read(&mut self, claimed: Claimed<'a>, page: PageId) -> Start {
        let mapped = self.shared.pool.map(claimed, page, self.file.read_only);
        let outcome = match mapped.map(|pin| begin_read(self.shared, &self.file, pin)) {
            Ok(Ok(lease)) => {
                self.grow(lease.into_ahead());
                return Start::Started;
            }
            Ok(Err(_)) => Start::Declined,
            Err(_) => Start::Already,
        };
        self.shared.pool.look_ahead.give_back(1);
        outcome
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
            have_victims_written(self.shared, &dirty);
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
