//! Chooses which page gives up its frame for the next.
//!
//! S3-FIFO (Yang and others, SOSP 2023) with a [correlated reference period](Order::admit) (as of LRU-K and 2Q) and a
//! [challenge](Order::challenge). A page enters the **small** queue, an eighth of the frames, first in first out. Uses right
//! after it came in do not count: they are mostly one. If the page was not used after that by the time its turn comes, it is
//! evicted and leaves a **ghost** for a while. Otherwise it moves to the **main** queue, where each turn halves its usage count,
//! and a page whose count is 0 is evicted. A page that [returns](ghosts) meanwhile enters the small queue again, and takes the
//! place of the oldest page of main if that was not used. So a scan passes through the small queue only, and a loop that is
//! longer than the pool keeps a part of itself.
//! `design/decisions/0026-returned-pages-challenge.md` has what it misses, beside others.
//!
//! * **A hit** does not call this: the use is counted in the frame's state word, by the step that pins it.
//! * **Decisions** are in [`order`], a plain value without atomics.
//! * **Free frames** come before any page goes: each shard has a queue of them, and [`free_frames`] knows which are not empty. In
//!   a pool that has none, a miss finds that out by one look at a number that is then not written.
//! * **Shards** of a thousand frames or so keep threads out of each other's way: each is an order by itself. Threads take frames
//!   from the shards in turn, and pass by a shard that is locked. A miss locks one for a few steps.
//!
//! Invariants: 1. every frame is in one queue of one shard. A frame that is taken becomes the newest of the small queue. Only a pool
//! that shrinks takes frames out; 2. a frame among the free ones has no page, and gets one only from the thread that takes it out of
//! there. (A free frame may be in the small queue: one whose waiters, after a failed read, still had pins when it was to be taken.)
//!
//! Lock order: a shard's lock, then state words. Nothing else is locked, woken or waited for under it. PostgreSQL: `freelist.c`.

mod free_frames;
mod ghosts;
mod order;

use crossbeam_utils::CachePadded;
use smallvec::SmallVec;

