//! Residency: which pages are in which frames, and how a frame passes from one page to the next.
//!
//! Puts arena, frame headers, page table, replacement and waiters together. Knows nothing of files and I/O: a page is a number,
//! and a read is something that somebody begins and ends. The order of a replacement is what keeps a page from having two
//! frames, and a frame from having two pages:
//!
//! 1. claim the frame (state word; nobody can pin it from here on);
//! 2. unmap its old page (partition lock);
//! 3. under the lock of its new page's partition: unless that has got a frame meanwhile, name it, map it and begin the read.
//!
//! A [seizure](super::quarantine) stops after a step like 1: its pages keep their frames and entries, and are out of reach.
//!
//! Lock order: a partition of the table, then state words; a shard of the waiters, then state words; never both.

#[cfg(test)]
use crate::sync::uncontrolled;
use crate::{
    buffer::{
        frame::{
            extra_pages::ExtraPages,
            header::{Frame, FrameArrays},
            older_changes::OlderChanges,
            pin::{ClaimedFrame, ClaimedFrames, Pin, PoolHandle},
            size::Size,
            slots::ReaderSlots,
            spares::Spares,
            state::{AtomicState, Phase, State},
            unlogged::{Unlogged, UnloggedChanges},
            waiters::Waiters,
        },
        memory::{arena::Arena, process::Process},
        page_table::{PageTable, Partition, in_one_cluster},
        replacement::Replacement,
        supply::{FrameSupply, clean_list::CleanList},
        ticker::Ticker,
    },
    error::Result,
    id::{FrameNo, PageId, PageSize},
    observe::{Counter, Counters},
    sync::{Arc, waking::Wakers},
};

