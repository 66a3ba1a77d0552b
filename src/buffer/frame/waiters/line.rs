//! A shard of the lines: which threads and tasks wait for which frame, and how each leaves. Used under the shard's lock.
//!
//! An entry is found by its key, and linked with its neighbours in a lane of its frame. So the time to get in line, to leave it and to
//! be served does not depend on the length of the line.

use std::mem;

use rustc_hash::FxHashMap;

use slab::Slab;

use crate::{
    buffer::frame::{
        header::{Frame, FrameArrays},
        waiters::{
            fairness::{self, Pass, TurnClock},
            want::Want,
        },
    },
    error::Result,
    id::FrameNo,
    sync::{
        linked_queue::{LinkedItems, LinkedQueue, Links},
        time,
        wait::Drive,
        waking::{StoredWaker, Wakers},
    },
};

/// The most waiters that are served in one go, so that the lock is held for moments only.
const BATCH: usize = 64;

/// The number of entries for which room is kept when none is left.
const ENTRIES_KEPT: usize = 1024;

pub(super) struct Waiter {
    frame: FrameNo,
    pub(super) want: Want,
    drive: Drive,
    lane: Lane,
    /// It came too late for a latch, which is handed to it when it is free.
    has_turn: bool,
    /// How the I/O has ended.
    outcome: Result<()>,
    /// Taken when it is woken.
    waker: Option<StoredWaker>,
    links: Links<usize>,
}

impl LinkedItems<usize> for Slab<Waiter> {
    fn links(&self, key: usize) -> &Links<usize> {
        &self[key].links
    }
}

/// How far a waiter has come: the queues of its frame, in each of which the entries are linked in order of arrival.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Lane {
    /// For an I/O.
    Io,
    /// For a latch, not called yet.
    Waiting,
    /// Came too late for a latch: it waits before those that were not called.
    Late,
    /// Woken to come for the latch, which another thread or task may have taken when it does.
    Called,
    /// The latch is held on its behalf.
    Holding,
    /// Its I/O has ended.
    Over,
}

const LANES: usize = Lane::Over as usize + 1;

#[derive(Default)]
struct FrameLine {
    lanes: [LinkedQueue<usize>; LANES],
    /// Whether a task that was called has to be looked after: see [`Shard::look_after`].
    is_watched: bool,
    /// Whether a called waiter has come since the last look after it.
    has_moved: bool,
}

impl FrameLine {
    fn first(&self, lane: Lane) -> Option<usize> {
        self.lanes[lane as usize].first()
    }

    /// Returns the next waiter for the latch that is not called for it.
    fn next(&self) -> Option<usize> {
        self.first(Lane::Late).or(self.first(Lane::Waiting))
    }

    fn is_empty(&self) -> bool {
        self.lanes.iter().all(LinkedQueue::is_empty)
    }

    fn called(&self) -> usize {
        self.lanes[Lane::Called as usize].len()
    }
}

impl Waiter {
    pub(super) fn was_reached(&self) -> bool {
        matches!(self.lane, Lane::Called | Lane::Holding | Lane::Over)
    }

    pub(super) fn holds_latch(&self) -> bool {
        self.lane == Lane::Holding
    }
}

/// What became of a latch that was passed on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// No waiter is left that is not called already, or the latch is held, and its holder will look at the line.
    Nowhere,
    /// It was handed over, or all waiters at the front were called for it.
    On,
    /// Readers were called, and more of them are to be.
    InPart,
}

#[derive(Default)]
pub(super) struct Shard {
    entries: Slab<Waiter>,
    lines: FxHashMap<FrameNo, FrameLine>,
    turns: TurnClock,
    watched: Vec<FrameNo>,
}

impl Shard {
    pub(super) fn push(&mut self, frame: FrameNo, want: Want, drive: Drive, waker: StoredWaker) -> usize {
        let lane = if want.is_latch() { Lane::Waiting } else { Lane::Io };
        let (waker, links) = (Some(waker), Links::default());
        let entry = Waiter { frame, want, drive, lane, has_turn: false, outcome: Ok(()), waker, links };
        let key = self.entries.insert(entry);
        self.link(key);
        key
    }