pub(crate) use self::order::Reach;
use self::{
    free_frames::Vacancies,
    ghosts::GhostList,
    order::{Order, Standing},
};
use crate::{
    buffer::frame::{
        header::Frame,
        state::{AtomicState, Phase, State, Verdict},
    },
    error::Result,
    id::FrameNo,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The number of frames of a shard, about: few enough that threads seldom meet at one, enough that an eighth of them is a queue.
/// Two for the model check, whose pools are small but must have several shards.
const SHARD: usize = if cfg!(shuttle) { 2 } else { 1024 };

/// About how many victims in a row come from one shard. There they mostly lie side by side, as they were taken the last time, and
/// some devices are twice as fast at a request whose pages do (`benches/lab/examples/scan_memory.rs`).
const RUN: usize = if cfg!(shuttle) { 1 } else { 32 };

pub(crate) struct Replacement {
    shards: Box<[CachePadded<Mutex<Order>>]>,
    layout: Layout,
    /// Frames that are in the queues. Changed by one thread at a time, which resizes the pool.
    frames: AtomicUsize,
    /// How many victims were taken so far, about: says which shard's turn it is.
    taken: AtomicUsize,
    vacancies: Vacancies,
    ghosts: GhostList,
}

impl Replacement {
    /// Makes queues of the first `frames` of what may become `most`, free, in their order.
    pub(super) fn new(frames: usize, most: usize) -> Result<Self> {
        let layout = Layout::of(most);
        let shards = layout.shards_for(most);
        let vacancies = Vacancies::new(shards);
        let order = |shard| {
            let frames = layout.frames_in(shard, frames);
            vacancies.note(shard, 0, frames);
            CachePadded::new(Mutex::new(Order::new(frames)))
        };
        Ok(Self {
            shards: (0..shards).map(order).collect(),
            vacancies,
            layout,
            frames: AtomicUsize::new(frames),
            taken: AtomicUsize::new(0),
            ghosts: GhostList::new(frames, most)?,
        })
    }

    /// Takes the first `frames` into the queues, and no others. Those that come are the newest of the small queue.
    pub(super) fn resize(&self, frames: usize) {
        let before = self.frames.swap(frames, Ordering::Relaxed);
        let (fewer, more) = (frames.min(before), frames.max(before));
        for shard in fewer / self.layout.shard_size..self.layout.shards_for(more) {
            let frames = self.layout.frames_in(shard, frames);
            self.change(shard, &mut self.shards[shard].lock(), |order| order.resize(frames));
        }
        self.ghosts.resize(frames);
    }

    /// Returns how many frames are in the queues.
    pub(super) fn frames(&self) -> usize {
        self.frames.load(Ordering::Relaxed)
    }

    /// Returns how many frames may be taken before their pages have come: as many as count as new in a full shard. When a page is
    /// no longer new, its frame is looked at, and should hold the page that has come. In a last shard that has fewer frames it
    /// may not, and then it is passed over.
    pub(super) fn most_together(&self) -> usize {
        order::new_pages_of(self.layout.frames_in(0, self.frames()))
    }

    /// Returns the bytes that all this takes.
    pub(super) fn memory(&self) -> usize {
        let orders = self.frames() * Order::BYTES_PER_FRAME + size_of_val(&*self.shards);
        orders + self.vacancies.memory() + self.ghosts.memory()
    }

    /// Returns how many frames are free.
    pub(super) fn free(&self) -> usize {
        self.vacancies.frames()
    }

    /// Takes a free frame, if there is one that `take` accepts: `take` checks whether the frame is still free.
    ///
    /// A shard that is locked is passed by if another has free frames, and else waited for: that is over sooner than any page
    /// comes from the disk.
    pub(super) fn take_free(&self, take: impl Fn(FrameNo) -> bool) -> Option<FrameNo> {
        if self.free() == 0 {
            return None;
        }
        let first = self.turn(1);
        let take_in = |shard: usize, order: &mut Order| {
            let number = |index| self.layout.number(shard, index);
            let taken = self.change(shard, order, |order| order.take_free(|index| take(number(index))));
            taken.map(number)
        };
        let at_once = |shard: usize| take_in(shard, &mut *self.shards[shard].try_lock()?);
        let in_any_case = |shard: usize| take_in(shard, &mut self.shards[shard].lock());
        let found = self.vacancies.shards_from(first).find_map(at_once);
        found.or_else(|| self.vacancies.shards_from(first).find_map(in_any_case))
    }

    /// Returns the free frames, and those of them that a taker would find.
    pub(super) fn list_free(&self) -> (Vec<FrameNo>, Vec<FrameNo>) {
        let in_shard = |shard: usize| {
            let free = self.shards[shard].lock().list(Standing::Free);
            free.into_iter().map(move |index| self.layout.number(shard, index))
        };
        let all = (0..self.shards.len()).flat_map(in_shard).collect();
        (all, self.vacancies.shards_from(0).flat_map(in_shard).collect())
    }

    /// Changes which frames of a shard are free.
    fn change<R>(&self, shard: usize, order: &mut Order, change: impl FnOnce(&mut Order) -> R) -> R {
        let before = order.len(Standing::Free);
        let value = change(order);
        self.vacancies.note(shard, before, order.len(Standing::Free));
        value
    }

    /// Returns the shard whose turn it is to give up about `wanted` frames.
    fn turn(&self, wanted: usize) -> usize {
        let run = self.taken.fetch_add(wanted, Ordering::Relaxed) / RUN;
        self.layout.turn(run, self.frames())
    }

    /// Shows victims, clean and dirty, and the reach in which each was met, until `enough` returns a value, having taken about
    /// `wanted` of them. Each shard looks at its frames a bounded number of times, so with all of them busy it ends.
    ///
    /// With [`Reach::All`] a shard goes through those in turn first. If it `spares`, it goes no further if one of them would be a
    /// victim but for its changes, or is being written: that one will be clean before long, and no page that was used has to go.
    pub(super) fn sweep<'a, R>(
        &self,
        wanted: usize,
        reach: Reach,
        spares: bool,
        frame: impl Fn(FrameNo) -> Frame<'a>,
        mut enough: impl FnMut(FrameNo, Verdict, Reach) -> Option<R>,
    ) -> Option<R> {
        let (first, shards) = (self.turn(wanted), self.layout.shards_for(self.frames()));
        let mut sweep = |shard: usize, order: &mut Order| {
            let number = |index| self.layout.number(shard, index);
            let mut sweep = |reach: Reach| {
                let (mut comes, mut taken) = (false, SmallVec::<[(usize, bool); RUN]>::new());
                let look = |index, queue| {
                    let state = frame(number(index)).state;
                    let verdict = look(state, queue, reach);
                    comes |= verdict == Verdict::Dirty || state.load().is_unused_at_disk();
                    verdict
                };
                let found = order.sweep(reach, look, |index, verdict| {
                    let state = frame(number(index)).state;
                    let has_page = state.load().phase() != Phase::Free;
                    let value = enough(number(index), verdict, reach);
                    if state.load().phase() == Phase::Claimed {
                        taken.push((index, has_page));
                    }
                    value
                });
                for &(index, has_page) in &taken {
                    let is_remembered = order.note_taken(index) && has_page;
                    self.change_page(shard, order, index, is_remembered, &frame);
                }
                found.ok_or(comes)
            };
            if reach == Reach::All && spares {
                match sweep(Reach::InTurn) {
                    Ok(value) => return Some(value),
                    Err(true) => return None,
                    Err(false) => {}
                }
            }
            sweep(reach).ok()
        };
        let mut passed_by = false;
        for shard in (first..shards).chain(0..first) {
            match self.shards[shard].try_lock() {
                Some(mut order) => {
                    if let Some(value) = sweep(shard, &mut order) {
                        return Some(value);
                    }
                }
                None => passed_by = true,
            }
        }
        // Now with the lock, since they were passed by.
        let mut again = (0..shards).filter(|_| passed_by);
        again.find_map(|shard| sweep(shard, &mut self.shards[shard].lock()))
    }

    /// Changes the page of a frame that was claimed outside a sweep, as [`change_page`](Self::change_page) does. If the shard is
    /// locked the frame stays where it is, and its next page has a little less time.
    pub(super) fn renew<'a>(&self, no: FrameNo, is_remembered: bool, frame: impl Fn(FrameNo) -> Frame<'a>) {
        let (shard, index) = self.layout.place_of(no);
        match self.shards[shard].try_lock() {
            Some(mut order) => {
                let is_remembered = order.renew(index) && is_remembered;
                self.change_page(shard, &mut order, index, is_remembered, &frame);
            }
            // Most pages go from the small queue.
            None if is_remembered => self.ghosts.note(frame(no).page()),
            None => {}
        }
    }

    /// Notes that the page of a claimed frame goes for another. It leaves a ghost where it is to be remembered.
    fn change_page<'a>(
        &self,
        shard: usize,
        order: &mut Order,
        index: usize,
        is_remembered: bool,
        frame: &impl Fn(FrameNo) -> Frame<'a>,
    ) {
        if is_remembered {
            self.ghosts.note(frame(self.layout.number(shard, index)).page());
        }
        self.admit(shard, order, index, frame);
    }

    /// Notes that the frame is to get a page. The page that is no longer new loses its uses so far: they were one burst. If the
    /// page left a ghost when it was evicted, it has returned.
    fn admit<'a>(
        &self,
        shard: usize,
        order: &mut Order,
        index: usize,
        frame: &impl Fn(FrameNo) -> Frame<'a>,
    ) {
        let Some(past) = order.admit(index) else { return };
        let past_frame = frame(self.layout.number(shard, past));
        if matches!(past_frame.state.load().phase(), Phase::Free | Phase::Claimed) {
            // The page that was new has gone again: the frame's name belongs to its ghost, and is no return.
            return;
        }
        // Fails where the page was not used.
        let _ = past_frame.state.try_update(State::forget_uses);
        if self.ghosts.take(past_frame.page()) {
            order.note_return(past);
        }
    }

    /// Makes the frame, which has no page any more, the next to be taken. `let_go` frees it: under the lock, since another thread
    /// may take it as soon as it is free.
    pub(super) fn release(&self, no: FrameNo, let_go: impl FnOnce()) {
        let (shard, index) = self.layout.place_of(no);
        let mut order = self.shards[shard].lock();
        self.change(shard, &mut order, |order| order.release(index));
        let_go();
    }
}