pub(crate) struct FramePool {
    pub(super) frames: FrameArrays,
    table: PageTable,
    pub(super) replacement: Replacement,
    pub(crate) waiters: Waiters,
    pub(crate) supply: FrameSupply,
    pub(super) ticker: Ticker,
    pub(crate) spares: Spares,
    pub(super) extra_pages: ExtraPages,
    pub(crate) slots: ReaderSlots,
    pub(crate) older_changes: OlderChanges,
    pub(crate) unlogged: Unlogged,
    pub(crate) counters: Arc<Counters>,
    pub(super) size: Size,
    /// The pool's process, whose memory this is.
    pub(crate) process: Process,
    page_size: PageSize,
    /// Where the first frame's bytes start in the arena; before them lie the spare pages.
    first_frame: usize,
    arena: Arena,
    /// How many times all frames were looked at.
    #[cfg(test)]
    pub(super) sweeps: uncontrolled::AtomicU64,
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

/// Why a page does not get the frame that was claimed for it.
#[derive(Debug)]
pub(crate) enum NotMapped {
    /// It has got one meanwhile, now pinned, which does not count as a use.
    Met(Pin),
    /// It has one that cannot be pinned once more.
    TooManyPins,
    /// It has one that is seized: what becomes of the page is not known yet. Its file says so to whoever asks.
    Seized,
    /// Its partition of the table is full: as good as no frame.
    NoRoom,
}

/// Why a page cannot be pinned in the frame in which it was seen.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotPinned {
    /// It is not there any more.
    Gone,
    /// It may be, and is seized.
    Seized,
    /// It may be, and cannot be pinned once more.
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
    /// One that stays as large as it is.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn new(
        frames: u32,
        page_size: PageSize,
        spare_pages: usize,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        Self::resizable(Size::new(frames, frames), page_size, spare_pages, counters)
    }

    /// Takes all memory: `spare_pages` pages, then the frames' pages, and address space for all frames that there may be.
    pub(crate) fn resizable(
        size: Size,
        page_size: PageSize,
        spare_pages: usize,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        let (frames, most) = (size.frames() as usize, size.most() as usize);
        let with_spares = |frames| (spare_pages + frames) * page_size.bytes();
        Ok(Self {
            arena: Arena::new(with_spares(frames), with_spares(most))?,
            frames: FrameArrays::new(frames, most)?,
            table: PageTable::new(frames, most)?,
            replacement: Replacement::new(frames, most)?,
            waiters: Waiters::new(),
            supply: FrameSupply::new(size.frames()),
            ticker: Ticker::default(),
            spares: Spares::new(spare_pages),
            extra_pages: ExtraPages::new(page_size),
            slots: ReaderSlots::new(),
            older_changes: OlderChanges::default(),
            unlogged: Unlogged::default(),
            counters,
            size,
            process: Process::current()?,
            page_size,
            first_frame: spare_pages * page_size.bytes(),
            #[cfg(test)]
            sweeps: uncontrolled::AtomicU64::new(0),
        })
    }

    /// The same with room for so many frames that are ready to be taken.
    pub(crate) fn with_room_for_ready(mut self, frames: usize) -> Self {
        self.supply.clean_list = CleanList::new(frames);
        self
    }

    /// The same with a log, if there is a rule for changes that it is not told of.
    pub(crate) fn with_log(self, rule: Option<UnloggedChanges>) -> Self {
        Self { unlogged: Unlogged::new(rule), ..self }
    }

    #[inline]
    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    #[inline]
    pub(super) fn table(&self) -> &PageTable {
        &self.table
    }

    #[inline]
    pub(crate) fn page_size(&self) -> PageSize {
        self.page_size
    }

    #[inline]
    pub(crate) fn frame(&self, no: FrameNo) -> Frame<'_> {
        self.frames.get(no)
    }

    #[inline]
    pub(super) fn state_of(&self, no: FrameNo) -> &AtomicState {
        &self.frames.states[no.index()]
    }

    /// The number, if a frame has it: it may come from another pool.
    #[inline]
    pub(crate) fn checked(&self, no: FrameNo) -> Option<FrameNo> {
        (no.index() < self.frames.len() && self.process.is_current()).then_some(no)
    }

    /// Every frame with its number, those that are about to go included.
    pub(crate) fn frames(&self) -> impl DoubleEndedIterator<Item = (FrameNo, Frame<'_>)> {
        #[cfg(test)]
        self.sweeps.fetch_add(1, uncontrolled::Ordering::Relaxed);
        (0..self.size.extent()).map(|no| (FrameNo(no), self.frame(FrameNo(no))))
    }

    /// How many frames there are.
    pub(crate) fn frame_count(&self) -> u32 {
        self.size.frames()
    }

    /// How many frames there may be in the end.
    pub(crate) fn most_frames(&self) -> u32 {
        self.size.most()
    }

    /// The bytes of memory for pages: those of all frames, and of a pool that can be resized, what is left of a step.
    pub(crate) fn page_memory(&self) -> usize {
        self.arena.present_bytes() - self.first_frame
    }

    /// How many chunks of the arena it takes for so many frames.
    pub(crate) fn chunks_for(&self, frames: u32) -> usize {
        self.arena.chunks_for(self.home_of(FrameNo(frames)))
    }

    /// The bytes this pool takes beside the pages.
    pub(crate) fn overhead(&self) -> usize {
        let parts = [
            self.table.memory(),
            self.replacement.memory(),
            self.supply.memory(),
            self.slots.memory(),
            self.extra_pages.memory(),
        ];
        let spares = self.first_frame;
        self.size.highest() as usize * FrameArrays::BYTES_PER_FRAME + parts.iter().sum::<usize>() + spares
    }

    /// Where in the arena the frame's own page is, which is where the device finds it, for reading and for writing.
    #[inline]
    pub(crate) fn home_of(&self, no: FrameNo) -> usize {
        self.first_frame + no.index() * self.page_size.bytes()
    }

    /// The right to a frame that was just claimed: its page has lost it.
    pub(super) fn claimed(&self, no: FrameNo) -> ClaimedFrame<'_> {
        self.evict_each(&[no]);
        ClaimedFrame::new(self, no)
    }

    /// Takes the pages of frames that were just claimed out of the table, those of a cluster together.
    pub(super) fn evict_each(&self, mut frames: &[FrameNo]) {
        for &no in frames {
            self.empty_place(no);
        }
        self.counters.add(Counter::Evictions, frames.len() as u64);
        let page = |&no: &FrameNo| self.frame(no).page();
        while let Some(first) = frames.first() {
            let (of_cluster, rest) = frames.split_at(in_one_cluster(frames.iter().map(page)));
            let mapped = of_cluster.iter().map(|no| (page(no), *no));
            self.table.lock(page(first)).remove_each(mapped);
            frames = rest;
        }
    }

    /// Takes the page of this frame out of the table, if it had one.
    pub(super) fn unmap(&self, no: FrameNo) {
        self.table.lock(self.frame(no).page()).remove(no);
    }

    /// The page of this frame has not come: nobody finds it here any more, and when its read has ended the frame is free.
    fn leave(&self, no: FrameNo) {
        self.unmap(no);
        self.replacement.release(no, || ());
    }
}

impl Pin {
    /// Ends the read to which this pin belongs: well, or with an error that all who wait for it get.
    pub(crate) fn end_read(self, outcome: &Result<()>, verified: bool) {
        self.end_read_with(outcome, verified, &mut Wakers::new());
    }