    /// Takes an entry out. Its waker, if it has one, is to be dropped without the lock.
    pub(super) fn remove(&mut self, key: usize) -> Waiter {
        self.unlink(key);
        let entry = self.entries.remove(key);
        self.forget_if_empty(entry.frame);
        if self.entries.is_empty() && self.entries.capacity() > ENTRIES_KEPT {
            self.entries = Slab::new();
            self.lines.shrink_to_fit();
        }
        entry
    }

    pub(super) fn is_called(&self, key: usize) -> bool {
        self.entries[key].lane == Lane::Called
    }

    pub(super) fn collect(&mut self, key: usize) -> Option<Result<()>> {
        let is_served = matches!(self.entries[key].lane, Lane::Holding | Lane::Over);
        is_served.then(|| self.remove(key).outcome)
    }

    pub(super) fn exchange_waker(&mut self, key: usize, drive: Drive, waker: &mut Option<StoredWaker>) {
        let entry = &mut self.entries[key];
        entry.drive = drive;
        mem::swap(&mut entry.waker, waker);
    }

    /// Returns whether there are waiters for the frame's I/O; for its latch, not called; and for its latch, called.
    pub(super) fn waiting_for(&self, frame: FrameNo) -> [bool; 3] {
        self.lines.get(&frame).map_or([false; 3], |line| {
            [line.first(Lane::Io).is_some(), line.next().is_some(), line.called() > 0]
        })
    }

    /// Serves the waiters for the frame's I/O, where there is nothing left to wait for. Returns whether there are more of them.
    pub(super) fn io_done(&mut self, frame: Frame<'_>, outcome: &Result<()>, wakers: &mut Wakers) -> bool {
        let state = frame.state.load();
        let mut next = self.lines.get(&frame.no).and_then(|line| line.first(Lane::Io));
        let mut served = 0;
        while let Some(key) = next {
            if served == BATCH {
                return true;
            }
            let entry = &self.entries[key];
            next = self.behind(key);
            // A read and a write cannot be under way together, but the next I/O may have begun already.
            if !entry.want.must_wait(state) {
                self.entries[key].outcome = outcome.clone();
                self.advance(key, Lane::Over, wakers);
                served += 1;
            }
        }
        let [others, ..] = self.waiting_for(frame.no);
        frame.state.update(|s| s.set_io_waiters(others));
        false
    }

    /// Takes the latch for a called waiter that comes, or has it wait on before those that were not called.
    pub(super) fn come(&mut self, key: usize, frame: Frame<'_>) {
        let want = self.entries[key].want;
        self.line(frame.no).has_moved = true;
        let [_, others_wait, _] = self.waiting_for(frame.no);
        let comes_in_time = frame.state.decide(|state| fairness::come(state, want, others_wait));
        self.entries[key].has_turn = !comes_in_time && self.turns.give(time::now());
        self.move_to(if comes_in_time { Lane::Holding } else { Lane::Late }, key);
    }

    /// Passes a released latch on: to the first in line and, if that one shares it, to those right behind that share it too.
    pub(super) fn pass_on(&mut self, frame: Frame<'_>, wakers: &mut Wakers) -> Passed {
        let no = frame.no;
        if self.next(no).is_none() {
            frame.state.update(|state| state.set_latch_waiters(false));
        }
        let mut called = 0;
        while let Some(first) = self.next(no) {
            if called == BATCH {
                return Passed::InPart;
            }
            let Waiter { want, drive, has_turn, .. } = self.entries[first];
            let next = self.after(first).map(|next| self.entries[next].want);
            let pass = frame.state.decide(|state| fairness::pass_on(state, want, has_turn, next.is_some()));
            let lane = match pass {
                Pass::Later => return Passed::Nowhere,
                Pass::Call => Lane::Called,
                Pass::HandOver => Lane::Holding,
            };
            self.advance(first, lane, wakers);
            if drive == Drive::Task && (pass == Pass::HandOver || next.is_some()) {
                self.watch(no);
            }
            if (want, next) != (Want::Shared, Some(Want::Shared)) {
                return Passed::On;
            }
            called += 1;
        }
        Passed::Nowhere
    }

