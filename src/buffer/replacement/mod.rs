//! Chooses which page gives up its frame for the next.
//!
//! S3-FIFO (Yang and others, SOSP 2023) with a [correlated reference period](Order::admit) (as of LRU-K and 2Q) and a
//! [challenge](Order::challenge). A page enters the **small** queue, an eighth of the frames, first in first out. Uses right
//! after it came in do not count. If the page was not used after that by the time its turn comes, it is evicted and leaves a **ghost**
//! for a while. Otherwise it moves to the **main** queue, where each turn halves its usage count, and a page whose count is 0 is
//! evicted. A page that [returns](ghosts) meanwhile takes the place of the oldest page of main if that was not used. So a scan passes
//! through the small queue only, and a loop that is longer than the pool keeps a part of itself.
//! `design/decisions/0026-returned-pages-challenge.md` has what it misses, beside others.
//!
//! A hit does not call this: the use is counted in the frame's state word. Decisions are in [`order`], a plain value without atomics.
//! Free frames come before any page goes. **Shards** of a thousand frames or so keep threads out of each other's way: each is an order
//! by itself. Threads take frames from the shards in turn, and pass by a shard that is locked. A miss locks one for a few steps.
//!
//! Invariants: 1. every frame is in one queue of one shard. A frame that is taken becomes the newest of the small queue. Only a pool
//! that shrinks takes frames out; 2. a frame among the free ones has no page, and gets one only from the thread that takes it out of
//! there, and no sweep meets it. (A free frame may be in the small queue: one whose waiters, after a failed read, still had pins when it was to be taken.)
//!
//! Lock order: a shard's lock, then state words. Nothing else is locked, woken or waited for under it. PostgreSQL: `freelist.c`.

mod ghosts;
mod order;
#[cfg(all(test, not(shuttle)))]
mod tests;

use crossbeam_utils::CachePadded;
use smallvec::SmallVec;

pub(crate) use self::order::Reach;
use self::{
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
        atomic::{AtomicU32, AtomicUsize, Ordering},
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
    /// How many frames are free: so one look tells a miss that there are none, and a few looks tell it where the next is. Written under
    /// the shard's lock, and read without it, perhaps a moment old. Not beside what every miss writes.
    free: CachePadded<AtomicUsize>,
    free_in_shards: Box<[AtomicU32]>,
    ghosts: GhostList,
}

