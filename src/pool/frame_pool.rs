//! Residency: which pages are in which frames, and how a frame passes from one page to the next.
//!
//! Puts arena, frame headers, page table, clock and waiters together. Knows nothing of files and I/O: a page is a number,
//! and a read is something that somebody begins and ends. The order of a replacement is what keeps a page from having two
//! frames, and a frame from having two pages:
//!
//! 1. claim the frame (state word; nobody can pin it from here on);
//! 2. unmap its old page (partition lock);
//! 3. name its new page;
//! 4. under the partition's lock: unless the page has got a frame meanwhile, map it and begin the read.
//!
//! Lock order: a partition of the table, then state words; a shard of the waiters, then state words; never both.

use std::hint::black_box;

use smallvec::SmallVec;

use crate::{
    error::Result,
    id::{FrameNo, PageId, PageSize},
    pool::{
        arena::Arena,
        frame::Frame,
        handle::{Claimed, Pin, PoolHandle},
        huge_slice::HugeSlice,
        look_ahead::LookAhead,
        ready::Ready,
        spares::Spares,
        starvation::Starvation,
        state::{MAX_USAGE, Phase, State, Verdict},
        table::{PageTable, Slot},
        waiters::Waiters,
    },
    stats::{Counter, Counters},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Dirty frames that a sweep came by and would have taken, had they been clean.
pub(crate) type DirtyVictims = SmallVec<[FrameNo; DIRTY_VICTIMS_MAX]>;

/// How many of them it collects before it gives up on finding a clean one: a batch worth writing.
pub(crate) const DIRTY_VICTIMS_MAX: usize = 32;

/// Lookups that overlap: as many cache misses as a core has under way.
const LOOKUPS_TOGETHER: usize = 16;

pub(crate) struct FramePool {
    frames: HugeSlice<Frame>,
    table: PageTable,
    hand: AtomicUsize,
    pub(crate) waiters: Waiters,
    pub(crate) starvation: Arc<Starvation>,
    pub(crate) spares: Spares,
    pub(crate) ready: Ready,
    pub(crate) look_ahead: LookAhead,
    pub(crate) counters: Arc<Counters>,
    page_size: PageSize,
    /// Where the first frame's bytes start in the arena; before them lie the spare pages.
    first_frame: usize,
    arena: Arena,
}

/// What the table has for a page.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// The page has a frame, now pinned. It may still be being read.
    Pinned(Pin),
    /// Probably no frame: only [`PoolHandle::map`] knows for certain.
    Absent,
    /// It has a frame that cannot be pinned once more.
    TooManyPins,
}

/// A page that has just got its frame.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// The pin that belongs to the read.
    pub(crate) reading: Pin,
    /// The pin of whoever began it.
    pub(crate) own: Pin,
}

impl FramePool {
    /// Takes all memory: `spare_pages` pages, then `frames` pages.
    pub(crate) fn new(
        frames: u32,
        page_size: PageSize,
        spare_pages: usize,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        assert!(frames > 0);
        let pages = frames as usize + spare_pages;
        Ok(Self {
            arena: Arena::new(pages * page_size.bytes())?,
            frames: HugeSlice::new(frames as usize, Frame::new)?,
            table: PageTable::new(frames as usize)?,
            hand: AtomicUsize::new(0),
            waiters: Waiters::new(),
            starvation: Arc::new(Starvation::new()),
            spares: Spares::new(spare_pages),
            ready: Ready::new(0),
            look_ahead: LookAhead::new(frames),
            counters,
            page_size,
            first_frame: spare_pages * page_size.bytes(),
        })
    }

    /// The same with room for so many frames that are ready to be taken.
    pub(crate) fn with_room_for_ready(self, frames: usize) -> Self {
        Self { ready: Ready::new(frames), ..self }
    }

    #[inline]
    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    pub(super) fn table(&self) -> &PageTable {
        &self.table
    }

    #[inline]
    pub(crate) fn page_size(&self) -> PageSize {
        self.page_size
    }

    #[inline]
    pub(crate) fn frame(&self, no: FrameNo) -> &Frame {
        &self.frames[no.index()]
    }