    /// The same, with the waking left to the caller.
    pub(crate) fn end_read_with(self, outcome: &Result<()>, verified: bool, wakers: &mut Wakers) {
        if outcome.is_ok() || seeded!("failed_read_shows_its_bytes") {
            self.end_io(|s| s.end_read(verified), outcome, wakers);
        } else {
            // Before anybody is told: who comes later starts a new read (C2).
            self.pool().leave(self.frame_no());
            self.end_io(State::fail_read, outcome, wakers);
        }
    }

    /// Ends the read to which this pin belongs without a word on this page: waiters look again, and find it
    /// gone.
    pub(crate) fn abandon_read(self, wakers: &mut Wakers) {
        self.pool().leave(self.frame_no());
        self.end_io(State::fail_read, &Ok(()), wakers);
    }

    /// Lets go of a page that was looked ahead, and of its place in the share: a read that is still under way takes it
    /// over. `mark` says what else becomes of a page that is being read.
    pub(crate) fn leave_unattended(self, mark: impl Fn(State) -> State) {
        let left = self.frame().state.try_update(|s| s.leave_unattended().map(&mark));
        if left.is_err() {
            self.pool().supply.read_ahead_quota.give_back(self.frame().page().file, 1);
        }
    }
}

impl PoolHandle {
    /// Gives the claimed frame to `page` and begins its read; or gives it back, and why.
    pub(crate) fn map(
        &self,
        claimed: ClaimedFrame<'_>,
        page: PageId,
        read_only: bool,
    ) -> Result<Mapped, NotMapped> {
        let mut partition = self.table.lock(page);
        self.look_again(&mut partition)?;
        self.name(claimed.frame_no(), page, &mut partition)?;
        Ok(self.begin_read(claimed, read_only))
    }

    /// The same for pages of one cluster, under one lock: as long as there are frames, each page is given the next, unless it has got one
    /// meanwhile. What became of them goes into `mapped`.
    pub(crate) fn map_each(
        &self,
        claimed: &mut ClaimedFrames<'_>,
        pages: &[PageId],
        read_only: bool,
        mapped: &mut Vec<Result<Mapped, NotMapped>>,
    ) {
        let Some(&first) = pages.first() else { return };
        let mut partition = self.table.lock(first);
        for &page in pages {
            partition.turn_to(page);
            let Some(no) = claimed.first() else { break };
            let named = self.look_again(&mut partition).and_then(|()| self.name(no, page, &mut partition));
            let begin = |()| claimed.next().map(|claimed| self.begin_read(claimed, read_only));
            mapped.extend(named.map(begin).transpose());
        }
    }

    /// Looks under the lock whether the page has got a frame meanwhile: a mapped frame keeps its page, pinned or not.
    fn look_again(&self, partition: &mut Partition<'_>) -> Result<(), NotMapped> {
        let Some(other) = partition.frame().filter(|_| !seeded!("two_frames_for_a_page")) else {
            return Ok(());
        };
        match self.frame(other).state.try_update(State::pin_unused) {
            Ok(_) => return Err(NotMapped::Met(self.adopt(other))),
            Err(state) if state.pins_are_exhausted() => return Err(NotMapped::TooManyPins),
            Err(state) if state.is_seized() => return Err(NotMapped::Seized),
            // On its way out: its claimant will find the entry gone.
            Err(_) => partition.remove(other),
        }
        Ok(())
    }

    /// Names the page of a claimed frame, in the frame and in the table.
    fn name(&self, no: FrameNo, page: PageId, partition: &mut Partition<'_>) -> Result<(), NotMapped> {
        self.frame(no).assign(page);
        partition.insert(no).map_err(|_| NotMapped::NoRoom)
    }

    fn begin_read(&self, claimed: ClaimedFrame<'_>, read_only: bool) -> Mapped {
        let no = claimed.frame_no();
        claimed.into_read(read_only);
        Mapped { reading: self.adopt(no), own: self.adopt(no) }
    }

