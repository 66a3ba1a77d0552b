//! Victims: which frames are taken from their pages, and how those that will be wanted are set aside.
//!
//! A frame that has no page is taken first, as long as there is one; then one that was set aside; and then the next whose turn it is.
//! The [replacement](crate::buffer::replacement) says which; here that is put into effect, on the frames' state words. What is
//! clean is claimed at once, or marked READY and listed; what is dirty is left to the caller, which has it written. Where there is
//! such, or it is being written, no page goes [that was used](super::sparing).
//!
//! A sweep that meets no victim has looked at every frame. While fetches wait, that is repeated only when a frame has been let go of
//! since, or after a while that is long beside what it takes: however many wait, and however often they try.

use smallvec::SmallVec;

use crate::{
    buffer::{
        frame::{
            pin::{ClaimedFrame, Pin, PoolHandle},
            state::{State, Verdict},
        },
        pool::FramePool,
        replacement::Reach,
    },
    id::FrameNo,
    observe::Counter,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        time::{self, Duration, Instant},
    },
};

/// Dirty frames that a sweep came by and would have taken, had they been clean.
pub(crate) type DirtyVictims = SmallVec<[FrameNo; DIRTY_VICTIMS_MAX]>;

/// How many of them it collects before it gives up on finding a clean one: a batch worth writing.
const DIRTY_VICTIMS_MAX: usize = 32;

/// Victims that one shard gives to be set aside before it is the next one's turn: if one gave them all, it would give up pages
/// that the others keep.
const READY_AT_ONCE: usize = 16;

/// What a sweep that sets victims aside came to.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Met {
    Some,
    Enough,
    NoRoom,
}

/// How long at the least there is no other sweep after one in vain, unless a frame is let go of.
const SWEEP_EVERY: Duration = Duration::from_millis(10);

/// And how many times as long as that one took.
const SWEEP_SELDOM: u32 = 32;

/// A time without sweeps, after one that has met no victim. It binds those who have seen one in vain, as all do who wait.
#[derive(Default)]
pub(crate) struct Lull {
    is_on: AtomicBool,
    last: Mutex<Option<Futile>>,
}

/// A sweep in vain.
#[derive(Copy, Clone, Debug)]
struct Futile {
    /// How often a frame had been let go of before.
    reliefs: usize,
    took: Duration,
    /// When the next one is due, if no frame is let go of.
    until: Instant,
}

impl Futile {
    fn new(reliefs: usize, took: Duration, now: Instant) -> Self {
        Self { reliefs, took, until: now + SWEEP_EVERY.max(took * SWEEP_SELDOM) }
    }
}

impl Lull {
    /// Whether the caller may sweep. Of those who ask when the time is over the first may.
    fn is_over(&self, reliefs: usize) -> bool {
        if !self.is_on.load(Ordering::Relaxed) || seeded!("each_waiter_sweeps") {
            return true;
        }
        let mut last = self.last.lock();
        let Some(futile) = *last else { return true };
        let now = time::now();
        let is_over = futile.reliefs != reliefs || now >= futile.until;
        if is_over {
            *last = Some(Futile::new(reliefs, futile.took, now));
        }
        is_over
    }

    /// A sweep has met no victim.
    fn begin(&self, reliefs: usize, begun: Option<Instant>) {
        let now = time::now();
        *self.last.lock() =
            Some(Futile::new(reliefs, begun.map_or(Duration::ZERO, |begun| now - begun), now));
        self.is_on.store(true, Ordering::Relaxed);
    }

    fn end(&self) {
        if self.is_on.load(Ordering::Relaxed) {
            self.is_on.store(false, Ordering::Relaxed);
        }
    }
}

impl FramePool {
    /// A claimed frame: a free one, else one that is ready, else the first that the sweep finds.
    fn take_victim(&self, reach: Reach, spares: bool, dirty: &mut DirtyVictims) -> Option<FrameNo> {
        self.take_at_hand().or_else(|| self.take_in_turn(reach, spares, dirty))
    }

