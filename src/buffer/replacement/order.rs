//! Keeps the frames of one shard in the order in which they give up their pages, and those without a page in the order in which
//! they are taken. A plain value: it asks its caller for what it must know of a frame.
//!
//! | its turn has come, and it is | in the small queue | in the main queue |
//! |---|---|---|
//! | used since | goes to the end of main | goes to its end |
//! | a victim | gives up its page, and goes to its end | gives up its page, and goes to the end of small |
//! | a victim whose page has returned | [challenges](Order::challenge) the oldest frame of main | |
//! | busy, or expected to be used | goes to its end | goes to its end |
//!
//! It is the small queue's turn as long as that has its share of the frames; else it is main's. Three things must not keep a
//! sweep in one queue while there are victims in the other: frames that are busy, which send it to the other queue for one step;
//! victims that the caller does not take, being dirty; and a main queue that is used throughout. So after a round of the small
//! queue the two take turns, and each frame has as many turns as it takes to use up its usage count: the sweep ends, and misses
//! no victim. A sweep [in turn](Reach::InTurn) does none of that: it stays with the queue whose turn it is, and ends after a round of
//! the small one.

use std::{collections::VecDeque, mem};

use crate::{
    buffer::frame::state::{MAX_USAGE, Verdict},
    sync::linked_queue::{LinkedItems, LinkedQueue, Links},
};

/// The small queue's share: one in `SMALL` frames.
const SMALL: usize = 8;

/// Pages that count as new: one for `NEW` frames, and [`NEW_AT_LEAST`] more.
const NEW: usize = 128;
const NEW_AT_LEAST: usize = 3;

/// Returns how many pages of `frames` frames count as new: few enough that the small queue leaves others time to be used.
pub(super) fn new_pages_of(frames: usize) -> usize {
    (frames / NEW + NEW_AT_LEAST).min((frames / SMALL).max(1).div_ceil(2))
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The small queue: its page is new, or about to come.
    Small,
    /// The small queue, with a page that was evicted a short time ago, and has returned.
    Returned,
    /// The small queue, with a page whose turn has come in main: it may go, and does not count as seen only once.
    FromMain,
    /// The main queue: its page was used again, or won a challenge.
    Main,
    /// The free ones: it has no page.
    Free,
}

/// How far a sweep goes for a victim.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Through both queues: a page is wanted now.
    All,
    /// Through the small queue, and main only where the small one has less than its share. So what is read ahead, and is busy
    /// until it is used, never takes more of the pool than the pages have that were not used yet.
    InTurn,
}

const QUEUES: usize = 3;

pub(super) struct Order {
    links: Vec<Links<u16>>,
    standings: Vec<Standing>,
    queues: [LinkedQueue<u16>; QUEUES],
    /// The frames that were admitted last, the oldest first.
    new_pages: VecDeque<u16>,
}

impl LinkedItems<u16> for Vec<Links<u16>> {
    fn links(&self, frame: u16) -> &Links<u16> {
        &self[usize::from(frame)]
    }
}

impl Order {
    pub(super) const BYTES_PER_FRAME: usize = size_of::<Links<u16>>() + size_of::<Standing>();

    /// Makes an order of free frames, the first to be taken first.
    pub(super) fn new(frames: usize) -> Self {
        let queues = [LinkedQueue::default(); QUEUES];
        let mut order = Self { links: Vec::new(), standings: Vec::new(), queues, new_pages: VecDeque::new() };
        order.add(frames, Standing::Free);
        order
    }

    /// Changes how many frames there are. Those that come are the newest of the small queue, those that go are the last by number.
    pub(super) fn resize(&mut self, frames: usize) {
        for gone in (frames..self.standings.len()).rev() {
            self.unlink(gone);
            self.standings.truncate(gone);
            self.links.truncate(gone);
        }
        self.standings.shrink_to_fit();
        self.links.shrink_to_fit();
        self.add(frames, Standing::Small);
    }