    /// Every frame with its number.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (FrameNo, &Frame)> {
        self.frames.iter().enumerate().map(|(index, frame)| (FrameNo(index as u32), frame))
    }

    pub(crate) fn frame_count(&self) -> u32 {
        self.frames.len() as u32
    }

    /// The bytes this pool takes beside the pages.
    pub(crate) fn overhead(&self) -> usize {
        size_of_val(&*self.frames) + self.table.memory() + self.ready.memory() + self.first_frame
    }

    /// Where in the arena the frame's own page is.
    #[inline]
    pub(super) fn home_of(&self, no: FrameNo) -> usize {
        self.first_frame + no.index() * self.page_size.bytes()
    }

    /// A claimed frame: one that is ready, else the first that the sweep finds.
    pub(super) fn take_victim(&self, dirty: &mut DirtyVictims) -> Option<FrameNo> {
        while let Some(no) = self.ready.pop() {
            let state = &self.frame(no).state;
            // It may have been used since, or taken by somebody who needs this very frame.
            let claim_unused = |s: State| if s.verdict() == Verdict::Claim { s.claim() } else { None };
            if state.try_update(claim_unused).is_ok() {
                return Some(no);
            }
        }
        self.sweep(|no, verdict| match verdict {
            Verdict::Clean if dirty.contains(&no) => None,
            Verdict::Clean => {
                dirty.push(no);
                (dirty.len() == DIRTY_VICTIMS_MAX).then_some(None)
            }
            _ => self.frame(no).state.try_update(State::claim).is_ok().then_some(Some(no)),
        })?
    }

    /// Puts `wanted` victims that are clean into the list of ready frames; the dirty ones that it meets, `dirty_most` of them
    /// at the most, count as well, and are left to the caller to have them cleaned. Gives how many clean ones there were.
    pub(crate) fn make_ready(&self, wanted: usize, dirty: &mut Vec<FrameNo>, dirty_most: usize) -> usize {
        let mut clean = 0;
        self.sweep(|no, verdict| {
            if verdict == Verdict::Clean {
                dirty.push(no);
            } else if self.ready.push(no) {
                clean += 1;
            } else {
                return Some(());
            }
            (clean + dirty.len() >= wanted || dirty.len() >= dirty_most).then_some(())
        });
        clean
    }

    /// Puts a victim that was to be cleaned among those that are ready, unless it is still dirty or was used meanwhile. Gives
    /// whether it did.
    pub(crate) fn make_ready_again(&self, no: FrameNo) -> bool {
        self.frame(no).state.load().verdict() == Verdict::Claim && self.ready.push(no)
    }

    /// Moves the hand on, and shows each victim that it comes by, clean or dirty, until `enough` gives a value. All others
    /// age. Each call looks at every frame a bounded number of times, so with all frames busy it ends.
    fn sweep<R>(&self, mut enough: impl FnMut(FrameNo, Verdict) -> Option<R>) -> Option<R> {
        // Every frame's usage count reaches zero within MAX_USAGE turns; one more finds it there.
        let steps = self.frames.len().saturating_mul(MAX_USAGE as usize + 1);
        for _ in 0..steps {
            let index = self.hand.fetch_add(1, Ordering::Relaxed) % self.frames.len();
            let (no, state) = (FrameNo(index as u32), &self.frames[index].state);
            match state.load().verdict() {
                Verdict::Busy => {}
                // Losing a race here means that somebody used the frame: just as well.
                Verdict::Age => drop(state.try_update(State::age)),
                victim => {
                    if let Some(value) = enough(no, victim) {
                        return Some(value);
                    }
                }
            }
        }
        None
    }

    /// Takes the page of a claimed frame out of the table, if it had one.
    pub(super) fn unmap(&self, no: FrameNo) {
        let slot = self.table.slot(self.frame(no).page());
        self.table.lock(slot).remove(no);
    }
}

impl Pin {
    /// Ends the read to which this pin belongs: well, or with an error that all who wait for it get.
    pub(crate) fn end_read(self, outcome: &Result<()>, verified: bool) {
        if outcome.is_ok() || seeded!("failed_read_shows_its_bytes") {
            self.end_io(|s| s.end_read(verified), outcome);
        } else {
            // Before anybody is told: who comes later starts a new read (C2).
            self.pool().unmap(self.frame_no());
            self.end_io(State::fail_read, outcome);
        }
    }

    /// Ends the read to which this pin belongs without a word on this page: who waits for it looks again, and finds it
    /// gone.
    pub(crate) fn abandon_read(self) {
        self.pool().unmap(self.frame_no());
        self.end_io(State::fail_read, &Ok(()));
    }

    /// Lets go of a page that was looked ahead, and of its place in the share: a read that is still under way takes it
    /// over. `mark` says what else becomes of a page that is being read.
    pub(crate) fn leave_unattended(self, mark: impl Fn(State) -> State) {
        let left = self.frame().state.try_update(|s| s.leave_unattended().map(&mark));
        if left.is_err() {
            self.pool().look_ahead.give_back(1);
        }
    }
}