    /// A claimed frame that is free, or ready.
    fn take_at_hand(&self) -> Option<FrameNo> {
        let at_hand = self.take_free().or_else(|| self.take_ready());
        self.clean_list.note_demand(self.free_frames());
        at_hand
    }

    /// How many frames have no page, and nobody who is about to give them one.
    pub(crate) fn free_frames(&self) -> usize {
        self.replacement.free()
    }

    fn take_free(&self) -> Option<FrameNo> {
        self.replacement.take_free(|no| self.frame(no).state.try_update(State::claim).is_ok())
    }

    fn take_ready(&self) -> Option<FrameNo> {
        while let Some(no) = self.clean_list.pop() {
            if self.serves(no) && self.frame(no).state.try_update(State::claim_ready).is_ok() {
                self.replacement.renew(no);
                return Some(no);
            }
            // It was used since, or taken by somebody who needed this very frame, or is to go.
            self.frame(no).state.update(State::no_longer_ready);
        }
        None
    }

    fn take_in_turn(&self, reach: Reach, spares: bool, dirty: &mut DirtyVictims) -> Option<FrameNo> {
        self.sweep(1, reach, spares, |no, verdict, met| match verdict {
            Verdict::Dirty if dirty.contains(&no) => None,
            Verdict::Dirty => {
                self.clean_list.note_dirt();
                if met == Reach::All {
                    self.clean_list.note_dirt_met_by_demand();
                }
                dirty.push(no);
                (dirty.len() == DIRTY_VICTIMS_MAX).then_some(None)
            }
            _ => self.frame(no).state.try_update(State::claim).is_ok().then_some(Some(no)),
        })?
    }

    /// Sets victims that are clean aside for those who will want a frame, about `wanted` of them; the dirty ones that it meets,
    /// `dirty_most` of them at the most, count as well, and are left to the caller to have them cleaned, but for those that the
    /// caller cannot clean now. Gives how many clean ones there were.
    pub(crate) fn make_ready(
        &self,
        reach: Reach,
        wanted: usize,
        dirty: &mut Vec<FrameNo>,
        dirty_most: usize,
        can_clean: impl Fn(FrameNo) -> bool,
    ) -> usize {
        let mut clean = 0;
        loop {
            let before = clean + dirty.len();
            let met = self.sweep(READY_AT_ONCE, reach, false, |no, verdict, _| {
                match verdict {
                    Verdict::Dirty if dirty.contains(&no) || !can_clean(no) => return None,
                    Verdict::Dirty => dirty.push(no),
                    _ if self.set_aside(no) => clean += 1,
                    _ => return Some(Met::NoRoom),
                }
                let met = clean + dirty.len();
                if met >= wanted || dirty.len() >= dirty_most {
                    return Some(Met::Enough);
                }
                (met - before == READY_AT_ONCE).then_some(Met::Some)
            });
            if met != Some(Met::Some) {
                return clean;
            }
        }
    }

    /// Sets this frame aside, if it is a victim, and clean, and there is room for one more. Gives whether it did.
    pub(crate) fn set_aside(&self, no: FrameNo) -> bool {
        let state = &self.frame(no).state;
        if state.try_update(State::make_ready).is_err() {
            return false;
        }
        let there_was_room = self.clean_list.push(no);
        if !there_was_room {
            state.update(State::no_longer_ready);
        }
        there_was_room
    }

    /// Shows victims, clean and dirty, until `enough` gives a value, having taken about `wanted`. All others are spared, for now.
    /// Each call looks at every frame a bounded number of times, so with all frames busy it ends.
    fn sweep<R>(
        &self,
        wanted: usize,
        reach: Reach,
        spares: bool,
        mut enough: impl FnMut(FrameNo, Verdict, Reach) -> Option<R>,
    ) -> Option<R> {
        let reliefs = self.frame_waiters.reliefs();
        let any = self.frame_waiters.any() || self.lull.is_on.load(Ordering::Relaxed);
        let (begun, mut met_some) = (any.then(time::now), false);
        let found = self.replacement.sweep(
            wanted,
            reach,
            spares && self.spares_used_pages(),
            |no| self.frame(no),
            |no, verdict, met| {
                met_some = true;
                enough(no, verdict, met)
            },
        );
        if met_some {
            self.lull.end();
        } else if reach == Reach::All {
            self.counters.add(Counter::FutileSweeps, 1);
            self.lull.begin(reliefs, begun);
        }
        found
    }