/// Which frames a shard has, and how often it is its turn.
#[derive(Copy, Clone, Debug)]
struct Layout {
    /// Frames of every shard but the last.
    shard_size: usize,
}

impl Layout {
    /// Makes the layout for a pool of at most `most` frames.
    fn of(most: usize) -> Self {
        Self { shard_size: most.div_ceil((most / SHARD).max(1)) }
    }

    /// Returns how many shards the first `frames` are in.
    fn shards_for(self, frames: usize) -> usize {
        frames.div_ceil(self.shard_size)
    }

    /// Returns how many of the first `frames` are in this shard.
    fn frames_in(self, shard: usize, frames: usize) -> usize {
        frames.saturating_sub(shard * self.shard_size).min(self.shard_size)
    }

    /// Returns the number of a shard's frame.
    fn number(self, shard: usize, index: usize) -> FrameNo {
        FrameNo((shard * self.shard_size + index) as u32)
    }

    /// Returns the shard of a frame, and which of its frames that is.
    fn place_of(self, no: FrameNo) -> (usize, usize) {
        (no.index() / self.shard_size, no.index() % self.shard_size)
    }

    /// Returns the shard that gives the victims of this run. Shards go round; the last one, which may have few frames, has a turn
    /// by its share only: otherwise the pages in it would have less time than others.
    fn turn(self, run: usize, frames: usize) -> usize {
        let shards = self.shards_for(frames);
        let (round, shard) = (run / shards, run % shards);
        let runs_in = |shard| self.frames_in(shard, frames).div_ceil(RUN);
        let sits_out = shard > 0 && shard == shards - 1 && round % runs_in(0) >= runs_in(shard);
        if sits_out { round % shard } else { shard }
    }
}