    /// Adds the frames up to this number at the end of a queue.
    fn add(&mut self, frames: usize, to: Standing) {
        assert!(frames <= usize::from(u16::MAX), "{frames} frames in one shard");
        self.standings.reserve_exact(frames - self.standings.len());
        self.links.reserve_exact(frames - self.links.len());
        for come in self.standings.len()..frames {
            self.standings.push(to);
            self.links.push(Links::default());
            self.queues[Self::queue(to)].push_back(come as u16, &self.links);
        }
        self.new_pages.reserve_exact((self.new_pages_most() + 1).saturating_sub(self.new_pages.len()));
    }

    pub(super) fn len(&self, queue: Standing) -> usize {
        self.queues[Self::queue(queue)].len()
    }

    pub(super) fn list(&self, queue: Standing) -> Vec<usize> {
        self.queues[Self::queue(queue)].front_to_back(&self.links).map(usize::from).collect()
    }

    /// Takes the first of the free frames that `take` accepts. Those that it does not accept are not free any more.
    pub(super) fn take_free(&mut self, mut take: impl FnMut(usize) -> bool) -> Option<usize> {
        while let Some(frame) = self.oldest(Standing::Free) {
            self.put_last(frame, Standing::Small);
            if take(frame) {
                return Some(frame);
            }
        }
        None
    }

    /// Visits frame after frame, looks at each, and shows the victims, until `enough` returns a value.
    pub(super) fn sweep<R>(
        &mut self,
        reach: Reach,
        mut look: impl FnMut(usize, Standing) -> Verdict,
        mut enough: impl FnMut(usize, Verdict) -> Option<R>,
    ) -> Option<R> {
        let frames = self.standings.len();
        let round = self.len(Standing::Small);
        let mut passed_over = false;
        let mut seen_in_small = 0;
        // Frames in a row that are busy, since the queues take turns: when these are all, the sweep would only repeat itself.
        let mut busy = 0;
        for step in 0..round + 2 * frames * (MAX_USAGE as usize + 2) {
            let queue = match (reach, step < round, step % 2) {
                (Reach::InTurn, ..) if self.is_turn_of_small() => Standing::Small,
                (Reach::InTurn, ..) => Standing::Main,
                (Reach::All, true, _) if self.is_turn_of_small() != passed_over => Standing::Small,
                (Reach::All, false, 0) => Standing::Small,
                (Reach::All, ..) => Standing::Main,
            };
            seen_in_small += usize::from(queue == Standing::Small);
            if busy == 2 * frames || reach == Reach::InTurn && seen_in_small > round {
                break;
            }
            let frame = self.oldest(queue);
            let verdict = frame.map_or(Verdict::Busy, |frame| look(frame, queue));
            let is_same_again = match reach {
                Reach::All => step >= round && verdict == Verdict::Busy,
                Reach::InTurn => matches!(verdict, Verdict::Busy | Verdict::Expected),
            };
            busy = if is_same_again { busy + 1 } else { 0 };
            let Some(frame) = frame else {
                passed_over = true;
                continue;
            };
            passed_over = matches!(verdict, Verdict::Busy | Verdict::Expected);
            let standing = self.standings[frame];
            let victim = match (verdict, standing) {
                (Verdict::Busy | Verdict::Expected, _) => {
                    self.put_last(frame, standing);
                    None
                }
                (Verdict::Used, _) => {
                    self.put_last(frame, Standing::Main);
                    None
                }
                (_, Standing::Returned) => self.challenge(frame, verdict, &mut look),
                _ => Some((frame, verdict)),
            };
            if let Some((frame, verdict)) = victim {
                let is_from_main = matches!(self.standings[frame], Standing::Main | Standing::FromMain);
                self.put_last(frame, if is_from_main { Standing::FromMain } else { Standing::Small });
                if let Some(value) = enough(frame, verdict) {
                    return Some(value);
                }
            }
        }
        None
    }