    /// Takes this very frame from its page, if it is idle and clean, whatever its usage count. One that is free is not to be had so: it
    /// is for who takes the next.
    pub(crate) fn claim(&self, no: FrameNo) -> Option<ClaimedFrame<'_>> {
        self.try_claim(no, State::claim).then(|| self.claimed(no))
    }

    /// Claims this frame, if this way to claim it allows that. Its page is to be [evicted](FramePool::evict_each) next.
    pub(super) fn try_claim(&self, no: FrameNo, claim: fn(State) -> Option<State>) -> bool {
        let claim = |state: State| if state.phase() == Phase::Free { None } else { claim(state) };
        self.claim_counted(no, claim)
    }

    /// Pins this very frame if it still holds `page`; for housekeeping, so the usage count stays.
    pub(crate) fn pin_unused(&self, no: FrameNo, page: PageId) -> Result<Pin, NotPinned> {
        match self.frame(no).state.try_update(State::pin_unused) {
            Ok(_) => {
                let pin = self.adopt(no);
                if pin.frame().page() == page { Ok(pin) } else { Err(NotPinned::Gone) }
            }
            Err(state) if state.is_seized() => Err(NotPinned::Seized),
            Err(state) if state.pins_are_exhausted() => Err(NotPinned::TooManyPins),
            Err(_) => Err(NotPinned::Gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        buffer::{
            small_pools::{fill, page, pool_of},
            supply::{DirtyVictims, Search},
        },
        id::FileId,
    };

    #[test]
    fn c1_a_page_never_gets_a_second_frame() {
        let pool = pool_of(2);
        let first = fill(&pool, page(1));
        let claimed = pool.take_clean().unwrap();
        assert_ne!(claimed.frame_no(), first);
        match pool.map(claimed, page(1), false) {
            Err(NotMapped::Met(pin)) => assert_eq!(pin.frame_no(), first),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_entry_whose_frame_is_claimed_stands_in_nobodys_way() {
        let pool = pool_of(2);
        let first = fill(&pool, page(1));
        // As an evictor that has not taken the page out of the table yet.
        assert!(pool.try_claim(first, State::claim));
        let claimed = pool.take_clean().unwrap();
        pool.map(claimed, page(1), false).unwrap().reading.end_read(&Ok(()), true);
        drop(pool.claimed(first));
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
        assert!(pool.take_clean().is_none());
        drop(pins);
        assert!(pool.take_clean().is_some());
    }

    fn claim(pool: &PoolHandle, wanted: usize) -> ClaimedFrames<'_> {
        let mut claimed = ClaimedFrames::new(pool);
        pool.take_frames(wanted, Search::Demand, &mut DirtyVictims::new(), &mut claimed);
        claimed
    }

    #[test]
    fn c1_pages_that_are_mapped_together_get_a_frame_each_unless_they_have_one() {
        let pool = pool_of(40);
        let there = fill(&pool, page(2));
        let mut claimed = claim(&pool, 3);
        let numbers: Vec<_> = claimed.numbers().collect();
        assert!(numbers.len() == 3 && !numbers.contains(&there));
        // One stands there twice, and there are frames for three.
        let pages = [1, 1, 2, 3, 4, 5].map(page);
        let mut mapped = Vec::new();
        pool.map_each(&mut claimed, &pages, false, &mut mapped);
        let frames: Vec<_> = mapped
            .into_iter()
            .map(|mapped| match mapped {
                Ok(Mapped { reading, own }) => {
                    reading.end_read(&Ok(()), true);
                    (own.frame_no(), true)
                }
                Err(NotMapped::Met(pin)) => (pin.frame_no(), false),
                Err(other) => panic!("{other:?}"),
            })
            .collect();
        let [one, two, three] = numbers[..] else { panic!("{numbers:?}") };
        assert_eq!(frames, [(one, true), (one, false), (there, false), (two, true), (three, true)]);
        assert!(claimed.is_empty() && !pool.is_mapped(page(5)));
        drop(claimed);
        assert_eq!(pool.faults(), Vec::<String>::new());
    }

    #[test]
    fn frames_that_are_claimed_together_lose_their_pages_and_those_left_are_the_next_free_ones() {
        let pool = pool_of(40);
        // Of two clusters and two files.
        let pages: Vec<_> = (0..40).map(|n| PageId::new(FileId(n % 2), 10 + n / 2)).collect();
        pages.iter().for_each(|&page| {
            fill(&pool, page);
        });
        let most = pool.replacement.most_together();
        let claimed = claim(&pool, 100);
        assert!(claimed.len() == most && most > 1, "{most}");
        let numbers: Vec<_> = claimed.numbers().collect();
        let is_claimed = |no| pool.frame(no).state.load().phase() == Phase::Claimed;
        assert!(numbers.iter().all(|&no| is_claimed(no)));
        assert_eq!(pages.iter().filter(|&&page| pool.is_mapped(page)).count(), 40 - most);
        drop(claimed);
        assert_eq!((pool.free_frames(), pool.faults()), (most, Vec::new()));
        assert!(claim(&pool, most).numbers().eq(numbers), "in their order");
    }
}
