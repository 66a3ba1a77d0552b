//! Starting many reads: a frame for each page, neighbours in one request, and all of it handed over together.
//!
//! Nothing here waits: what has no clean frame, or no room in the method's queue, is refused and can be asked for again. The
//! order in which pages are asked for does not matter to how they are combined: a batch is sorted before it is cut into
//! requests, so that a descending or strided walk becomes ascending requests into scattered frames.

use crate::{
    buffer::{
        frame::pin::{ClaimedFrame, Pin},
        pool::{Mapped, NotMapped},
        supply::{buffer_ring::BufferRing, victims::DirtyVictims},
    },
    error::Result,
    id::PageId,
    io::{buffers::Direction, file::File, request::Request},
    observe::Counter,
    read::frame_wait::have_victims_written,
    runtime::{
        lease::{PageLease, ReadLease},
        shared::Shared,
    },
    sync::{
        Arc,
        atomic::{Ordering, fence},
        time::{self, Instant},
    },
};

/// Requests that are handed over together.
const BATCH: usize = 32;

/// Memory for one batch, to be used again for the next.
#[derive(Default)]
pub(super) struct BatchMemory {
    /// Pages whose reads have begun, each by itself.
    leases: Vec<ReadLease>,
    requests: Vec<Request<PageLease>>,
}

/// For whom pages are read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody waits for them.
    Demand,
    /// For a use to come.
    Ahead,
}

/// What became of a page that was to be read.
pub(super) enum Start {
    /// Its read has begun, and is handed over with the rest of the batch.
    Begun(Pin),
    /// It has a frame already, perhaps one that is being read.
    Met(Pin),
    /// It cannot be read: there is no such page any more, or it has too many pins. A fetch will say what it is.
    Impossible,
    /// There is no clean frame, or no room in the method's queue, for now.
    Refused,
}

/// Starts reads of pages of one file. What was begun is handed over by [`submit`](Self::submit).
pub(super) struct Issuer<'a> {
    shared: &'a Shared,
    file: Arc<File>,
    purpose: Purpose,
    batch: &'a mut BatchMemory,
    /// Where frames come from first.
    ring: Option<&'a mut BufferRing>,
    /// The most pages of a request.
    combine: usize,
    /// Requests that the method's queue takes, those of the batch included.
    room: usize,
    /// The requests that the batch will be at the most.
    requests: usize,
    /// The page that was begun last, and how many before it are its neighbours in a row.
    run: Option<(PageId, usize)>,
}

impl<'a> Issuer<'a> {
    /// Requests are as long as the pool combines.
    pub(super) fn new(
        shared: &'a Shared,
        file: Arc<File>,
        purpose: Purpose,
        batch: &'a mut BatchMemory,
    ) -> Self {
        let (combine, room) = (shared.config.combine_pages, shared.method.room(&file));
        Self { shared, file, purpose, batch, ring: None, combine, room, requests: 0, run: None }
    }

    /// With requests of so many pages at the most, and frames from this ring first.
    pub(super) fn with(self, combine: usize, ring: Option<&'a mut BufferRing>) -> Self {
        Self { combine, ring, ..self }
    }

    /// Begins to read a page that was not found in the pool.
    pub(super) fn start(&mut self, page: PageId) -> Start {
        if self.file.check(page.block).is_err() {
            return Start::Impossible;
        }
        let Some(claimed) = self.make_room(page).then(|| self.claim()).flatten() else {
            return Start::Refused;
        };
        match self.shared.pool.map(claimed, page, self.file.read_only) {
            Ok(mapped) => self.begin(page, mapped),
            Err(NotMapped::Met(pin)) => Start::Met(pin),
            Err(NotMapped::TooManyPins | NotMapped::Seized) => Start::Impossible,
            Err(NotMapped::NoRoom) => Start::Refused,
        }
    }

    fn begin(&mut self, page: PageId, Mapped { reading, own }: Mapped) -> Start {
        if self.ring.is_none() {
            self.shared.pool.count_return(&own);
        }
        let Ok(lease) = begin_read(self.shared, &self.file, reading) else { return Start::Impossible };
        let lease = lease.with_limit(self.combine);
        let ahead = self.purpose == Purpose::Ahead;
        self.batch.leases.push(if ahead { lease.into_ahead() } else { lease });
        self.run = match self.run {
            Some((_, pages)) if self.extends_run(page) => Some((page, pages + 1)),
            _ => {
                self.requests += 1;
                Some((page, 1))
            }
        };
        Start::Begun(own)
    }

    /// Whether the page costs no request of its own.
    fn extends_run(&self, page: PageId) -> bool {
        self.run.is_some_and(|(last, pages)| {
            pages < self.combine && (last.is_followed_by(page) || page.is_followed_by(last))
        })
    }

    /// Sees to it that the queue takes the request of this page; false where it does not.
    fn make_room(&mut self, page: PageId) -> bool {
        if self.extends_run(page) {
            return true;
        }
        if self.requests == BATCH {
            self.submit();
        }
        self.requests < self.room
    }

