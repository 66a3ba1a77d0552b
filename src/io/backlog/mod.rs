//! What waits for the device, and which request goes next. Pure: no I/O, no clock, no lock.
//!
//! Every method with a queue of its own [admits](Backlog::admit) requests here, and starts what comes out: demands first, files in turn,
//! none beyond its share, neighbours joined (`design/io.md` has the rules and their reasons). So that a file or a disk that does not
//! answer holds up no other: background reads of one file leave one place to those of the others, and writes that no caller waits for
//! leave a part of all places to demands. Closed, it refuses all that comes, whose thread transfers it by itself; what was admitted
//! before still goes.
//!
//! Invariants: what waits, what is in flight, and the work for each request are bounded. A request comes out once, or as a part of one
//! that comes out once. Requests of one file and urgency come out in the order of arrival, except where they were joined or became
//! demands. A file is in the line for its turn while it has something to start and is below its share.

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, mem};

use rustc_hash::FxHashMap;
use slab::Slab;

use crate::{
    id::FileId,
    io::{
        file::File,
        operation::{Lease, Operation, Urgency},
    },
    observe::{Counter, Counters},
    sync::linked_queue::{LinkedItems, LinkedQueue, Links},
};

/// How many of a file's last requests are tried for a new one to join.
const JOIN_WINDOW: usize = 8;

/// How many places are checked, with each request that goes, for requests that a caller waits for by now.
const LOOKS: usize = 8;

#[derive(Copy, Clone, Debug)]
pub(crate) struct BacklogLimits {
    pub(crate) waiting: usize,
    pub(crate) in_flight: usize,
    /// Background requests of one file in flight. At least one, and one less than a share of all at the most: of all files together there
    /// may be one more, which a file that does not answer leaves to the others.
    pub(crate) background: usize,
    /// Bytes up to which requests are joined.
    pub(crate) combine: usize,
}

/// Returns the share of a whole that one file, or all of look-ahead, gets unless told otherwise: three quarters, so that
/// something is left for the others; but one of one.
pub(crate) const fn share(whole: usize) -> usize {
    if whole < 2 { whole } else { whole - whole.div_ceil(4) }
}

/// How many writes of one file that no caller waits for are in flight at once: a demand waits for all of them in the device.
const WRITES_AT_ONCE: usize = 64;