impl PoolHandle {
    /// Pins the page's frame if it has one: no lock, and one compare-and-swap on that frame.
    #[inline]
    pub(crate) fn lookup(&self, page: PageId) -> Lookup {
        self.lookup_by(page, State::pin)
    }

    /// The same, with that kind of pin.
    #[inline]
    pub(crate) fn lookup_by(&self, page: PageId, pin: impl Fn(State) -> Option<State>) -> Lookup {
        let found = self.table.find(self.table.slot(page), |no| {
            let frame = self.frame(no);
            match frame.state.try_update(&pin) {
                // From here on the frame cannot change its page.
                Ok(_) => {
                    let pin = self.adopt(no);
                    let is_it = frame.page() == page || seeded!("page_not_compared_after_the_pin");
                    is_it.then_some(Lookup::Pinned(pin))
                }
                Err(state) if state.pins_are_exhausted() && frame.page() == page => Some(Lookup::TooManyPins),
                Err(_) => None,
            }
        });
        found.unwrap_or(Lookup::Absent)
    }

    /// Pins the page's frame and latches it for reading, in one step, where that is the plain case: the page is here and nobody
    /// changes it. The caller releases both, best in [one step](Pin::unlatch_and_unpin).
    #[inline]
    pub(crate) fn look_at(&self, page: PageId) -> Option<Pin> {
        self.table.find(self.table.slot(page), |no| {
            let frame = self.frame(no);
            frame.state.try_update(State::pin_and_latch).ok()?;
            let pin = self.adopt(no);
            if frame.page() == page {
                return Some(pin);
            }
            pin.unlatch_and_unpin();
            None
        })
    }

    /// Looks the pages up, in their order: first at the table for all of a group, then at their frames, then for real. None of
    /// these looks depends on another, so the processor waits for its memory once a round instead of once a page.
    pub(crate) fn lookup_each(&self, pages: &[PageId], mut found: impl FnMut(Lookup)) {
        for group in pages.chunks(LOOKUPS_TOGETHER) {
            let slots: SmallVec<[Slot; LOOKUPS_TOGETHER]> =
                group.iter().map(|&page| self.table.slot(page)).collect();
            black_box(slots.iter().fold(0, |sum, &slot| sum ^ self.table.touch(slot)));
            let likely = |&slot| self.table.find(slot, Some);
            let touch = |no: FrameNo| u64::from(self.frame(no).page().block.0);
            black_box(slots.iter().filter_map(likely).map(touch).fold(0, |sum, touched| sum ^ touched));
            group.iter().for_each(|&page| found(self.lookup(page)));
        }
    }

    /// Whether the page has a frame, or had one a moment ago. Pins nothing, and is no use of the page.
    pub(crate) fn is_mapped(&self, page: PageId) -> bool {
        let holds_it = |no| {
            let frame = self.frame(no);
            let in_use = !matches!(frame.state.load().phase(), Phase::Free | Phase::Claimed);
            (in_use && frame.page() == page).then_some(())
        };
        self.table.find(self.table.slot(page), holds_it).is_some()
    }

    /// The frame of a page that is dirty and that nobody has in hand.
    pub(crate) fn find_idle_dirty(&self, page: PageId) -> Option<FrameNo> {
        let is_it = |no| {
            let frame = self.frame(no);
            (frame.page() == page && frame.state.load().is_idle_dirty()).then_some(no)
        };
        self.table.find(self.table.slot(page), is_it)
    }

