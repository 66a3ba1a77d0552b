//! Residency: which page is in which frame, and how a frame passes from one page to the next.
//!
//! Owns the [frames](super::frame::frames), and adds page table, replacement and supply. A caller begins and ends a read. The order of
//! a replacement keeps a page from having two frames, and a frame from having two pages:
//!
//! 1. claim the frame (state word; no thread can pin it from here on);
//! 2. take its old page out of the table (partition lock). What is left is a [`ClaimedFrame`];
//! 3. under the lock of its new page's partition: unless that has got a frame meanwhile, name it, [map](Residency::map) it and begin
//!    the read.
//!
//! The read ends with the page in its frame; or the page is unmapped before any thread is told, so that a thread that comes later
//! begins a new read (C2). A [seizure](super::quarantine) stops after a step like 1: its pages keep their frames and entries. The
//! residency lives as long as the pool and its reads under way; the frames live on for pins that are held longer.
//!
//! Lock order: a partition of the table, then state words; a shard of the replacement, then state words; never both.

use std::{mem, ops::Deref};

use smallvec::SmallVec;

use crate::{
    buffer::{
        frame::{
            frames::Frames,
            pin::{FramesHandle, Pin},
            state::{Phase, State},
        },
        page_table::{PageTable, Partition, are_in_one_cluster},
        replacement::Replacement,
        supply::{read_ahead_quota::ReadAheadQuota, shortage::Findings},
    },
    error::Result,
    id::{FrameNo, PageId},
    observe::Counter,
    sync::waking::Wakers,
};

pub(crate) const CLAIMS_MAX: usize = 32;

pub(crate) struct Residency {
    pub(crate) frames: FramesHandle,
    pub(super) table: PageTable,
    pub(super) replacement: Replacement,
    pub(crate) findings: Findings,
    pub(crate) read_ahead_quota: ReadAheadQuota,
}

impl Residency {
    pub(crate) fn new(frames: Frames) -> Result<Self> {
        let (present, most) = (frames.size.frames(), frames.size.most() as usize);
        Ok(Self {
            table: PageTable::new(present as usize, most)?,
            replacement: Replacement::new(present as usize, most)?,
            findings: Findings::default(),
            read_ahead_quota: ReadAheadQuota::new(present),
            frames: FramesHandle::new(frames),
        })
    }

    /// Returns the bytes that the pool takes beside the pages.
    pub(crate) fn overhead(&self) -> usize {
        let parts = self.table.memory() + self.replacement.memory() + self.read_ahead_quota.memory();
        self.frames.overhead() + parts
    }

    /// Takes this very frame from its page, if it is idle and clean, whatever its usage count. A free one is for the next that takes one.
    pub(crate) fn claim(&self, no: FrameNo) -> Option<ClaimedFrame<'_>> {
        self.try_claim(no, State::claim).then(|| self.claimed(no))
    }

    /// Claims this frame, if `claim` allows it. Its page is to be [evicted](Residency::evict_each) next.
    pub(super) fn try_claim(&self, no: FrameNo, claim: fn(State) -> Option<State>) -> bool {
        self.claim_counted(no, |state| if state.phase() == Phase::Free { None } else { claim(state) })
    }

    /// Makes a value of the right to a frame that was just claimed: its page has lost it.
    pub(super) fn claimed(&self, no: FrameNo) -> ClaimedFrame<'_> {
        self.evict_each(&[no]);
        ClaimedFrame::new(self, no)
    }

    pub(super) fn claimed_each<'a>(&'a self, frames: &[FrameNo], claimed: &mut ClaimedFrames<'a>) {
        self.evict_each(frames);
        claimed.extend(frames.iter().rev().map(|&no| ClaimedFrame::new(self, no)));
    }

    /// Takes the pages of frames that were just claimed out of the table, those of a cluster together.
    fn evict_each(&self, frames: &[FrameNo]) {
        for &no in frames {
            self.drop_shadow(no);
        }
        self.counters.add(Counter::Evictions, frames.len() as u64);
        let page = |no: &FrameNo| self.frame(*no).page();
        let clusters = || frames.chunk_by(|one, next| are_in_one_cluster(page(one), page(next)));
        // The lines of all of them are loaded side by side: a removal, which locks, waits for its own.
        clusters().for_each(|frames| self.table.prefetch(page(&frames[0])));
        for frames in clusters() {
            self.table.lock(page(&frames[0])).remove(frames.iter().map(|no| (page(no), *no)));
        }
    }
}

/// Gives access to all that its frames can do, so that callers name one thing.
impl Deref for Residency {
    type Target = FramesHandle;

    #[inline]
    fn deref(&self) -> &FramesHandle {
        &self.frames
    }
}

