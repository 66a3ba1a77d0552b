//! Supplies frames for pages that have none.
//!
//! A frame is taken in this order: one that has no page; one that is set aside [clean](crate::buffer::frame::clean_list); the next
//! clean victim, by the order of the [replacement](crate::buffer::replacement). Dirty victims are left to the caller, which has them
//! written; meanwhile no page goes that was used. A dirty page without [room](crate::buffer::frame::copy_room) for its copy is no
//! victim: a fetch that finds no other waits for the end of a write.
//!
//! [`decision`] says what a fetch does that finds no frame, [`shortage`] why there is none; [`read_ahead_quota`] bounds look-ahead. The
//! wait itself is `read::frame_wait`. Lock order: each lock here is a leaf, and none is held over a wake-up. PostgreSQL's counterpart:
//! `freelist.c`, and `GetVictimBuffer` in `bufmgr.c`.

pub(crate) mod decision;
pub(crate) mod read_ahead_quota;
pub(crate) mod shortage;
#[cfg(test)]
mod tests;

use smallvec::SmallVec;

use self::{decision::Signs, shortage::Shortage};
use crate::{
    buffer::{
        frame::state::{State, Verdict},
        replacement::Reach,
        residency::{CLAIMS_MAX, ClaimedFrame, ClaimedFrames, Residency},
    },
    id::{FileId, FrameNo},
    observe::Counter,
    sync::time::{self, Instant},
};

/// Dirty frames that a sweep met and would have taken, had they been clean.
pub(crate) type DirtyVictims = SmallVec<[FrameNo; DIRTY_VICTIMS_MAX]>;

/// Frames that were claimed together.
type Taken = SmallVec<[FrameNo; CLAIMS_MAX]>;

/// How many of them it collects before it gives up on finding a clean one: a batch worth writing.
const DIRTY_VICTIMS_MAX: usize = 32;

/// How many victims one shard gives to be set aside before it is the next one's turn: if one gave them all, it would give up
/// pages that the others keep.
const SET_ASIDE_AT_ONCE: usize = 16;

/// How far a search for a frame goes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// To the next victim in turn: look-ahead takes no frame whose page was used.
    Ahead,
    /// To all frames.
    Demand,
    /// To all frames, for a fetch that has tried before: it sweeps only where it [may meet one](Residency::is_worth_a_sweep).
    /// Where it no longer `spares` pages that were used, it takes one of those too.
    Again { spares: bool },
}

