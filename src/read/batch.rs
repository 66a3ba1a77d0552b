//! Starting many reads: a frame for each page, neighbours in one request, and all of it handed over together.
//!
//! Nothing here waits: what has no clean frame, or no room in the method's queue, is refused and can be asked for again. The
//! order in which pages are asked for does not matter to how they are combined: a batch is sorted before it is cut into
//! requests, so that a descending or strided walk becomes ascending requests into scattered frames.

use crate::{
    buffer::{
        frame::pin::{ClaimedFrame, Pin},
        pool::{Mapped, NotMapped},
        supply::{DirtyVictims, Search},
    },
    id::PageId,
    io::{file::File, operation::Urgency},
    observe::Counter,
    read::{buffer_ring::BufferRing, frame_wait::have_victims_written},
    runtime::{
        operation::{
            PageOperation,
            read::{self, ReadMode},
        },
        shared::Shared,
    },
    sync::{Arc, time},
};

/// Requests that are handed over together.
const BATCH: usize = 32;

/// Memory for one batch, to be used again for the next.
#[derive(Default)]
pub(super) struct BatchMemory {
    /// Reads that have begun, in the order in which their pages came.
    begun: Vec<PageOperation>,
    /// The same in the order of the file, neighbours as one.
    sorted: Vec<PageOperation>,
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
    /// What the operation that was begun last covers.
    run: Option<PageRun>,
}

/// Pages in a row.
#[derive(Copy, Clone, Debug)]
struct PageRun {
    first: PageId,
    last: PageId,
    pages: usize,
}

impl PageRun {
    /// The same with one page more, if that is a neighbour.
    fn with(self, page: PageId) -> Option<Self> {
        let pages = self.pages + 1;
        if self.last.is_followed_by(page) {
            Some(Self { last: page, pages, ..self })
        } else {
            page.is_followed_by(self.first).then_some(Self { first: page, pages, ..self })
        }
    }
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
        Self { shared, file, purpose, batch, ring: None, combine, room, run: None }
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
        let extended = self.extended_run(page);
        let begun = match self.batch.begun.last_mut().filter(|_| extended.is_some()) {
            Some(operation) => read::add(operation, reading),
            None => read::begin(&self.shared.operations, &self.file, reading, self.mode())
                .map(|operation| self.batch.begun.push(operation)),
        };
        if begun.is_err() {
            return Start::Impossible;
        }
        self.run = extended.or(Some(PageRun { first: page, last: page, pages: 1 }));
        Start::Begun(own)
    }

    fn mode(&self) -> ReadMode {
        let urgency = match self.purpose {
            Purpose::Demand => Urgency::Demand,
            Purpose::Ahead => Urgency::Background,
        };
        ReadMode { urgency, most: self.combine, to_verify: self.shared.config.codec.is_some() }
    }

    /// What the last operation covers with this page, if it has room for it.
    fn extended_run(&self, page: PageId) -> Option<PageRun> {
        self.run.filter(|run| run.pages < self.combine)?.with(page)
    }

    /// Sees to it that the queue takes the request of this page; false where it does not.
    fn make_room(&mut self, page: PageId) -> bool {
        if self.extended_run(page).is_some() {
            return true;
        }
        if self.batch.begun.len() == BATCH {
            self.submit();
        }
        self.batch.begun.len() < self.room
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
        let search = match self.purpose {
            Purpose::Demand => Search::Demand,
            Purpose::Ahead => Search::Ahead,
        };
        let claimed = pool.take_frame(search, &mut dirty).or_else(|| {
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
        let BatchMemory { begun, sorted } = &mut *self.batch;
        if begun.is_empty() {
            return;
        }
        if !begun.is_sorted_by_key(|operation| operation.offset) {
            begun.sort_unstable_by_key(|operation| operation.offset);
        }
        for next in begun.drain(..) {
            match sorted.last_mut() {
                Some(last) if last.end() == next.offset && last.can_join(&next) => last.absorb(next),
                _ => sorted.push(next),
            }
        }
        let now = time::now();
        sorted.iter_mut().for_each(|operation| operation.list(now));
        self.shared.counters.add(Counter::ReadRequests, sorted.len() as u64);
        self.room = self.room.saturating_sub(sorted.len());
        self.run = None;
        self.shared.method.submit(sorted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BufferPool, Error, IoMethod, OpenOptions, Result, testing::SimDisk};

    /// A miss, up to where the page has its frame and nothing has looked at the file since.
    fn mapped(between: impl FnOnce(&File)) -> (BufferPool, PageId, Result<PageOperation>) {
        let disk = SimDisk::new();
        disk.put("data", [1; 4096]);
        let builder = BufferPool::builder().frames(2).page_size(4096).io_method(IoMethod::Sync);
        let pool = builder.disk(disk).build().unwrap();
        let page = PageId::new(pool.open_file("data", OpenOptions::new()).unwrap(), 0);
        let shared = pool.shared();
        let file = shared.files.open_file(page.file).unwrap();
        let claimed = shared.pool.take_clean().unwrap();
        let Mapped { reading, .. } = shared.pool.map(claimed, page, false).unwrap();
        between(&file);
        let mode = ReadMode { urgency: Urgency::Demand, most: 1, to_verify: false };
        let begun = read::begin(&shared.operations, &file, reading, mode);
        (pool, page, begun)
    }

    fn nothing_is_left(pool: &BufferPool, page: PageId) -> bool {
        let frames = pool.stats().frames;
        !pool.shared().pool.is_mapped(page) && frames.pins == 0 && frames.reading == 0
    }

    #[test]
    fn a_file_that_was_cut_between_mapping_and_reading_is_not_read() {
        let (pool, page, begun) = mapped(|file| file.set_blocks(0));
        assert!(matches!(begun, Err(Error::PastEof { blocks: 0, .. })));
        assert!(nothing_is_left(&pool, page));
    }

    #[test]
    fn a_file_that_was_closed_between_mapping_and_reading_is_not_read() {
        let (pool, page, begun) = mapped(|file| file.begin_closing().keep());
        assert!(matches!(begun, Err(Error::NotOpen { .. })));
        assert!(nothing_is_left(&pool, page));
    }

    #[test]
    fn c5_a_read_that_is_dropped_has_ended() {
        let (pool, page, begun) = mapped(|_| {});
        drop(begun.unwrap());
        assert!(nothing_is_left(&pool, page));
    }
}