/// A frame that one thread owns between two pages: no table leads to it. Given back, free, when dropped.
pub(crate) struct ClaimedFrame<'a> {
    pool: &'a Residency,
    frame: FrameNo,
}

impl<'a> ClaimedFrame<'a> {
    pub(crate) fn new(pool: &'a Residency, frame: FrameNo) -> Self {
        debug_assert_eq!(pool.frame(frame).state.load().phase(), Phase::Claimed);
        Self { pool, frame }
    }

    pub(crate) fn frame_no(&self) -> FrameNo {
        self.frame
    }

    /// Keeps the frame claimed: the caller gives it a page, or takes it out of service.
    pub(super) fn keep(self) -> FrameNo {
        let no = self.frame;
        mem::forget(self);
        no
    }
}

impl Drop for ClaimedFrame<'_> {
    fn drop(&mut self) {
        let let_go = || {
            self.pool.frame(self.frame).state.update(State::give_back);
        };
        self.pool.replacement.release(self.frame, let_go);
        if self.pool.frame_waiters.any() {
            self.pool.frame_waiters.wake_one();
        }
    }
}

/// Frames that were claimed together, the last first: popped in their order. Those that are left are freed the last first, so that the
/// next thread that takes free frames gets them in their order too.
pub(crate) type ClaimedFrames<'a> = SmallVec<[ClaimedFrame<'a>; CLAIMS_MAX]>;

/// Why a page does not get the frame that was claimed for it.
#[derive(Debug)]
pub(crate) enum NotMapped {
    /// It has got one meanwhile, now pinned, which does not count as a use.
    Met(Pin),
    TooManyPins,
    /// It has one that is seized: what becomes of the page is not known yet. A caller that asks learns it from the file.
    Seized,
    /// Its partition of the table is full: as good as no frame.
    NoRoom,
}

/// A page that has just got its frame.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// The pin that belongs to the read.
    pub(crate) reading: Pin,
    /// The pin of the caller that began it.
    pub(crate) own: Pin,
}

impl Residency {
    /// Maps `page` to the claimed frame and begins its read; or gives the frame back, and returns why.
    pub(crate) fn map(
        &self,
        claimed: ClaimedFrame<'_>,
        page: PageId,
        read_only: bool,
    ) -> Result<Mapped, NotMapped> {
        let mut partition = self.table.lock(page);
        self.name(claimed.frame_no(), page, &mut partition)?;
        Ok(self.begin_read(claimed, read_only))
    }