    /// Gives the claimed frame to `page` and begins its read. Where the page has got a frame meanwhile, the claimed one
    /// comes back with what was found.
    pub(crate) fn map<'a>(
        &'a self,
        claimed: Claimed<'a>,
        page: PageId,
        read_only: bool,
    ) -> Result<Mapped, (Claimed<'a>, Lookup)> {
        let slot = self.table.slot(page);
        let no = claimed.frame_no();
        // Unmap the old page first: one partition lock at a time.
        self.unmap(no);
        let mut partition = self.table.lock(slot);
        // Under the lock a mapped frame keeps its page, pinned or not.
        if let Some(other) = partition.find(|other| (self.frame(other).page() == page).then_some(other))
            && !seeded!("two_frames_for_a_page")
        {
            match self.frame(other).state.try_update(State::pin) {
                Ok(_) => return Err((claimed, Lookup::Pinned(self.adopt(other)))),
                Err(state) if state.pins_are_exhausted() => return Err((claimed, Lookup::TooManyPins)),
                // On its way out: its claimant will find the entry gone.
                Err(_) => partition.remove(other),
            }
        }
        let frame = self.frame(no);
        frame.assign(page);
        if partition.insert(no).is_err() {
            return Err((claimed, Lookup::Absent));
        }
        claimed.into_read(read_only);
        Ok(Mapped { reading: self.adopt(no), own: self.adopt(no) })
    }

    /// Takes a victim's frame, if the clock finds a clean one; the dirty ones that it met are left in `dirty`.
    pub(crate) fn claim_victim(&self, dirty: &mut DirtyVictims) -> Option<Claimed<'_>> {
        let no = self.take_victim(dirty)?;
        Some(self.claimed(no))
    }

    /// Takes this very frame, if it is idle and clean, whatever its usage count.
    pub(crate) fn claim(&self, no: FrameNo) -> Option<Claimed<'_>> {
        self.claim_by(no, State::claim)
    }

    /// Takes this very frame, if this way to claim it allows that.
    pub(super) fn claim_by(&self, no: FrameNo, claim: fn(State) -> Option<State>) -> Option<Claimed<'_>> {
        self.frame(no).state.try_update(claim).ok()?;
        Some(self.claimed(no))
    }

    fn claimed(&self, no: FrameNo) -> Claimed<'_> {
        self.empty_place(no);
        self.counters.add(Counter::Evictions, 1);
        Claimed::new(self, no)
    }

    /// Pins this very frame if it still holds `page`; for housekeeping, so the usage count stays.
    pub(crate) fn pin_unused(&self, no: FrameNo, page: PageId) -> Option<Pin> {
        self.frame(no).state.try_update(State::pin_unused).ok()?;
        let pin = self.adopt(no);
        (pin.frame().page() == page).then_some(pin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::FileId;

    fn pool_of(frames: u32) -> PoolHandle {
        PoolHandle::new(FramePool::new(frames, PageSize::MIN, 1, Arc::new(Counters::new())).unwrap())
    }

    fn page(block: u32) -> PageId {
        PageId::new(FileId(0), block)
    }

    /// Puts a page into a frame, as a read does.
    fn fill(pool: &PoolHandle, page: PageId) -> FrameNo {
        let claimed = pool.claim_victim(&mut DirtyVictims::new()).unwrap();
        let Mapped { reading, own } = pool.map(claimed, page, false).unwrap();
        reading.end_read(&Ok(()), true);
        own.frame_no()
    }

    #[test]
    fn c1_a_stale_entry_never_passes_another_page_off_for_the_one_wanted() {
        let pool = pool_of(2);
        let no = fill(&pool, page(1));
        // As a reader sees it that found the frame just before it changed its page.
        pool.table.lock(pool.table.slot(page(2))).insert(no).unwrap();
        assert!(matches!(pool.lookup(page(2)), Lookup::Absent));
        assert!(!pool.is_mapped(page(2)));
        assert_eq!(pool.frame(no).state.load().pins(), 0, "the pin for the look was taken off");
        assert!(matches!(pool.lookup(page(1)), Lookup::Pinned(_)));
    }

    #[test]
    fn c1_a_page_never_gets_a_second_frame() {
        let pool = pool_of(2);
        let first = fill(&pool, page(1));
        let claimed = pool.claim_victim(&mut DirtyVictims::new()).unwrap();
        assert_ne!(claimed.frame_no(), first);
        match pool.map(claimed, page(1), false) {
            Err((_, Lookup::Pinned(pin))) => assert_eq!(pin.frame_no(), first),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_entry_whose_frame_is_claimed_stands_in_nobodys_way() {
        let pool = pool_of(2);
        let first = fill(&pool, page(1));
        let evictor = pool.claim(first).unwrap();
        let claimed = pool.claim_victim(&mut DirtyVictims::new()).unwrap();
        pool.map(claimed, page(1), false).unwrap().reading.end_read(&Ok(()), true);
        drop(evictor);
        assert!(pool.is_mapped(page(1)), "the evictor took only its own entry out");
    }

    #[test]
    fn c6_a_sweep_over_busy_frames_ends() {
        let pool = pool_of(3);
        let pins: Vec<_> = (0..3)
            .map(|block| {
                fill(&pool, page(block));
                pool.lookup(page(block))
            })
            .collect();
        assert!(pool.claim_victim(&mut DirtyVictims::new()).is_none());
        drop(pins);
        assert!(pool.claim_victim(&mut DirtyVictims::new()).is_some());
    }
}