impl Replacement {
    /// Makes queues of the first `frames` of what may become `most`, free, in their order.
    pub(super) fn new(frames: usize, most: usize) -> Result<Self> {
        let layout = Layout::of(most);
        let shards = layout.shards_for(most);
        let in_shards = || (0..shards).map(|shard| layout.frames_in(shard, frames));
        Ok(Self {
            shards: in_shards().map(|frames| CachePadded::new(Mutex::new(Order::new(frames)))).collect(),
            free: CachePadded::new(AtomicUsize::new(frames)),
            free_in_shards: in_shards().map(|frames| AtomicU32::new(frames as u32)).collect(),
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

    pub(super) fn frames(&self) -> usize {
        self.frames.load(Ordering::Relaxed)
    }

    /// Returns how many frames may be taken before their pages have come: as many as count as new in a full shard. When a page is no longer
    /// new, its frame is looked at, and should hold it; in a last shard that has fewer frames it is passed over where it does not.
    pub(super) fn most_together(&self) -> usize {
        order::new_pages_of(self.layout.frames_in(0, self.frames()))
    }

    pub(super) fn memory(&self) -> usize {
        let orders = self.frames() * Order::BYTES_PER_FRAME + size_of_val(&*self.shards);
        orders + size_of_val(&*self.free_in_shards) + self.ghosts.memory()
    }

    pub(super) fn free(&self) -> usize {
        self.free.load(Ordering::Relaxed)
    }

    /// Takes a free frame, if there is one that `take` finds still free. A shard that is locked is passed by if another has free frames, and
    /// else waited for: that is over sooner than any page comes from the disk.
    pub(super) fn take_free(&self, take: impl Fn(FrameNo) -> bool) -> Option<FrameNo> {
        if self.free() == 0 {
            return None;
        }
        self.visit(self.shards_with_free_from(self.turn(1)), |shard, order| {
            let number = |index| self.layout.number(shard, index);
            let taken = self.change(shard, order, |order| order.take_free(|index| take(number(index))));
            taken.map(number)
        })
    }

    /// Visits shards until one gives a value: those that are locked are passed by, and waited for where no other gives one.
    fn visit<R>(
        &self,
        shards: impl Iterator<Item = usize> + Clone,
        mut visit: impl FnMut(usize, &mut Order) -> Option<R>,
    ) -> Option<R> {
        let mut passed_by = false;
        for shard in shards.clone() {
            match self.shards[shard].try_lock() {
                Some(mut order) => {
                    if let Some(value) = visit(shard, &mut order) {
                        return Some(value);
                    }
                }
                None => passed_by = true,
            }
        }
        let mut again = shards.filter(|_| passed_by);
        again.find_map(|shard| visit(shard, &mut self.shards[shard].lock()))
    }

    /// Returns the free frames, and those of them that a taker would find.
    pub(super) fn list_free(&self) -> (Vec<FrameNo>, Vec<FrameNo>) {
        let in_shard = |shard: usize| {
            let free = self.shards[shard].lock().list(Standing::Free);
            free.into_iter().map(move |index| self.layout.number(shard, index))
        };
        let all = (0..self.shards.len()).flat_map(in_shard).collect();
        (all, self.shards_with_free_from(0).flat_map(in_shard).collect())
    }

    /// Changes which frames of a shard are free.
    fn change<R>(&self, shard: usize, order: &mut Order, change: impl FnOnce(&mut Order) -> R) -> R {
        let value = change(order);
        self.note_free(shard, order.len(Standing::Free));
        value
    }

    fn note_free(&self, shard: usize, now: usize) {
        let free = &self.free_in_shards[shard];
        let before = free.load(Ordering::Relaxed) as usize;
        if before != now {
            free.store(now as u32, Ordering::Relaxed);
            self.free.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// Returns the shards that have free frames: those from `first` on, and then the others.
    fn shards_with_free_from(&self, first: usize) -> impl Iterator<Item = usize> + Clone {
        let has_some = move |&shard: &usize| self.free_in_shards[shard].load(Ordering::Relaxed) > 0;
        (first..self.shards.len()).chain(0..first).filter(has_some)
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
        let sweep = |shard: usize, order: &mut Order| {
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
        self.visit((first..shards).chain(0..first), sweep)
    }

    /// Changes the page of a frame that was claimed outside a sweep. If the shard is locked the frame stays where it is in its queue,
    /// and its next page has a little less time.
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

    /// Notes that the page of a claimed frame goes for another, and leaves a ghost where it is to be remembered. The page that is no
    /// longer new by that loses its uses so far: they were one burst. If it left a ghost when it was evicted, it has returned.
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

    /// Makes the frame the next to be taken. `let_go` frees it: under the lock, since another thread may take it at once.
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
    fn of(most: usize) -> Self {
        Self { shard_size: most.div_ceil((most / SHARD).max(1)) }
    }

    fn shards_for(self, frames: usize) -> usize {
        frames.div_ceil(self.shard_size)
    }

    fn frames_in(self, shard: usize, frames: usize) -> usize {
        frames.saturating_sub(shard * self.shard_size).min(self.shard_size)
    }

    fn number(self, shard: usize, index: usize) -> FrameNo {
        FrameNo((shard * self.shard_size + index) as u32)
    }

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

/// Looks at a frame whose turn has come, and takes uses off one that is spared. A page that is read ahead keeps its expectation when
/// other pages are read ahead.
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
