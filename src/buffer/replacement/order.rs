//! The order in which the frames of a shard give up their pages: two queues, and what becomes of a frame whose turn has come. And the
//! queue of those that have none.
//!
//! A plain value: what it has to know of a frame it asks for. Every frame is in one of the queues, from [`Order::new`] on until
//! [`Order::resize`] takes it out. One that was [taken](Order::take_free) from the free ones is on probation, as if it had been a
//! victim; no sweep comes by those that are left.
//!
//! | its turn has come, and it is | on probation | in the main queue |
//! |---|---|---|
//! | used since | to the end of main | to its end, a use less |
//! | a victim | to the end of probation: the next page starts there | to the end of probation |
//! | busy, or expected to be used | to its end | to its end |
//!
//! It is probation's turn as long as that has its tenth of the frames; else it is the main queue's. Three things must not keep a
//! sweep in one queue while there are victims in the other: frames that are busy, which send it to the other queue for one step;
//! victims that nobody wants, being dirty; and a main queue that is used throughout. So after a round of probation it goes to both
//! in turn, and there every frame has its turn as often as it takes to use its uses up: the sweep ends, and misses none.
//!
//! A sweep [in turn](Reach::InTurn) does none of that: it stays with the queue whose turn it is, and ends after a round of probation.

use crate::buffer::frame::state::{MAX_USAGE, Verdict};

/// One of so many frames is for pages on probation.
const PROBATION: usize = 10;

/// In which queue a frame is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// New, or about to be.
    OnProbation,
    /// Used while on probation, or come back.
    Main,
    /// Without a page.
    Free,
}

/// How far a sweep goes for a victim.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Through both queues: a page is wanted now.
    All,
    /// Through probation, and the main queue only where probation has less than its share. So what is read ahead, and is busy
    /// until it is used, never takes more of the pool than pages have that were not used yet.
    InTurn,
}

/// A frame's neighbours in its queue. Before the frames there are three links more: each closes the ring of a queue.
#[derive(Copy, Clone, Debug)]
struct Link {
    newer: u16,
    older: u16,
}

/// The links that are no frame's.
const HEADS: usize = 3;

pub(super) struct Order {
    links: Vec<Link>,
    kept: Vec<Kept>,
    /// How many frames each queue has.
    lens: [usize; HEADS],
}

impl Order {
    pub(super) const BYTES_PER_FRAME: usize = size_of::<Link>() + size_of::<Kept>();

    /// All frames are free, the first to be taken first.
    pub(super) fn new(frames: usize) -> Self {
        let head = |at: usize| Link { newer: at as u16, older: at as u16 };
        let (links, kept) = ((0..HEADS).map(head).collect(), Vec::new());
        let mut order = Self { links, kept, lens: [0; HEADS] };
        order.add(frames, Kept::Free);
        order
    }

    /// From here on there are so many frames. Those that come are the newest on probation, those that go are the last by number.
    pub(super) fn resize(&mut self, frames: usize) {
        for gone in (frames..self.kept.len()).rev() {
            self.unlink(gone);
            self.kept.truncate(gone);
            self.links.truncate(gone + HEADS);
        }
        self.kept.shrink_to_fit();
        self.links.shrink_to_fit();
        self.add(frames, Kept::OnProbation);
    }

    /// The frames up to this number come last in a queue.
    fn add(&mut self, frames: usize, to: Kept) {
        assert!(frames + HEADS <= usize::from(u16::MAX), "{frames} frames in one shard");
        self.kept.reserve_exact(frames - self.kept.len());
        self.links.reserve_exact(frames + HEADS - self.links.len());
        for come in self.kept.len()..frames {
            self.kept.push(to);
            self.links.push(Link { newer: 0, older: 0 });
            self.link(come, to, Self::head(to));
        }
    }

    /// How many frames are in a queue.
    pub(super) fn len(&self, queue: Kept) -> usize {
        self.lens[Self::head(queue)]
    }

    /// The frames of a queue, from the oldest on.
    pub(super) fn list(&self, queue: Kept) -> Vec<usize> {
        let newer = |&frame: &usize| usize::from(self.links[frame + HEADS].newer).checked_sub(HEADS);
        std::iter::successors(self.oldest(queue), newer).collect()
    }