    pub(super) fn is_watching(&self) -> bool {
        !self.watched.is_empty()
    }

    /// Looks after the lines in which a task was called, or handed the latch: its runtime may be busy for long, which must not
    /// hold up those behind it. If no called waiter has come since the last look, others are called beside them, each time twice
    /// as many, and the latch is taken back. `at_once`: all others are called, whether or not one has come.
    pub(super) fn look_after(&mut self, frames: &FrameArrays, at_once: bool, wakers: &mut Wakers) {
        let mut watched = mem::take(&mut self.watched);
        watched.retain(|&no| {
            let line = self.line(no);
            if at_once || !mem::take(&mut line.has_moved) {
                let most = if at_once { usize::MAX } else { line.called().clamp(1, BATCH) };
                for _ in 0..most {
                    self.take_back(frames.get(no));
                    if self.pass_on(frames.get(no), wakers) == Passed::Nowhere {
                        break;
                    }
                }
            }
            let line = self.line(no);
            let is_held = line.first(Lane::Holding).is_some();
            line.is_watched = is_held || line.called() > 0 && line.next().is_some();
            let is_watched = line.is_watched;
            self.forget_if_empty(no);
            is_watched
        });
        self.watched = watched;
    }

    /// Takes the latch back from tasks that it was handed to and that have not come.
    fn take_back(&mut self, frame: Frame<'_>) {
        let mut next = self.line(frame.no).first(Lane::Holding);
        while let Some(key) = next {
            let Waiter { want, drive, .. } = self.entries[key];
            next = self.behind(key);
            if drive == Drive::Task {
                frame.state.update(|state| want.unlatched(state));
                self.move_to(Lane::Called, key);
            }
        }
    }

    /// Has the line looked after. It counts as having moved until the first look.
    fn watch(&mut self, no: FrameNo) {
        let line = self.line(no);
        line.has_moved = true;
        if !mem::replace(&mut line.is_watched, true) {
            self.watched.push(no);
        }
    }

    fn next(&self, no: FrameNo) -> Option<usize> {
        self.lines.get(&no).and_then(FrameLine::next)
    }

    /// Returns the next waiter for the latch but one.
    fn after(&self, next: usize) -> Option<usize> {
        let Waiter { frame, lane, .. } = self.entries[next];
        self.behind(next).or_else(|| self.lines[&frame].first(Lane::Waiting).filter(|_| lane == Lane::Late))
    }

    fn behind(&self, key: usize) -> Option<usize> {
        let Waiter { frame, lane, .. } = self.entries[key];
        self.lines[&frame].lanes[lane as usize].behind(key, &self.entries)
    }

    /// Moves a waiter on, and takes its waker, to be called.
    fn advance(&mut self, key: usize, lane: Lane, wakers: &mut Wakers) {
        wakers.extend(self.entries[key].waker.take());
        self.move_to(lane, key);
    }

    fn move_to(&mut self, lane: Lane, key: usize) {
        self.unlink(key);
        self.entries[key].lane = lane;
        self.link(key);
    }

    fn line(&mut self, no: FrameNo) -> &mut FrameLine {
        self.lines.entry(no).or_default()
    }

    fn forget_if_empty(&mut self, no: FrameNo) {
        if self.lines.get(&no).is_some_and(|line| line.is_empty() && !line.is_watched) {
            self.lines.remove(&no);
        }
    }

    fn link(&mut self, key: usize) {
        let Waiter { frame, lane, .. } = self.entries[key];
        self.lines.entry(frame).or_default().lanes[lane as usize].push_back(key, &self.entries);
    }

    fn unlink(&mut self, key: usize) {
        let Waiter { frame, lane, .. } = self.entries[key];
        let line = self.lines.get_mut(&frame).expect("the frame of a waiter has a line");
        line.lanes[lane as usize].remove(key, &self.entries);
    }
}
