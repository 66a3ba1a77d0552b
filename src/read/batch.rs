//! Starting many reads: a frame for each page, neighbours in one request, and all requests handed over together.
//!
//! Pages of several files go into one batch, file by file. Nothing here waits: a page that finds no clean frame, or no room in the
//! method's queue, is refused and can be asked for again. A batch is sorted before it is cut into requests, so a descending or
//! strided walk becomes ascending requests into scattered frames.

use std::mem;

use crate::{
    buffer::{
        frame::pin::Pin,
        page_table::in_one_cluster,
        residency::{ClaimedFrames, Mapped, NotMapped},
        supply::{DirtyVictims, Search},
    },
    id::{FileId, PageId},
    io::{file::File, operation::Urgency},
    observe::Counter,
    read::{buffer_ring::BufferRing, frame_wait::have_victims_written},
    runtime::{
        operation::{
            PageOperation,
            read::{self, MappedBefore, ReadMode},
        },
        shared::Shared,
    },
    sync::Arc,
};

/// Requests that are handed over together, about.
const BATCH: usize = 32;

/// Memory for one batch, reused for the next.
#[derive(Default)]
pub(super) struct BatchMemory {
    /// Reads that have begun, in the order in which their pages came.
    begun: Vec<PageOperation>,
    /// The same reads in the order of the file, neighbours as one.
    sorted: Vec<PageOperation>,
    /// Pages of a cluster that were mapped just now.
    mapped: Vec<Result<Mapped, NotMapped>>,
}

/// The outcome for a page that was to be read.
pub(super) enum Start {
    /// Its read has begun, and is handed over with the rest of the batch.
    Begun(Pin),
    /// It has a frame already, perhaps one that is being read.
    Met(Pin),
    /// It cannot be read: the page does not exist any more, it has too many pins, or no place in the table. A fetch of it returns
    /// which.
    Impossible,
    /// There is no clean frame, or no room in the method's queue, for now.
    Refused,
}

/// Starts reads of pages. [`submit`](Self::submit) hands over those that were begun.
pub(super) struct Issuer<'a> {
    shared: &'a Shared,
    /// The file of the pages that are being started, and of those last begun.
    file: Option<Arc<File>>,
    urgency: Urgency,
    batch: &'a mut BatchMemory,
    /// Where frames are taken from first.
    ring: Option<&'a mut BufferRing>,
    /// The most pages of a request.
    combine: usize,
    /// The same for the file in hand: more, where its storage likes that.
    most: usize,
    /// Requests that the method's queue takes, those of the batch included.
    room: usize,
    /// The pages of the operation that was begun last.
    run: Option<PageRun>,
    /// Frames for the next pages.
    claimed: ClaimedFrames<'a>,
}

/// Pages in a row.
#[derive(Copy, Clone, Debug)]
struct PageRun {
    first: PageId,
    last: PageId,
    pages: usize,
}

impl PageRun {
    fn of(page: PageId) -> Self {
        Self { first: page, last: page, pages: 1 }
    }

    /// Returns the run with one page more, if that page is a neighbour and the run then has at most `most` pages.
    fn with(self, page: PageId, most: usize) -> Option<Self> {
        let pages = self.pages + 1;
        if pages > most {
            None
        } else if self.last.is_followed_by(page) {
            Some(Self { last: page, pages, ..self })
        } else {
            page.is_followed_by(self.first).then_some(Self { first: page, pages, ..self })
        }
    }
}

impl<'a> Issuer<'a> {
    /// Makes an issuer whose requests are as long as the pool's combine limit.
    pub(super) fn new(shared: &'a Shared, urgency: Urgency, batch: &'a mut BatchMemory) -> Self {
        Self::with(shared, urgency, batch, shared.config.combine_pages, None)
    }

    /// Makes an issuer whose requests have `combine` pages at the most, and which takes frames of the ring first.
    pub(super) fn with(
        shared: &'a Shared,
        urgency: Urgency,
        batch: &'a mut BatchMemory,
        combine: usize,
        ring: Option<&'a mut BufferRing>,
    ) -> Self {
        let claimed = ClaimedFrames::new();
        Self { shared, file: None, urgency, batch, ring, combine, most: combine, room: 0, run: None, claimed }
    }