/// Looks at a frame whose turn has come. A page that is spared stays with fewer uses. But a page that is read ahead keeps its
/// expectation when other pages are read ahead.
fn look(state: &AtomicState, queue: Standing, reach: Reach) -> Verdict {
    let verdict = state.load().verdict();
    // If another thread is first here, the page was used: just as well.
    match (verdict, queue) {
        (Verdict::Used, Standing::Main) => drop(state.try_update(State::age)),
        (Verdict::Used, _) => drop(state.try_update(State::forget_uses)),
        (Verdict::Expected, _) if reach == Reach::All => drop(state.try_update(State::expect_no_longer)),
        _ => {}
    }
    verdict
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::{
        buffer::frame::header::FrameArrays,
        id::{FileId, PageId},
    };

    fn two_shards() -> Replacement {
        Replacement::new(2 * SHARD, 2 * SHARD).expect("memory for two shards")
    }

    #[test]
    fn a_locked_shard_is_passed_by_for_another_with_free_frames_and_else_waited_for() {
        let replacement = two_shards();
        let other = replacement.shards[0].lock();
        let taken: Vec<_> = (0..SHARD).filter_map(|_| replacement.take_free(|_| true)).collect();
        assert!(taken.iter().all(|no| no.index() >= SHARD) && taken.len() == SHARD, "{taken:?}");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| replacement.take_free(|_| true));
            drop(other);
            assert_eq!(waiting.join().unwrap(), Some(FrameNo(0)));
        });
    }

    #[test]
    fn free_frames_are_counted_wherever_they_are_and_taken_wherever_they_are() {
        let replacement = two_shards();
        assert_eq!(
            (replacement.free(), replacement.resize(SHARD), replacement.free()),
            (2 * SHARD, (), SHARD)
        );
        while replacement.take_free(|_| true).is_some() {}
        replacement.resize(2 * SHARD);
        assert_eq!((replacement.free(), replacement.take_free(|_| true)), (0, None));
        // Last to first, as a thread gives back what it has taken in their order.
        let given_back = [SHARD - 1, SHARD, 2 * SHARD - 1].map(|no| FrameNo(no as u32));
        given_back.into_iter().rev().for_each(|no| replacement.release(no, || ()));
        assert_eq!(replacement.free(), 3);
        for first in [0, RUN] {
            replacement.taken.store(first, Ordering::Relaxed);
            let taken: Vec<_> = (0..4).filter_map(|_| replacement.take_free(|_| true)).collect();
            let in_turn = if first == 0 { [0, 1, 2] } else { [1, 2, 0] };
            assert_eq!(taken, in_turn.map(|at| given_back[at]));
            given_back.into_iter().rev().for_each(|no| replacement.release(no, || ()));
        }
    }

    /// The second shard, which has the only victim, is locked when its turn comes, until the first is looked at.
    #[test]
    fn c6_a_shard_that_was_passed_by_is_looked_at_again() {
        let replacement = two_shards();
        while replacement.take_free(|_| true).is_some() {}
        replacement.taken.store(RUN, Ordering::Relaxed);
        let frames = FrameArrays::new(2, 2).unwrap();
        let (busy, free) = (frames.get(FrameNo(0)), frames.get(FrameNo(1)));
        busy.state.update(|state| state.claim().unwrap());
        let other = RefCell::new(Some(replacement.shards[1].lock()));
        let frame = |no: FrameNo| {
            drop(other.take());
            if no.index() < 2 * SHARD - 1 { busy } else { free }
        };
        let found = replacement.sweep(1, Reach::All, true, frame, |no, _, _| Some(no));
        assert_eq!(found, Some(FrameNo(2 * SHARD as u32 - 1)));
    }

    #[test]
    fn shards_have_their_turn_as_often_as_they_have_frames() {
        for (most, frames) in
            [(10_000, 10_000), (10_000, 1_200), (10_000, 3_400), (100_000, 1), (5, 5), (4_096, 4_095)]
        {
            let layout = Layout::of(most);
            let shards = layout.shards_for(frames);
            let mut turns = vec![0; shards];
            let runs = 100 * layout.shard_size.div_ceil(RUN) * shards;
            (0..runs).for_each(|run| turns[layout.turn(run, frames)] += 1);
            for (shard, turns) in turns.into_iter().enumerate() {
                let fair = runs as f64 * layout.frames_in(shard, frames) as f64 / frames as f64;
                let off = f64::from(turns) / fair;
                // A run is the least that a shard can have.
                let slack = 0.1 + RUN as f64 / layout.frames_in(shard, frames) as f64;
                assert!((off - 1.0).abs() < slack, "{frames} of {most}, shard {shard}: {off} of its turns");
            }
        }
    }

    #[test]
    fn a_spared_page_keeps_half_of_its_uses_in_main_and_none_in_small() {
        let free = AtomicState::new(State::FREE);
        let read = |state: State| Some(state.claim()?.begin_read(false).end_read(true).unpin());
        free.try_update(read).unwrap();
        let with_uses = |uses: u64| {
            let state = AtomicState::new(free.load());
            (0..uses).for_each(|_| {
                state.update(|state| state.pin().map_or(state, State::unpin));
            });
            state
        };
        for (uses, queue, left) in
            [(3, Standing::Main, 1), (1, Standing::Main, 0), (3, Standing::Small, 0), (1, Standing::Small, 0)]
        {
            let state = with_uses(uses);
            assert_eq!(look(&state, queue, Reach::All), Verdict::Used);
            assert_eq!(state.load().usage(), left, "{uses} uses, {queue:?}");
        }
        for queue in [Standing::Main, Standing::Small] {
            assert_eq!(look(&with_uses(0), queue, Reach::All), Verdict::Evictable);
        }
    }

    /// Otherwise a second prefetch would have the pages of the first given up before they are used.
    #[test]
    fn a_page_read_ahead_is_spared_for_good_by_reads_ahead_and_once_by_others() {
        let ahead = |state: State| Some(state.claim()?.begin_read(false).expect_use().end_read(true).unpin());
        let state = AtomicState::new(State::FREE);
        state.try_update(ahead).unwrap();
        let looks = |reach| look(&state, Standing::Small, reach);
        assert_eq!([looks(Reach::InTurn), looks(Reach::InTurn)], [Verdict::Expected; 2]);
        assert_eq!([looks(Reach::All), looks(Reach::InTurn)], [Verdict::Expected, Verdict::Evictable]);
    }

    fn page(block: u32) -> PageId {
        PageId::new(FileId(0), block)
    }

    /// Makes four frames of one shard, with the pages 0 to 3, which were not used since they were read.
    fn four_pages() -> (Replacement, FrameArrays) {
        pages_in(4)
    }

    /// Makes `frames` frames of one shard, with pages that were not used since they were read.
    fn pages_in(frames: usize) -> (Replacement, FrameArrays) {
        let replacement = Replacement::new(frames, frames).expect("memory for the frames");
        let frames = FrameArrays::new(frames, frames).expect("memory for the frames");
        while let Some(no) = replacement.take_free(|_| true) {
            let frame = frames.get(no);
            frame.state.update(|state| state.claim().expect("it is free"));
            frame.assign(page(no.0));
            frame.state.update(|state| state.begin_read(false).end_read(true).unpin());
        }
        (replacement, frames)
    }

    /// A dirty victim that is passed over stays resident, and does not count as returned. So does one that was set aside, until
    /// it is taken.
    #[test]
    fn a_victim_leaves_a_ghost_when_it_is_taken_wherever_that_happens() {
        let (replacement, frames) = four_pages();
        let frame = |no| frames.get(no);
        let ghosts = || [0, 1, 2, 3].map(|block| replacement.ghosts.take(page(block)));
        let taken = replacement.sweep(1, Reach::All, false, frame, |no, _, _| match no.0 {
            0 => None,
            1 => frame(no).state.try_update(State::make_ready).ok().and(None),
            _ => frame(no).state.try_update(State::claim).ok().map(|_| no),
        });
        assert_eq!((taken, ghosts()), (Some(FrameNo(2)), [false, false, true, false]));
        for (no, is_remembered) in [(FrameNo(1), true), (FrameNo(3), false)] {
            frame(no).state.try_update(State::claim).unwrap();
            replacement.renew(no, is_remembered, frame);
        }
        assert_eq!(ghosts(), [false, true, false, false]);
        // Whether or not its turn in main has come, and it was set aside then.
        frame(FrameNo(0)).state.try_update(State::claim).unwrap();
        for standing in [Standing::Main, Standing::FromMain] {
            replacement.shards[0].lock().put_last(0, standing);
            replacement.renew(FrameNo(0), true, frame);
            assert_eq!(ghosts(), [false; 4], "{standing:?}");
        }
        let _locked = replacement.shards[0].lock();
        replacement.renew(FrameNo(0), true, frame);
        assert_eq!(ghosts(), [true, false, false, false]);
    }

    #[test]
    fn uses_right_after_a_page_came_in_are_forgotten_and_later_ones_count() {
        let (replacement, frames) = four_pages();
        let frame = |no| frames.get(no);
        let use_page = |no| frame(no).state.update(|state| state.pin().unwrap().unpin());
        let take = || {
            let take = |no, _, _| frame(no).state.try_update(State::claim).ok().map(|_| no);
            replacement.sweep(1, Reach::All, false, frame, take)
        };
        let read = |no, block| {
            frame(no).assign(page(block));
            frame(no).state.update(|state| state.begin_read(false).end_read(true).unpin());
        };
        assert_eq!(take(), Some(FrameNo(0)));
        read(FrameNo(0), 10);
        use_page(FrameNo(0));
        assert_eq!((take(), frame(FrameNo(0)).state.load().usage()), (Some(FrameNo(1)), 0));
        read(FrameNo(1), 11);
        use_page(FrameNo(0));
        replacement.renew(FrameNo(2), true, frame);
        assert_eq!(frame(FrameNo(0)).state.load().usage(), 1);
    }

    #[test]
    fn of_pages_that_are_taken_together_each_is_new_for_a_while() {
        let (replacement, frames) = pages_in(300);
        let frame = |no| frames.get(no);
        let most = replacement.most_together();
        let take = || {
            let mut taken = Vec::new();
            let done = replacement.sweep(most, Reach::All, false, frame, |no, _, _| {
                taken.extend(frame(no).state.try_update(State::claim).ok().map(|_| no));
                (taken.len() == most).then_some(())
            });
            assert!(done.is_some() && most == 5, "{most}");
            taken
        };
        let first = take();
        for (&no, block) in first.iter().zip(1000..) {
            frame(no).assign(page(block));
            frame(no).state.update(|state| state.begin_read(false).end_read(true).unpin());
            frame(no).state.update(|state| state.pin().expect("it is there").unpin());
        }
        take();
        let usage = |&no: &FrameNo| frame(no).state.load().usage();
        assert!(first.iter().all(|no| usage(no) == 0), "uses of a page that was new count");
    }

    /// Otherwise a pool whose last shard has a single frame would read its pages one by one.
    #[test]
    fn a_small_last_shard_is_no_reason_to_take_fewer_together() {
        let most_together = |frames| Replacement::new(frames, 4 * SHARD).expect("memory").most_together();
        let of_full_ones = most_together(2 * SHARD);
        for frames in [SHARD, SHARD + 1, 2 * SHARD + 3, 4 * SHARD - 1] {
            assert_eq!(most_together(frames), of_full_ones, "of {frames}");
        }
        assert_eq!(most_together(1), 1);
    }

    /// Otherwise its former page, which has just left a ghost, would be taken for one that returns.
    #[test]
    fn a_frame_whose_page_has_not_come_yet_has_no_page_that_returns() {
        let (replacement, frames) = four_pages();
        let frame = |no| frames.get(no);
        let take = |no, _, _| frame(no).state.try_update(State::claim).ok().map(|_| no);
        assert_eq!(replacement.sweep(1, Reach::All, false, frame, take), Some(FrameNo(0)));
        replacement.renew(FrameNo(1), true, frame);
        assert!(replacement.ghosts.take(page(0)), "its ghost is gone");
    }
}