    /// The first of the free frames that `take` takes. Those that it does not take are not free: they count as taken too.
    pub(super) fn take_free(&mut self, mut take: impl FnMut(usize) -> bool) -> Option<usize> {
        while let Some(frame) = self.oldest(Kept::Free) {
            self.put_last(frame, Kept::OnProbation);
            if take(frame) {
                return Some(frame);
            }
        }
        None
    }

    /// Comes by frame after frame, with a look at each, and shows the victims, and where they were, until `enough` gives
    /// a value.
    pub(super) fn sweep<R>(
        &mut self,
        reach: Reach,
        mut look: impl FnMut(usize, Kept) -> Verdict,
        mut enough: impl FnMut(usize, Verdict, Kept) -> Option<R>,
    ) -> Option<R> {
        let frames = self.kept.len();
        let round = self.len(Kept::OnProbation);
        let mut passed_over = false;
        let mut seen_on_probation = 0;
        // Frames in a row that are busy, since it is both queues' turn: when these are all, the rest would be the same again.
        let mut busy = 0;
        for step in 0..round + 2 * frames * (MAX_USAGE as usize + 2) {
            let from = match (reach, step < round, step % 2) {
                (Reach::InTurn, ..) if self.is_turn_of_probation() => Kept::OnProbation,
                (Reach::InTurn, ..) => Kept::Main,
                (Reach::All, true, _) if self.is_turn_of_probation() != passed_over => Kept::OnProbation,
                (Reach::All, false, 0) => Kept::OnProbation,
                (Reach::All, ..) => Kept::Main,
            };
            seen_on_probation += usize::from(from == Kept::OnProbation);
            if busy == 2 * frames || reach == Reach::InTurn && seen_on_probation > round {
                break;
            }
            let frame = self.oldest(from);
            let verdict = frame.map_or(Verdict::Busy, |frame| look(frame, from));
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
            let to = match verdict {
                Verdict::Busy | Verdict::Expected => from,
                Verdict::Used => Kept::Main,
                Verdict::Dirty | Verdict::Evictable => Kept::OnProbation,
            };
            self.put_last(frame, to);
            if matches!(verdict, Verdict::Dirty | Verdict::Evictable)
                && let Some(value) = enough(frame, verdict, from)
            {
                return Some(value);
            }
        }
        None
    }

    /// The frame is free, and the next to be taken, if it is (still) one of these.
    pub(super) fn release(&mut self, frame: usize) {
        if frame < self.kept.len() {
            self.unlink(frame);
            let oldest = usize::from(self.links[Self::head(Kept::Free)].newer);
            self.link(frame, Kept::Free, oldest);
        }
    }

    /// Whether it is, unless there is a reason against it. Else it is that of the main queue.
    fn is_turn_of_probation(&self) -> bool {
        self.len(Kept::OnProbation) >= (self.kept.len() / PROBATION).max(1)
    }

    /// The frame's turn comes last in this queue, if it is (still) one of these.
    pub(super) fn put_last(&mut self, frame: usize, to: Kept) {
        if frame < self.kept.len() {
            self.unlink(frame);
            self.link(frame, to, Self::head(to));
        }
    }

    /// The link that closes a queue's ring: its newer neighbour is the oldest frame, its older one the newest.
    fn head(queue: Kept) -> usize {
        match queue {
            Kept::OnProbation => 0,
            Kept::Main => 1,
            Kept::Free => 2,
        }
    }

    fn oldest(&self, queue: Kept) -> Option<usize> {
        usize::from(self.links[Self::head(queue)].newer).checked_sub(HEADS)
    }

    /// Takes the frame out of its queue.
    fn unlink(&mut self, frame: usize) {
        let Link { newer, older } = self.links[frame + HEADS];
        self.links[usize::from(newer)].older = older;
        self.links[usize::from(older)].newer = newer;
        self.lens[Self::head(self.kept[frame])] -= 1;
    }

    /// Puts the frame into a queue, right before (older than) the link `newer`.
    fn link(&mut self, frame: usize, queue: Kept, newer: usize) {
        let older = self.links[newer].older;
        self.links[frame + HEADS] = Link { newer: newer as u16, older };
        self.links[newer].older = (frame + HEADS) as u16;
        self.links[usize::from(older)].newer = (frame + HEADS) as u16;
        self.kept[frame] = queue;
        self.lens[Self::head(queue)] += 1;
    }
}

#[cfg(test)]
mod tests;