    /// Begins to read pages of one file that were not found in the pool, and calls `started` with the outcome for one after the
    /// other. It stops after one that is refused.
    pub(super) fn start_each(&mut self, pages: &[PageId], mut started: impl FnMut(Start)) {
        let Some(first) = pages.first() else { return };
        self.turn_to(first.file);
        // Taken out, since the rest needs the issuer as a whole. After a panic the file is only looked up again.
        let Some(file) = self.file.take() else {
            pages.iter().for_each(|_| started(Start::Impossible));
            return;
        };
        let is_ahead = self.urgency == Urgency::Background;
        let most = if is_ahead { usize::MAX } else { self.shared.demand_reads_left(&file, pages.len()) };
        let mut rest = &pages[..self.fitting(pages).min(most)];
        let mut refused = rest.len() < pages.len();
        while let Some(first) = rest.first() {
            let exists = |page: PageId| file.has(page.block);
            let tried = if exists(*first) {
                let together = in_one_cluster(rest.iter().copied().take_while(|&page| exists(page)));
                self.start_together(&file, &rest[..together], rest.len(), &mut started)
            } else {
                started(Start::Impossible);
                1
            };
            if tried == 0 {
                refused = true;
                break;
            }
            rest = &rest[tried..];
        }
        if refused {
            started(Start::Refused);
        }
        self.file = Some(file);
    }

    /// Looks up the file of the next pages, and keeps it if it is open.
    fn turn_to(&mut self, id: FileId) {
        if self.file.as_ref().is_some_and(|file| file.id == id) {
            return;
        }
        self.run = None;
        self.file = self.shared.check_open().and_then(|()| self.shared.files.open_file(id)).ok();
        self.room = self.file.as_ref().map_or(0, |file| self.shared.method.room(file));
        self.most = self.combine.max(self.file.as_ref().map_or(0, |file| file.best_pages));
    }

    /// Begins to read pages of one cluster, as far as there are frames. It claims as many frames as are `wanted` from here on.
    /// Returns the number of pages that were tried.
    fn start_together(
        &mut self,
        file: &Arc<File>,
        pages: &[PageId],
        wanted: usize,
        started: &mut impl FnMut(Start),
    ) -> usize {
        if self.claimed.is_empty() {
            self.claim(wanted);
        }
        let mut mapped = mem::take(&mut self.batch.mapped);
        self.shared.pool.map_each(&mut self.claimed, pages, file.read_only, &mut mapped);
        let before = MappedBefore::now();
        let tried = mapped.len();
        for (&page, mapped) in pages.iter().zip(mapped.drain(..)) {
            started(match mapped {
                Ok(mapped) => self.begin(file, page, mapped, before),
                Err(NotMapped::Met(pin)) => Start::Met(pin),
                Err(NotMapped::TooManyPins | NotMapped::Seized | NotMapped::NoRoom) => Start::Impossible,
            });
        }
        self.batch.mapped = mapped;
        // Not before all pages that were mapped belong to an operation: after a panic a page that belongs to none would be read for
        // ever.
        if self.batch.begun.len() >= BATCH {
            self.submit();
        }
        tried
    }

    fn begin(
        &mut self,
        file: &Arc<File>,
        page: PageId,
        Mapped { reading, own }: Mapped,
        before: MappedBefore,
    ) -> Start {
        let extended = self.run.and_then(|run| run.with(page, self.most));
        let begun = match self.batch.begun.last_mut().filter(|_| extended.is_some()) {
            Some(operation) => read::add(operation, reading, before),
            None => {
                let mode = ReadMode { urgency: self.urgency, most: self.most };
                read::begin(&self.shared.operations, &self.shared.pool, file, reading, before, mode)
                    .map(|operation| self.batch.begun.push(operation))
            }
        };
        if begun.is_err() {
            return Start::Impossible;
        }
        self.run = extended.or(Some(PageRun::of(page)));
        Start::Begun(own)
    }