    /// Maps pages of one cluster, under one lock, as long as there are frames. What became of them goes into `mapped`.
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
            let Some(frame) = claimed.pop() else { break };
            mapped.push(match self.name(frame.frame_no(), page, &mut partition) {
                Ok(()) => Ok(self.begin_read(frame, read_only)),
                Err(why) => {
                    claimed.push(frame);
                    Err(why)
                }
            });
        }
    }

    /// Names the frame, unless the page has got one meanwhile: a mapped frame keeps its page, pinned or not.
    fn name(&self, no: FrameNo, page: PageId, partition: &mut Partition<'_>) -> Result<(), NotMapped> {
        if let Some(other) = partition.frame().filter(|_| !seeded!("two_frames_for_a_page")) {
            match self.frame(other).state.try_update(State::pin_unused) {
                Ok(_) => return Err(NotMapped::Met(self.adopt(other))),
                Err(state) if state.pins_are_exhausted() => return Err(NotMapped::TooManyPins),
                Err(state) if state.is_seized() => return Err(NotMapped::Seized),
                // Being evicted: its claimant will find the entry gone.
                Err(_) => partition.remove([(page, other)]),
            }
        }
        self.frame(no).assign(page);
        partition.insert(no).map_err(|_| NotMapped::NoRoom)
    }

    fn begin_read(&self, claimed: ClaimedFrame<'_>, read_only: bool) -> Mapped {
        let no = claimed.keep();
        let begun = self.frame(no).state.try_update(|s| s.begin_read(read_only).pin_again());
        debug_assert!(begun.is_ok(), "a frame with one pin has room for another");
        Mapped { reading: self.adopt(no), own: self.adopt(no) }
    }

    /// Ends the read to which this pin belongs, with success, or with an error for all that wait for it.
    pub(crate) fn end_read(&self, reading: Pin, outcome: &Result<()>, verified: bool) {
        self.end_read_with(reading, outcome, verified, &mut Wakers::new());
    }

    /// Ends the read to which this pin belongs, with the waking left to the caller.
    pub(crate) fn end_read_with(
        &self,
        reading: Pin,
        outcome: &Result<()>,
        verified: bool,
        wakers: &mut Wakers,
    ) {
        if outcome.is_ok() || seeded!("failed_read_shows_its_bytes") {
            // Bytes that are not verified may be sealed.
            let is_shown = if seeded!("lsn_of_sealed_bytes") { !verified } else { verified };
            if is_shown {
                reading.load_lsn();
            }
            self.end(reading, |s| s.end_read(verified), outcome, wakers);
        } else {
            // Before any thread is told: one that comes later begins a new read (C2).
            self.unmap(&reading);
            self.end(reading, State::fail_read, outcome, wakers);
        }
    }

    /// Ends the read to which this pin belongs with success, and with the exclusive latch for another pin of the caller.
    pub(crate) fn end_read_latched(&self, reading: Pin) {
        self.end(reading, State::end_read_latched, &Ok(()), &mut Wakers::new());
    }

    /// Abandons the read to which this pin belongs, without a result for this page: waiters look again, and find it gone.
    pub(crate) fn abandon_read(&self, reading: Pin, wakers: &mut Wakers) {
        self.unmap(&reading);
        self.end(reading, State::fail_read, &Ok(()), wakers);
    }

    /// Lets go of a page that was read ahead, and of its place in the quota: a read that is still under way takes the place over.
    /// `mark` says what else becomes of a page that is being read.
    pub(crate) fn leave_unattended(&self, pin: Pin, mark: impl Fn(State) -> State) {
        let left = pin.frame().state.try_update(|s| s.leave_unattended().map(&mark));
        if left.is_err() {
            self.read_ahead_quota.give_back(pin.frame().page().file, 1);
        }
        drop(pin);
    }

    /// Unmaps a page whose read failed: no thread finds it here any more, and when its read has ended the frame is free.
    fn unmap(&self, reading: &Pin) {
        let (no, page) = (reading.frame_no(), reading.frame().page());
        self.table.lock(page).remove([(page, no)]);
        self.replacement.release(no, || ());
    }

    fn end(&self, reading: Pin, end: impl Fn(State) -> State, outcome: &Result<()>, wakers: &mut Wakers) {
        let file = reading.frame().page().file;
        let is_unattended = reading.end_io(end, outcome, wakers).is_unattended();
        if is_unattended && !seeded!("place_in_the_share_lost") {
            self.read_ahead_quota.give_back(file, 1);
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
    fn an_entry_whose_frame_is_claimed_stands_in_no_threads_way() {
        let pool = pool_of(2);
        let first = fill(&pool, page(1));
        // Like an evictor that has not taken the page out of the table yet.
        assert!(pool.try_claim(first, State::claim));
        let claimed = pool.take_clean().unwrap();
        let reading = pool.map(claimed, page(1), false).unwrap().reading;
        pool.end_read(reading, &Ok(()), true);
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

    fn claim(pool: &Residency, wanted: usize) -> ClaimedFrames<'_> {
        let mut claimed = ClaimedFrames::new();
        pool.take_frames(wanted, Search::Demand, &mut DirtyVictims::new(), &mut claimed);
        claimed
    }

    fn numbers_of(claimed: &ClaimedFrames<'_>) -> Vec<FrameNo> {
        claimed.iter().rev().map(ClaimedFrame::frame_no).collect()
    }

    #[test]
    fn c1_pages_that_are_mapped_together_get_a_frame_each_unless_they_have_one() {
        let pool = pool_of(40);
        let there = fill(&pool, page(2));
        let mut claimed = claim(&pool, 3);
        let numbers = numbers_of(&claimed);
        assert!(numbers.len() == 3 && !numbers.contains(&there));
        // One page is named twice, and there are frames for three.
        let pages = [1, 1, 2, 3, 4, 5].map(page);
        let mut mapped = Vec::new();
        pool.map_each(&mut claimed, &pages, false, &mut mapped);
        let frames: Vec<_> = mapped
            .into_iter()
            .map(|mapped| match mapped {
                Ok(Mapped { reading, own }) => {
                    pool.end_read(reading, &Ok(()), true);
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
        // The pages are of two clusters and two files.
        let pages: Vec<_> = (0..40).map(|n| PageId::new(FileId(n % 2), 10 + n / 2)).collect();
        pages.iter().for_each(|&page| {
            fill(&pool, page);
        });
        let most = pool.replacement.most_together();
        let claimed = claim(&pool, 100);
        assert!(claimed.len() == most && most > 1, "{most}");
        let numbers = numbers_of(&claimed);
        let is_claimed = |no| pool.frame(no).state.load().phase() == Phase::Claimed;
        assert!(numbers.iter().all(|&no| is_claimed(no)));
        assert_eq!(pages.iter().filter(|&&page| pool.is_mapped(page)).count(), 40 - most);
        drop(claimed);
        assert_eq!((pool.free_frames(), pool.faults()), (most, Vec::new()));
        assert_eq!(numbers_of(&claim(&pool, most)), numbers, "in their order");
    }
}