    /// Decides between the page of this frame, a victim that has returned, and the oldest frame of main, and returns the one that
    /// goes. The page has shown once more that it comes back, and no more than that: it takes the other's place only if that was
    /// not used since its last turn. So a loop that is longer than the pool leaves main as it is, and pages of a past hot set go.
    fn challenge(
        &mut self,
        frame: usize,
        verdict: Verdict,
        look: &mut impl FnMut(usize, Standing) -> Verdict,
    ) -> Option<(usize, Verdict)> {
        if self.len(Standing::Small) > self.share_of_small() {
            self.put_last(frame, Standing::Main);
            return None;
        }
        let Some(rival) = self.oldest(Standing::Main) else { return Some((frame, verdict)) };
        let of_rival = look(rival, Standing::Main);
        if matches!(of_rival, Verdict::Dirty | Verdict::Evictable) {
            self.put_last(frame, Standing::Main);
            Some((rival, of_rival))
        } else {
            self.put_last(rival, Standing::Main);
            Some((frame, verdict))
        }
    }

    /// Notes that a victim, which a sweep has just shown, gives up its page. Returns whether it was seen only once, and so is remembered.
    pub(super) fn note_taken(&mut self, frame: usize) -> bool {
        mem::replace(&mut self.standings[frame], Standing::Small) == Standing::Small
    }

    /// Makes the frame, which gets another page, the newest of the small queue. Returns whether its former page was in that queue.
    pub(super) fn renew(&mut self, frame: usize) -> bool {
        let was_in_small = matches!(self.standings.get(frame), Some(Standing::Small | Standing::Returned));
        self.put_last(frame, Standing::Small);
        was_in_small
    }

    /// Notes that the frame gets a new page. Returns the frame of the page that is no longer new, if that is still [`Standing::Small`].
    pub(super) fn admit(&mut self, frame: usize) -> Option<usize> {
        self.new_pages.push_back(frame as u16);
        if self.new_pages.len() <= self.new_pages_most() {
            return None;
        }
        let past = usize::from(self.new_pages.pop_front()?);
        (self.standings.get(past) == Some(&Standing::Small)).then_some(past)
    }

    pub(super) fn note_return(&mut self, frame: usize) {
        self.standings[frame] = Standing::Returned;
    }

    /// Puts the frame among the free ones, as the next to be taken, if it is (still) one of the shard's.
    pub(super) fn release(&mut self, frame: usize) {
        if frame < self.standings.len() {
            self.unlink(frame);
            self.standings[frame] = Standing::Free;
            self.queues[Self::queue(Standing::Free)].push_front(frame as u16, &self.links);
        }
    }

    /// Returns whether the next victim is to come from the small queue, unless there is a reason against it.
    fn is_turn_of_small(&self) -> bool {
        self.len(Standing::Small) >= self.share_of_small()
    }

    fn share_of_small(&self) -> usize {
        (self.standings.len() / SMALL).max(1)
    }

    fn new_pages_most(&self) -> usize {
        new_pages_of(self.standings.len())
    }

    /// Makes the frame the newest of this queue, if it is (still) one of the shard's.
    #[inline]
    pub(super) fn put_last(&mut self, frame: usize, to: Standing) {
        if frame < self.standings.len() {
            self.unlink(frame);
            self.standings[frame] = to;
            self.queues[Self::queue(to)].push_back(frame as u16, &self.links);
        }
    }

    fn queue(of: Standing) -> usize {
        match of {
            Standing::Small | Standing::Returned | Standing::FromMain => 0,
            Standing::Main => 1,
            Standing::Free => 2,
        }
    }

    fn oldest(&self, queue: Standing) -> Option<usize> {
        self.queues[Self::queue(queue)].first().map(usize::from)
    }

    #[inline]
    fn unlink(&mut self, frame: usize) {
        self.queues[Self::queue(self.standings[frame])].remove(frame as u16, &self.links);
    }
}

#[cfg(test)]
mod tests;