    /// Returns the number of these pages, one after the other, for whose operations the method's queue has room.
    fn fitting(&self, pages: &[PageId]) -> usize {
        let (mut run, mut left) = (self.run, self.room.saturating_sub(self.batch.begun.len()));
        let mut fits = |page: PageId| {
            let extended = run.and_then(|run| run.with(page, self.most));
            if extended.is_none() && left == 0 {
                return false;
            }
            left -= usize::from(extended.is_none());
            run = extended.or(Some(PageRun::of(page)));
            true
        };
        pages.iter().take_while(|&&page| fits(page)).count()
    }

    /// Claims clean frames for this number of pages, or for fewer. If there are only dirty ones, it starts their write-out, and
    /// tries those whose write has ended at once.
    fn claim(&mut self, wanted: usize) {
        let (shared, claimed) = (self.shared, &mut self.claimed);
        let pool = &shared.pool;
        if let Some(ring) = &mut self.ring {
            ring.claim(pool, wanted, claimed);
            if !claimed.is_empty() {
                return;
            }
        }
        let mut dirty = DirtyVictims::new();
        let search = if self.urgency == Urgency::Background { Search::Ahead } else { Search::Demand };
        let wanted = self.ring.as_ref().map_or(wanted, |ring| wanted.min(ring.vacancies()));
        pool.take_frames(wanted, search, &mut dirty, claimed);
        if claimed.is_empty() && !dirty.is_empty() {
            // The log may have to be flushed first: the reads must not wait for that.
            self.submit();
            have_victims_written(self.shared, &dirty);
            if let Some(frame) = pool.take_cleaned(&dirty) {
                self.claimed.push(frame);
            }
        }
        if let Some(ring) = &mut self.ring {
            self.claimed.iter().rev().for_each(|claimed| ring.keep(claimed.frame_no()));
        }
    }

    /// Hands over the reads that were begun.
    pub(super) fn submit(&mut self) {
        let BatchMemory { begun, sorted, .. } = &mut *self.batch;
        if begun.is_empty() {
            return;
        }
        let place = |operation: &PageOperation| (operation.file.id, operation.offset);
        if !begun.is_sorted_by_key(place) {
            begun.sort_unstable_by_key(place);
        }
        for next in begun.drain(..) {
            match sorted.last_mut() {
                Some(last) if (last.file.id, last.end()) == place(&next) && last.can_join(&next) => {
                    last.absorb(next);
                }
                _ => sorted.push(next),
            }
        }
        let now = self.shared.operations.now();
        sorted.iter_mut().for_each(|operation| operation.list(now));
        self.shared.counters.add(Counter::ReadRequests, sorted.len() as u64);
        if self.urgency == Urgency::Background {
            for operation in sorted.iter() {
                self.shared.count_for_file(&operation.file, Counter::Prefetches, operation.pages());
            }
        }
        self.room = self.room.saturating_sub(sorted.len());
        self.run = None;
        self.shared.method.submit(sorted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BufferPool, Error, IoMethod, OpenOptions, Result, testing::SimDisk};

    /// Runs a miss up to where the page has its frame, and the file was not looked at since.
    fn mapped(between: impl FnOnce(&File)) -> (BufferPool, PageId, Result<PageOperation>) {
        let disk = SimDisk::new();
        disk.put("data", [1; 4096]);
        let builder = BufferPool::builder().frames(2).page_size(4096).io_method(IoMethod::Sync);
        let pool = builder.storage(disk).build().unwrap();
        let page = PageId::new(pool.open_file("data", OpenOptions::new()).unwrap(), 0);
        let shared = pool.shared();
        let file = shared.files.open_file(page.file).unwrap();
        let claimed = shared.pool.take_clean().unwrap();
        let Mapped { reading, .. } = shared.pool.map(claimed, page, false).unwrap();
        between(&file);
        let mode = ReadMode { urgency: Urgency::Demand, most: 1 };
        let begun = read::begin(&shared.operations, &shared.pool, &file, reading, MappedBefore::now(), mode);
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