    /// A clean frame. Where only dirty ones are to be had, their write-out is started, and those that are through at once
    /// are tried.
    fn claim(&mut self) -> Option<ClaimedFrame<'a>> {
        let shared = self.shared;
        let pool = &shared.pool;
        if let Some(claimed) = self.ring.as_mut().and_then(|ring| ring.claim(pool)) {
            return Some(claimed);
        }
        let mut dirty = DirtyVictims::new();
        let victim = match self.purpose {
            Purpose::Demand => pool.claim_victim(&mut dirty),
            Purpose::Ahead => pool.claim_victim_ahead(&mut dirty),
        };
        let claimed = victim.or_else(|| {
            if dirty.is_empty() {
                return None;
            }
            // The log may have to be flushed first: do not keep the reads waiting.
            self.submit();
            have_victims_written(shared, &dirty);
            dirty.iter().find_map(|&no| pool.claim(no))
        });
        if let (Some(ring), Some(claimed)) = (&mut self.ring, &claimed) {
            ring.keep(claimed.frame_no());
        }
        claimed
    }

    /// Hands over what was begun.
    pub(super) fn submit(&mut self) {
        let BatchMemory { leases, requests } = &mut *self.batch;
        if leases.is_empty() {
            return;
        }
        leases.sort_unstable_by_key(ReadLease::first);
        let now = time::now();
        let mut rest = leases.drain(..);
        let mut growing = rest.next();
        while let Some(mut lease) = growing {
            growing = rest.next();
            let follows = |lease: &ReadLease, next: &ReadLease| {
                lease.last().is_followed_by(next.first()) && lease.can_append(next)
            };
            while let Some(next) = growing.take_if(|next| follows(&lease, next)) {
                lease.append(next);
                growing = rest.next();
            }
            requests.push(read_request(self.shared, now, Arc::clone(&self.file), lease));
        }
        drop(rest);
        self.room = self.room.saturating_sub(requests.len());
        (self.requests, self.run) = (0, None);
        self.shared.method.submit(requests);
    }
}

/// The lease for a page that was just mapped, unless its block or its file went away meanwhile.
///
/// A truncation publishes the new end and then [looks for frames](crate::files::drop_pages::vacate_file), a close publishes that the file is
/// closed and then looks for frames; here the frame is mapped first and then the file looked at. The fences make one of the two
/// see the other.
pub(super) fn begin_read(shared: &Shared, file: &File, pin: Pin) -> Result<ReadLease> {
    let page = pin.frame().page();
    let lease = ReadLease::new(pin, shared.config.codec.is_some());
    fence(Ordering::SeqCst);
    match file.check_open(page.block) {
        Ok(()) => Ok(lease),
        Err(error) => {
            lease.abort(&error);
            Err(error)
        }
    }
}

/// The request that fills the lease, made at `since`.
pub(super) fn read_request(
    shared: &Shared,
    since: Instant,
    file: Arc<File>,
    lease: ReadLease,
) -> Request<PageLease> {
    shared.counters.add(Counter::ReadRequests, 1);
    let offset = shared.config.page_size.offset_of(lease.first().block);
    Request::new(&shared.in_flight, since, Direction::Read, file, offset, PageLease::Read(lease))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BufferPool, Error, IoMethod, OpenOptions, testing::SimDisk};

    /// A miss, up to where the page has its frame and nothing has looked at the file since.
    fn mapped(between: impl FnOnce(&File)) -> (BufferPool, PageId, Result<ReadLease>) {
        let disk = SimDisk::new();
        disk.put("data", [1; 4096]);
        let builder = BufferPool::builder().frames(2).page_size(4096).io_method(IoMethod::Sync);
        let pool = builder.disk(disk).build().unwrap();
        let page = PageId::new(pool.open_file("data", OpenOptions::new()).unwrap(), 0);
        let shared = pool.shared();
        let file = shared.files.open_file(page.file).unwrap();
        let claimed = shared.pool.claim_victim(&mut DirtyVictims::new()).unwrap();
        let Mapped { reading, .. } = shared.pool.map(claimed, page, false).unwrap();
        between(&file);
        let lease = begin_read(shared, &file, reading);
        (pool, page, lease)
    }

    fn nothing_is_left(pool: &BufferPool, page: PageId) -> bool {
        let frames = pool.stats().frames;
        !pool.shared().pool.is_mapped(page) && frames.pins == 0 && frames.reading == 0
    }

    #[test]
    fn a_file_that_was_cut_between_mapping_and_reading_is_not_read() {
        let (pool, page, lease) = mapped(|file| file.set_blocks(0));
        assert!(matches!(lease, Err(Error::PastEof { blocks: 0, .. })));
        assert!(nothing_is_left(&pool, page));
    }

    #[test]
    fn a_file_that_was_closed_between_mapping_and_reading_is_not_read() {
        let (pool, page, lease) = mapped(|file| file.begin_closing().keep());
        assert!(matches!(lease, Err(Error::NotOpen { .. })));
        assert!(nothing_is_left(&pool, page));
    }

    #[test]
    fn c5_a_lease_that_is_dropped_ends_the_read() {
        let (pool, page, lease) = mapped(|_| {});
        drop(lease.unwrap());
        assert!(nothing_is_left(&pool, page));
    }
}