/// Returns what writes that no caller waits for may have of a file's share: three quarters, and all but one at most; but one of
/// one.
fn share_of_writes(share: usize) -> usize {
    let left = if share < 2 { 0 } else { (share / 4).max(1) };
    (share - left).min(WRITES_AT_ONCE)
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Pushed {
    Queued,
    Joined,
}

pub(crate) struct Backlog<L: Lease> {
    limits: BacklogLimits,
    /// Requests that may be in flight, by urgency.
    most: [usize; Urgency::KINDS],
    /// All that wait, each in a row of its file. It grows to the most that ever waited and keeps that size.
    queued: Slab<Waiting<L>>,
    files: FxHashMap<FileId, FileQueue>,
    /// Files that have something to start, by urgency. Some may have reached their share since.
    turns: [VecDeque<FileId>; Urgency::KINDS],
    demands: usize,
    /// How many of those that wait are bounded by [`BacklogLimits::waiting`].
    crowd: usize,
    in_flight: [usize; Urgency::KINDS],
    quota: Quota,
    /// Where the next check for requests that became demands begins.
    look_at: usize,
    is_closed: bool,
}

struct Waiting<L: Lease> {
    operation: Operation<L>,
    /// Its offset in the file, here so that a search for neighbours stays in the slab.
    offset: u64,
    end: u64,
    links: Links<u32>,
}

impl<L: Lease> LinkedItems<u32> for Slab<Waiting<L>> {
    fn links(&self, key: u32) -> &Links<u32> {
        &self[key as usize].links
    }
}

struct FileQueue {
    /// What waits, by urgency, in order of arrival.
    rows: [LinkedQueue<u32>; Urgency::KINDS],
    in_turn: [bool; Urgency::KINDS],
    in_flight: [usize; Urgency::KINDS],
    /// What it may have in flight, by urgency; that of demands is its share of all.
    most: [usize; Urgency::KINDS],
    /// Whether the file has a bound of its own. Then its requests are never turned away: their submitters would transfer them
    /// beside that bound. There are no more of them than frames.
    has_own_bound: bool,
}

impl<L: Lease> Backlog<L> {
    pub(crate) fn new(mut limits: BacklogLimits) -> Self {
        let share = share(limits.in_flight);
        limits.background = limits.background.min(share.saturating_sub(1)).max(1);
        // Each kind that no caller waits for has a share. But if there are two places, each of two files gets one.
        let unawaited = share.max(limits.in_flight.min(2));
        let all_background = if seeded!("look_ahead_of_two_places_has_one") { share } else { unawaited };
        Self {
            limits,
            most: [usize::MAX, (limits.background + 1).min(all_background.max(1)), unawaited],
            queued: Slab::new(),
            files: FxHashMap::default(),
            turns: Default::default(),
            demands: 0,
            crowd: 0,
            in_flight: [0; Urgency::KINDS],
            quota: Quota::default(),
            look_at: 0,
            is_closed: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.is_closed && self.is_empty()
    }

    /// Returns how many requests that no caller waits for would be taken in now: they leave a share of the places to demands. None when
    /// closed.
    pub(crate) fn room(&self) -> usize {
        if self.is_closed { 0 } else { share(self.limits.waiting).saturating_sub(self.crowd) }
    }

    /// Takes requests in, up to the first that there is no room for. Returns how many wait now that did not before, and that first one; those
    /// behind it have not been asked for.
    pub(crate) fn admit(
        &mut self,
        requests: &mut dyn Iterator<Item = Operation<L>>,
        counters: &Counters,
    ) -> (usize, Option<Operation<L>>) {
        let (mut queued, mut joined, mut refused) = (0, 0, None);
        for request in requests {
            match if self.is_closed { Err(request) } else { self.push(request) } {
                Ok(Pushed::Queued) => queued += 1,
                Ok(Pushed::Joined) => joined += 1,
                Err(request) => {
                    refused = Some(request);
                    break;
                }
            }
        }
        counters.add(Counter::HandedOver, (queued + joined) as u64);
        counters.add(Counter::Joined, joined as u64);
        (queued, refused)
    }

    /// Takes a request in, or returns it where too many wait.
    fn push(&mut self, operation: Operation<L>) -> Result<Pushed, Operation<L>> {
        let (id, urgency) = (operation.file.id, operation.urgency);
        let best = operation.file.best_pages * operation.file.page_size.bytes();
        let line = self.files.entry(id).or_insert_with(|| FileQueue::new(&operation.file, &self.limits));
        let row = &line.rows[urgency as usize];
        let combine = self.limits.combine.max(best);
        let arriving = match join_last_few(&mut self.queued, row, Waiting::new(operation), combine) {
            None => return Ok(Pushed::Joined),
            Some(arriving) => arriving,
        };
        let line_has_own_bound = line.has_own_bound;
        let is_full = match urgency {
            _ if line_has_own_bound => false,
            Urgency::Writeback => self.room() == 0,
            Urgency::Demand | Urgency::Background => self.crowd >= self.limits.waiting,
        };
        if is_full {
            return Err(arriving.operation);
        }
        self.crowd += usize::from(!line_has_own_bound);
        let key = self.queued.insert(arriving) as u32;
        self.enqueue(id, urgency, key);
        Ok(Pushed::Queued)
    }

    fn enqueue(&mut self, id: FileId, urgency: Urgency, key: u32) {
        let line = self.files.get_mut(&id).expect("the file of a request has a line");
        line.rows[urgency as usize].push_back(key, &self.queued);
        self.demands += usize::from(urgency == Urgency::Demand);
        line.get_in_turn(id, &mut self.turns);
    }

    /// Takes out the request that goes next. It counts as in flight from here on, as one of its file and urgency, until that is
    /// said to have [ended](Self::end). `None` while nothing can go: nothing waits, or what waits has its share in flight.
    pub(crate) fn next(&mut self) -> Option<Operation<L>> {
        self.look_for_demands();
        let can_go = Urgency::ALL.map(|urgency| self.can_go(urgency));
        let urgency = self.quota.choose(|urgency| can_go[urgency as usize])?;
        let file = self.turns[urgency as usize].pop_front()?;
        let line = self.files.get_mut(&file)?;
        line.in_turn[urgency as usize] = false;
        let row = &mut line.rows[urgency as usize];
        let key = row.first()?;
        row.remove(key, &self.queued);
        line.in_flight[urgency as usize] += 1;
        line.get_in_turn(file, &mut self.turns);
        self.crowd -= usize::from(!line.has_own_bound);
        self.demands -= usize::from(urgency == Urgency::Demand);
        self.in_flight[urgency as usize] += 1;
        Some(self.queued.remove(key as usize).operation)
    }

    /// Returns whether [`next`](Self::next) would return a request.
    pub(crate) fn has_next(&mut self) -> bool {
        Urgency::ALL.into_iter().any(|urgency| self.can_go(urgency))
    }

    fn can_go(&mut self, urgency: Urgency) -> bool {
        self.in_flight[urgency as usize] < self.most[urgency as usize] && self.a_file_is_in_turn(urgency)
    }

    /// Returns whether a file has something of this urgency to start. Files that have their share in flight leave the line; they
    /// come back when one of their requests is over.
    fn a_file_is_in_turn(&mut self, urgency: Urgency) -> bool {
        let turns = &mut self.turns[urgency as usize];
        while let Some(id) = turns.front() {
            let line = self.files.get_mut(id).expect("a file in line has a line");
            if line.may_start(urgency) {
                return true;
            }
            line.in_turn[urgency as usize] = false;
            turns.pop_front();
        }
        false
    }

    /// Checks a few requests that no caller waited for, others each time, and makes those demands that a caller waits for by now.
    /// Not needed while they go anyhow.
    fn look_for_demands(&mut self) {
        let held_back = self.in_flight[Urgency::Background as usize] >= self.limits.background;
        let passed_over = held_back || self.demands > 0;
        if !passed_over || self.queued.len() == self.demands {
            return;
        }
        let keys = self.queued.capacity();
        for _ in 0..LOOKS.min(keys) {
            self.look_at = (self.look_at + 1) % keys;
            let awaited = self.queued.get(self.look_at).filter(|waiting| {
                waiting.operation.urgency != Urgency::Demand && waiting.operation.lease.is_awaited()
            });
            if let Some((id, urgency)) =
                awaited.map(|waiting| (waiting.operation.file.id, waiting.operation.urgency))
            {
                self.make_demand(id, urgency, self.look_at as u32);
            }
        }
    }

    fn make_demand(&mut self, id: FileId, urgency: Urgency, key: u32) {
        let line = self.files.get_mut(&id).expect("the file of a request has a line");
        line.rows[urgency as usize].remove(key, &self.queued);
        self.queued[key as usize].operation.urgency = Urgency::Demand;
        self.enqueue(id, Urgency::Demand, key);
    }

    /// Notes that a request of this file that went with this urgency is over.
    pub(crate) fn end(&mut self, file: FileId, urgency: Urgency) {
        self.in_flight[urgency as usize] -= 1;
        if let Some(line) = self.files.get_mut(&file) {
            line.in_flight[urgency as usize] -= 1;
            line.get_in_turn(file, &mut self.turns);
        }
    }

    /// Takes out all that waits, whichever file's turn it is.
    pub(crate) fn take_all(&mut self) -> Vec<Operation<L>> {
        self.files.values_mut().for_each(|line| (line.rows, line.in_turn) = Default::default());
        self.turns.iter_mut().for_each(VecDeque::clear);
        (self.demands, self.crowd) = (0, 0);
        mem::take(&mut self.queued).into_iter().map(|(_, waiting)| waiting.operation).collect()
    }

    #[cfg(test)]
    pub(crate) fn knows(&self, file: FileId) -> bool {
        self.files.contains_key(&file)
    }

    /// Forgets a file that has no request left.
    pub(crate) fn forget(&mut self, file: FileId) {
        let is_idle =
            |line: &mut FileQueue| line.all_in_flight() == 0 && line.rows.iter().all(LinkedQueue::is_empty);
        if self.files.get_mut(&file).is_some_and(is_idle) {
            self.files.remove(&file);
            self.turns.iter_mut().for_each(|turns| turns.retain(|&id| id != file));
        }
    }
}

/// Joins a request to one of the last few of its row. Returns it where it touches none.
fn join_last_few<L: Lease>(
    queued: &mut Slab<Waiting<L>>,
    row: &LinkedQueue<u32>,
    mut arriving: Waiting<L>,
    combine: usize,
) -> Option<Waiting<L>> {
    let touches = |key: &u32| {
        let old = &queued[*key as usize];
        old.takes(&arriving, combine) || arriving.takes(old, combine)
    };
    let Some(key) = row.back_to_front(queued).take(JOIN_WINDOW).find(touches) else {
        return Some(arriving);
    };
    let old = &mut queued[key as usize];
    if arriving.end == old.offset {
        // It came later but lies in front: it takes the other's place.
        mem::swap(&mut old.operation, &mut arriving.operation);
        old.offset = arriving.offset;
    } else {
        old.end = arriving.end;
    }
    old.operation.join(arriving.operation);
    None
}

impl<L: Lease> Waiting<L> {
    fn new(operation: Operation<L>) -> Self {
        let (offset, end) = (operation.offset, operation.end());
        Self { operation, offset, end, links: Links::default() }
    }

    /// Returns whether `next` can become the end of this.
    fn takes(&self, next: &Self, combine: usize) -> bool {
        self.end == next.offset
            && next.end - self.offset <= combine as u64
            && self.operation.can_join(&next.operation)
    }
}

impl FileQueue {
    fn new(file: &File, limits: &BacklogLimits) -> Self {
        let own = file.max_in_flight.map_or(share(limits.in_flight), |own| own.get() as usize);
        let own = own.clamp(1, limits.in_flight.max(1));
        let background = if seeded!("one_file_has_all_look_ahead") { usize::MAX } else { limits.background };
        Self {
            rows: Default::default(),
            in_turn: [false; Urgency::KINDS],
            in_flight: [0; Urgency::KINDS],
            most: [own, background, share_of_writes(own)],
            has_own_bound: file.max_in_flight.is_some(),
        }
    }

    fn may_start(&self, urgency: Urgency) -> bool {
        self.in_flight[urgency as usize] < self.most[urgency as usize]
            && self.all_in_flight() < self.most[Urgency::Demand as usize]
            && !self.rows[urgency as usize].is_empty()
    }

    fn all_in_flight(&self) -> usize {
        self.in_flight.iter().sum()
    }

    /// Puts the file in line for what it may start, unless it is there already.
    fn get_in_turn(&mut self, id: FileId, turns: &mut [VecDeque<FileId>; Urgency::KINDS]) {
        for urgency in Urgency::ALL {
            if self.may_start(urgency) && !self.in_turn[urgency as usize] {
                self.in_turn[urgency as usize] = true;
                turns[urgency as usize].push_back(id);
            }
        }
    }
}

/// How often each urgency is passed over before it goes: background reads eight times, writeback four.
const PASSED_OVER: [u32; Urgency::KINDS] = [0, 8, 4];

/// How often each urgency has been passed over. Of those that can go, the most urgent one goes, unless another has been passed over as
/// often in a row as it may be. So demands go first, and neither reads ahead nor writes that no caller waits for ever starve.
#[derive(Default)]
struct Quota {
    passed_over: [u32; Urgency::KINDS],
}

impl Quota {
    /// Chooses among the urgencies for which `can_go` holds, and counts the others as passed over. One that could not go keeps
    /// its count: otherwise it would begin anew each time its file has its share in flight.
    fn choose(&mut self, mut can_go: impl FnMut(Urgency) -> bool) -> Option<Urgency> {
        let can_go = Urgency::ALL.map(|urgency| can_go(urgency).then_some(urgency));
        let waiting = || can_go.into_iter().flatten();
        let overdue = |urgency: &Urgency| {
            self.passed_over[*urgency as usize].checked_sub(PASSED_OVER[*urgency as usize])
        };
        let is_due = |urgency: &Urgency| *urgency != Urgency::Demand && overdue(urgency).is_some();
        // Of several, the one that has waited longest beyond its quota; otherwise the least urgent, which all others pass over.
        let due = waiting().filter(is_due).max_by_key(overdue).filter(|_| !seeded!("writes_without_a_quota"));
        let chosen = due.or_else(|| waiting().next())?;
        for urgency in waiting() {
            self.passed_over[urgency as usize] += 1;
        }
        self.passed_over[chosen as usize] = 0;
        Some(chosen)
    }
}