    /// Whether a sweep is due for those who have seen one in vain.
    pub(crate) fn may_sweep(&self) -> bool {
        self.lull.is_over(self.frame_waiters.reliefs())
    }

    /// The page that was just mapped to this frame is wanted for itself: where it had lost its frame lately, that is a use.
    pub(crate) fn count_return(&self, pin: &Pin) {
        if self.replacement.comes_back(pin.frame().page()) {
            // Fails where others use it already: just as well.
            let _ = pin.frame().state.try_update(State::comes_back);
        }
    }
}

impl PoolHandle {
    /// Takes a victim's frame, if a clean one is found; the dirty ones that were met are left in `dirty`. No page that was used goes
    /// where such were met, or are being written.
    pub(crate) fn claim_victim(&self, dirty: &mut DirtyVictims) -> Option<ClaimedFrame<'_>> {
        let no = self.take_victim(Reach::All, true, dirty)?;
        Some(self.claimed(no))
    }

    /// The same for a page that nobody waits for: no page that was used goes for it, unless that is next in turn.
    pub(crate) fn claim_victim_ahead(&self, dirty: &mut DirtyVictims) -> Option<ClaimedFrame<'_>> {
        let reach = if seeded!("look_ahead_takes_used_pages") { Reach::All } else { Reach::InTurn };
        let no = self.take_victim(reach, true, dirty)?;
        Some(self.claimed(no))
    }

    /// The same for a fetch that has tried before: it looks for a victim only if a sweep [is due](FramePool::may_sweep). Where it no
    /// longer `spares` pages that were used, one of those will do.
    pub(crate) fn claim_victim_again(
        &self,
        spares: bool,
        dirty: &mut DirtyVictims,
    ) -> Option<ClaimedFrame<'_>> {
        let may_sweep = self.may_sweep();
        let no = if may_sweep { self.take_victim(Reach::All, spares, dirty) } else { self.take_at_hand() }?;
        Some(self.claimed(no))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        buffer::pool::{Lookup, Mapped},
        id::{FileId, PageId, PageSize},
        observe::Counters,
        sync::Arc,
    };

    /// A pool with room for so many ready frames, and the pages 0 to 2 in its frames.
    fn filled(ready: usize) -> PoolHandle {
        let pool = FramePool::new(3, PageSize::MIN, 1, Arc::new(Counters::new())).unwrap();
        let pool = PoolHandle::new(pool.with_room_for_ready(ready));
        (0..3).for_each(|block| drop(read(&pool, block)));
        pool
    }

    /// Reads a page into the next frame.
    fn read(pool: &PoolHandle, block: u32) -> Pin {
        let claimed = pool.claim_victim(&mut DirtyVictims::new()).unwrap();
        let Mapped { reading, own } = pool.map(claimed, page(block), false).unwrap();
        pool.count_return(&own);
        reading.end_read(&Ok(()), true);
        own
    }

    fn page(block: u32) -> PageId {
        PageId::new(FileId(0), block)
    }

    fn resident(pool: &PoolHandle) -> Vec<u32> {
        (0..10).filter(|&block| pool.is_mapped(page(block))).collect()
    }

    /// As the background writer comes upon it whose victim was written, and has lost its page meanwhile.
    #[test]
    fn a_frame_that_has_become_free_is_not_set_aside() {
        let pool = filled(3);
        drop(pool.claim(FrameNo(1)));
        assert!(!pool.set_aside(FrameNo(1)), "it is to be had already");
        let claimed: Vec<_> = std::iter::from_fn(|| pool.claim_victim(&mut DirtyVictims::new())).collect();
        assert_eq!((claimed.len(), pool.free_frames()), (3, 0), "it is counted once");
    }

    #[test]
    fn what_is_ready_is_taken_first_and_keeps_its_page_until_then() {
        let pool = filled(2);
        assert_eq!(
            pool.make_ready(Reach::All, 5, &mut Vec::new(), 5, |_| true),
            2,
            "there is no room for more"
        );
        assert_eq!(resident(&pool), [0, 1, 2]);
        read(&pool, 3);
        assert_eq!(resident(&pool), [1, 2, 3]);
        assert!(matches!(pool.lookup(page(1)), Lookup::Pinned(_)));
        read(&pool, 4);
        assert_eq!(resident(&pool), [1, 3, 4], "who uses a page that is ready saves it");
    }

    #[test]
    fn a_free_frame_is_taken_before_any_page_goes_whatever_is_ready_and_whosever_turn_it_is() {
        const FRAMES: u32 = 3000;
        let pool = FramePool::new(FRAMES, PageSize::MIN, 1, Arc::new(Counters::new())).unwrap();
        let pool = PoolHandle::new(pool.with_room_for_ready(100));
        (0..FRAMES).for_each(|block| drop(read(&pool, block)));
        assert!(
            pool.frames().all(|(_, frame)| frame.state.load().is_valid()),
            "a page went before all frames had one"
        );
        assert_eq!(pool.make_ready(Reach::All, 100, &mut Vec::new(), 100, |_| true), 100);
        // As of a file that is cut: the last first. All lie in one shard of the two.
        (2000..2100).rev().for_each(|no| drop(pool.claim(FrameNo(no)).unwrap()));
        assert_eq!((pool.free_frames(), pool.faults()), (100, Vec::new()));
        let taken: Vec<u32> = (0..100).map(|n| read(&pool, FRAMES + n).frame_no().0).collect();
        assert!(
            taken.iter().copied().eq(2000..2100),
            "not those that are free, or not side by side: {taken:?}"
        );
        assert_eq!(pool.free_frames(), 0);
        assert!(!(2000..2100).contains(&read(&pool, 2 * FRAMES).frame_no().0), "it has its time");
    }

    /// Else it would have a page, and be in the queue of those that have none.
    #[test]
    fn a_free_frame_is_not_to_be_had_by_its_number() {
        let pool = filled(2);
        let no = FrameNo(1);
        drop(pool.claim(no).unwrap());
        assert!(pool.claim(no).is_none());
        assert_eq!((pool.free_frames(), read(&pool, 5).frame_no()), (1, no));
    }

    #[test]
    fn a_frame_whose_read_has_failed_is_the_next_to_be_taken() {
        let pool = filled(2);
        let claimed = pool.claim_victim(&mut DirtyVictims::new()).unwrap();
        let no = claimed.frame_no();
        let Mapped { reading, own } = pool.map(claimed, page(5), false).unwrap();
        drop(own);
        reading.end_read(&Err(crate::Error::ShutDown), true);
        assert_eq!(read(&pool, 6).frame_no(), no);
        assert_eq!(pool.faults(), Vec::<String>::new());
    }

    /// Whoever waited for the read looks at the frame a little longer than it takes the next to come for it.
    #[test]
    fn a_frame_that_waiters_of_a_failed_read_still_have_is_taken_later() {
        let pool = filled(2);
        let claimed = pool.claim_victim(&mut DirtyVictims::new()).unwrap();
        let no = claimed.frame_no();
        let Mapped { reading, own } = pool.map(claimed, page(5), false).unwrap();
        reading.end_read(&Err(crate::Error::ShutDown), true);
        assert_ne!(read(&pool, 6).frame_no(), no);
        drop(own);
        let taken: Vec<_> = (7..10).map(|block| read(&pool, block).frame_no()).collect();
        assert!(taken.contains(&no), "{taken:?}");
        assert_eq!(pool.faults(), Vec::<String>::new());
    }

    #[test]
    fn a_place_that_is_out_of_date_takes_no_frame_from_its_next_page() {
        let pool = filled(2);
        assert_eq!(pool.make_ready(Reach::All, 1, &mut Vec::new(), 1, |_| true), 1);
        // Somebody evicts the page; the frame gets another, is made ready once more, and so has two places in the list.
        drop(pool.claim(FrameNo(0)).unwrap());
        assert_eq!(read(&pool, 0).frame_no(), FrameNo(0));
        while !pool.set_aside(FrameNo(0)) {
            pool.frame(FrameNo(0)).state.try_update(State::forget_uses).unwrap();
        }
        assert_eq!(read(&pool, 3).frame_no(), FrameNo(0));
        assert_ne!(read(&pool, 4).frame_no(), FrameNo(0));
        assert_eq!(resident(&pool), [2, 3, 4]);
    }

    #[test]
    fn dirty_victims_are_met_once_each_and_left() {
        let pool = filled(2);
        for no in [0, 1].map(FrameNo) {
            let dirty =
                |s: State| s.pin_unused()?.latch_exclusive().map(|s| s.unlatch_exclusive(true).unpin());
            pool.frame(no).state.try_update(dirty).unwrap();
        }
        let mut dirty = Vec::new();
        assert_eq!(pool.make_ready(Reach::All, 5, &mut dirty, 5, |_| true), 1, "more than there are");
        assert_eq!(dirty, [0, 1].map(FrameNo));
        let mut met = DirtyVictims::new();
        assert!(pool.claim_victim(&mut met).is_some_and(|claimed| claimed.frame_no() == FrameNo(2)));
        let _pinned = read(&pool, 3);
        assert!(pool.claim_victim(&mut met).is_none());
        assert_eq!(met[..], [0, 1].map(FrameNo));
    }

    #[test]
    fn a_page_that_comes_back_outlives_the_next_ones() {
        let pool = filled(1);
        read(&pool, 3);
        read(&pool, 0);
        (4..9).for_each(|block| drop(read(&pool, block)));
        assert!(resident(&pool).contains(&0), "{:?}", resident(&pool));
    }

    #[test]
    fn c6_a_victim_is_found_in_whichever_shard_it_is() {
        const FRAMES: u32 = 2048;
        let pool = FramePool::new(FRAMES, PageSize::MIN, 1, Arc::new(Counters::new())).unwrap();
        let pool = PoolHandle::new(pool);
        let mut pins: Vec<Pin> = (0..FRAMES).map(|block| read(&pool, block)).collect();
        assert!(pool.claim_victim(&mut DirtyVictims::new()).is_none(), "all are pinned");
        pins.sort_by_key(Pin::frame_no);
        for at in [0, FRAMES as usize - 1] {
            let no = pins[at].frame_no();
            let block = pins.remove(at).frame().page().block.0;
            assert!(
                pool.claim_victim(&mut DirtyVictims::new()).is_some_and(|claimed| claimed.frame_no() == no)
            );
            pins.insert(at, read(&pool, block));
        }
    }

    #[test]
    fn victims_of_several_shards_come_in_runs_that_lie_side_by_side() {
        const FRAMES: u32 = 4096;
        let pool = FramePool::new(FRAMES, PageSize::MIN, 1, Arc::new(Counters::new())).unwrap();
        let pool = PoolHandle::new(pool);
        // Twice around: what lay side by side when it was taken does so the next time.
        for _ in 0..2 {
            let taken: Vec<u32> = (0..FRAMES)
                .map(|_| pool.take_victim(Reach::All, true, &mut DirtyVictims::new()).unwrap())
                .map(|no| {
                    pool.frame(no).state.update(State::give_back);
                    no.0
                })
                .collect();
            let breaks = taken.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
            assert!(breaks < FRAMES as usize / 16, "{breaks} of {FRAMES} do not lie behind the one before");
        }
    }
}