impl Residency {
    /// Takes a frame, if a free or clean one is found, and leaves dirty victims in `dirty`. A first search takes none while callers wait
    /// for frames and the writer works for them.
    pub(crate) fn take_frame(&self, search: Search, dirty: &mut DirtyVictims) -> Option<ClaimedFrame<'_>> {
        let mut taken = Taken::new();
        self.take(1, search, dirty, &mut taken);
        Some(self.claimed(*taken.first()?))
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn take_clean(&self) -> Option<ClaimedFrame<'_>> {
        self.take_frame(Search::Demand, &mut DirtyVictims::new())
    }

    /// Takes frames for several pages, as [`take_frame`](Self::take_frame) does for one, as long as such are found.
    pub(crate) fn take_frames<'a>(
        &'a self,
        wanted: usize,
        search: Search,
        dirty: &mut DirtyVictims,
        claimed: &mut ClaimedFrames<'a>,
    ) {
        let mut taken = Taken::new();
        self.take(wanted.min(CLAIMS_MAX).min(self.replacement.most_together()), search, dirty, &mut taken);
        self.claimed_each(&taken, claimed);
    }

    fn take(&self, wanted: usize, search: Search, dirty: &mut DirtyVictims, taken: &mut Taken) {
        let is_first = !matches!(search, Search::Again { .. });
        let goes_before_the_line = !is_first || seeded!("batch_goes_before_the_line");
        if !goes_before_the_line && self.frame_waiters.any() && self.clean_list.is_kept() {
            return;
        }
        let is_free = |no| self.frame(no).state.try_update(State::claim).is_ok();
        while taken.len() < wanted
            && let Some(no) = self.replacement.take_free(is_free).or_else(|| self.take_set_aside())
        {
            taken.push(no);
        }
        self.clean_list.note_demand(wanted, self.free_frames());
        let (reach, spares) = match search {
            _ if taken.len() == wanted => return,
            Search::Ahead if !seeded!("look_ahead_takes_used_pages") => (Reach::InTurn, true),
            Search::Again { spares } if !self.is_worth_a_sweep(spares) => return,
            Search::Again { spares } => (Reach::All, spares),
            Search::Ahead | Search::Demand => (Reach::All, true),
        };
        self.take_in_turn(wanted, reach, spares, dirty, taken);
    }

    /// Takes one of these frames, which were dirty victims, if one is clean by now and was not used since.
    pub(crate) fn take_cleaned(&self, dirty: &DirtyVictims) -> Option<ClaimedFrame<'_>> {
        let taken = dirty.iter().copied().find(|&no| self.take_by_number(no, State::claim_unused, true));
        Some(self.claimed(taken?))
    }

    /// Takes frames once more for a bulk read, up to the first whose page has another use. Returns how many those are.
    pub(crate) fn take_back_each<'a>(
        &'a self,
        frames: impl Iterator<Item = FrameNo>,
        claimed: &mut ClaimedFrames<'a>,
    ) -> usize {
        let is_taken = |&no: &FrameNo| self.take_by_number(no, State::claim_unused, false);
        let most = CLAIMS_MAX.min(self.replacement.most_together());
        let taken: Taken = frames.take(most).take_while(is_taken).collect();
        self.claimed_each(&taken, claimed);
        taken.len()
    }

    fn take_set_aside(&self) -> Option<FrameNo> {
        while let Some(no) = self.clean_list.pop() {
            if self.take_by_number(no, State::claim_ready, true) {
                return Some(no);
            }
            // It was used since, or taken by its number, or is to go.
            self.frame(no).state.update(State::no_longer_ready);
        }
        None
    }

    /// Takes this frame from its page, which leaves a ghost if it `is_remembered`, if `claim` allows it: it may be free by now, or to go.
    fn take_by_number(&self, no: FrameNo, claim: fn(State) -> Option<State>, is_remembered: bool) -> bool {
        let is_taken = self.serves(no) && self.try_claim(no, claim);
        if is_taken {
            self.replacement.renew(no, is_remembered, |no| self.frame(no));
        }
        is_taken
    }

    /// Takes victims until `wanted` frames are `taken`; those in turn under the lock of a shard together.
    fn take_in_turn(
        &self,
        wanted: usize,
        reach: Reach,
        spares: bool,
        dirty: &mut DirtyVictims,
        taken: &mut Taken,
    ) {
        let before = taken.len();
        let mut refused = None;
        loop {
            // Their holders are counted outside the sweep's lock. Where there is one the frame is busy, and not met again.
            let mut biased = Taken::new();
            let _ = self.sweep(wanted - taken.len(), reach, spares, |no, verdict, met| {
                match verdict {
                    Verdict::Dirty if dirty.contains(&no) => {}
                    // Behind the others, of which a few may be written: those of a file that refuses writes may be most of all.
                    Verdict::Dirty if self.is_refused(no) => refused = refused.or(Some(no)),
                    Verdict::Dirty => {
                        self.clean_list.note_dirt(met == Reach::All);
                        dirty.push(no);
                    }
                    _ => match self.frame(no).state.try_update(State::claim) {
                        Ok(_) => taken.push(no),
                        Err(state) if state.refuses_for_bias(State::claim) && !biased.contains(&no) => {
                            biased.push(no);
                        }
                        Err(_) => {}
                    },
                }
                let are_enough = taken.len() + biased.len() >= wanted;
                (are_enough || dirty.len() == DIRTY_VICTIMS_MAX).then_some(())
            });
            for &no in &biased {
                if self.take_by_number(no, State::claim_unused, true) {
                    taken.push(no);
                }
            }
            if biased.is_empty() || taken.len() == wanted || dirty.len() == DIRTY_VICTIMS_MAX {
                break;
            }
        }
        if taken.len() == before && dirty.len() < DIRTY_VICTIMS_MAX {
            dirty.extend(refused);
        }
    }

    /// Returns whether the last write of the file of this frame's page has failed.
    fn is_refused(&self, no: FrameNo) -> bool {
        let counts = &self.dirty_counts;
        counts.any_refused()
            && !seeded!("refused_victims_met_again")
            && counts.refuses(self.frame(no).page().file)
    }

    /// Returns how many frames have no page, and no thread that is about to give them one.
    pub(crate) fn free_frames(&self) -> usize {
        self.replacement.free()
    }

    /// Sets clean victims aside for later fetches, about `wanted` of them, and returns how many. Dirty ones that `can_clean` allows count as
    /// well, at most `dirty_most`, and are left to the caller.
    pub(crate) fn set_victims_aside(
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
            let goes_on = self.sweep(SET_ASIDE_AT_ONCE, reach, false, |no, verdict, _| {
                match verdict {
                    Verdict::Dirty if dirty.contains(&no) || !can_clean(no) => return None,
                    Verdict::Dirty => dirty.push(no),
                    _ if self.set_aside(no) => clean += 1,
                    // There is no room.
                    _ => return Some(false),
                }
                let met = clean + dirty.len();
                let is_enough = met >= wanted || dirty.len() >= dirty_most;
                (is_enough || met - before == SET_ASIDE_AT_ONCE).then_some(!is_enough)
            });
            if goes_on != Some(true) {
                self.clean_list.note_made(clean);
                return clean;
            }
        }
    }

    /// Shows victims, clean and dirty, until `enough` returns a value, having taken about `wanted`.
    fn sweep<R>(
        &self,
        wanted: usize,
        reach: Reach,
        spares: bool,
        mut enough: impl FnMut(FrameNo, Verdict, Reach) -> Option<R>,
    ) -> Option<R> {
        let mut met_some = false;
        // The file that was asked about last, and whether there is room for its copies.
        let mut room = None;
        // While a file refuses writes its dirty pages are in the way of all sweeps.
        let spares = spares && self.spares_used_pages() && !self.dirty_counts.any_refused();
        let reliefs = self.frame_waiters.reliefs();
        let found = self.replacement.sweep(
            wanted,
            reach,
            spares,
            |no| self.frame(no),
            |no, verdict, met| {
                if verdict == Verdict::Dirty && !self.has_room_for_copy(no, &mut room) {
                    return None;
                }
                met_some |= verdict != Verdict::Dirty || !self.is_refused(no);
                enough(no, verdict, met)
            },
        );
        if !met_some && reach == Reach::All {
            self.counters.add(Counter::FutileSweeps, 1);
            self.findings.note_futile_sweep(reliefs, spares);
        }
        found
    }

    /// Returns whether the frame's page could be written without a wait for room for its copy.
    fn has_room_for_copy(&self, no: FrameNo, last: &mut Option<(FileId, bool)>) -> bool {
        let file = self.frame(no).page().file;
        let (_, has_room) = *match last {
            Some(known) if known.0 == file => known,
            _ => last.insert((file, self.copy_room.has_room_for(file))),
        };
        has_room || seeded!("victims_without_room_met")
    }

    /// Returns whether a fetch may meet a victim that sweeps once more.
    fn is_worth_a_sweep(&self, spares: bool) -> bool {
        let (reliefs, spares) = (self.frame_waiters.reliefs(), spares && self.spares_used_pages());
        let left = self.shortage().0.left();
        self.findings.is_worth_a_sweep(reliefs, spares, left) || seeded!("each_waiter_sweeps")
    }

    /// Returns whether a sweep may meet a victim, after the writer met none at `reliefs`: a frame was let go of since, or not all are had.
    pub(crate) fn is_any_left(&self, reliefs: usize) -> bool {
        self.frame_waiters.reliefs() != reliefs || self.shortage().0.left() > 0
    }

    /// Returns whether a fetch that needs a frame waits for dirty victims rather than take the frame of a page that was used.
    pub(crate) fn spares_used_pages(&self) -> bool {
        let written = || self.counters.get(Counter::PagesWritten);
        self.findings.spares_used_pages(written) && !seeded!("dirty_victims_passed_by")
    }

    /// Returns the holders of the frames that may get another page, as of a moment ago, and that moment.
    pub(crate) fn shortage(&self) -> (Shortage, Instant) {
        let look = || {
            let in_slots = self.slots.holds();
            let counted = |no, state: State| if in_slots.of(no) > 0 { state.counted(false) } else { state };
            let serving = self.frames.iter().filter(|&(no, _)| self.serves(no));
            serving.map(|(no, frame)| counted(no, frame.state.load())).collect()
        };
        self.findings.shortage(look)
    }

    pub(crate) fn signs(&self) -> Signs {
        let counts = [Counter::PagesWritten, Counter::PagesRead, Counter::Evictions];
        let [written, read, taken] = counts.map(|counter| self.counters.get(counter));
        let now = time::now();
        let (shortage, looked) = self.shortage();
        Signs {
            now,
            set_aside: self.clean_list.is_kept().then(|| self.clean_list.made()),
            written,
            progress: written.wrapping_add(read).wrapping_add(taken),
            shortage,
            looked,
            refusal: self.findings.refusal(now),
        }
    }
}
