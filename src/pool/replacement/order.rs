//! The order in which the frames of a shard give up their pages: two queues, and what becomes of a frame whose turn has come.
//!
//! A plain value: what it has to know of a frame it asks for. Every frame is in one of the queues, from [`Order::new`] on until
//! [`Order::resize`] takes it out.
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

use crate::pool::state::{MAX_USAGE, Verdict};

/// One of so many frames is for pages on probation.
const PROBATION: usize = 10;

/// In which queue a frame is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// New, or about to be.
    OnProbation,
    /// Used while on probation, or come back.
    Main,
}

impl Kept {
    fn other(self) -> Self {
        match self {
            Self::OnProbation => Self::Main,
            Self::Main => Self::OnProbation,
        }
    }
}

/// A frame's neighbours in its queue. Before the frames there are two links more: each closes the ring of a queue.
#[derive(Copy, Clone, Debug)]
struct Link {
    newer: u16,
    older: u16,
}

/// The links that are no frame's.
const HEADS: usize = 2;

pub(super) struct Order {
    links: Vec<Link>,
    kept: Vec<Kept>,
    on_probation: usize,
}

impl Order {
    pub(super) const BYTES_PER_FRAME: usize = size_of::<Link>() + size_of::<Kept>();

    /// All frames on probation, the first being the oldest.
    pub(super) fn new(frames: usize) -> Self {
        let head = |at: usize| Link { newer: at as u16, older: at as u16 };
        let mut order = Self { links: (0..HEADS).map(head).collect(), kept: Vec::new(), on_probation: 0 };
        order.resize(frames);
        order
    }

    /// From here on there are so many frames. Those that come are the newest on probation, those that go are the last by number.
    pub(super) fn resize(&mut self, frames: usize) {
        assert!(frames + HEADS <= usize::from(u16::MAX), "{frames} frames in one shard");
        for gone in (frames..self.kept.len()).rev() {
            self.unlink(gone, Kept::Main);
            self.kept.truncate(gone);
            self.links.truncate(gone + HEADS);
        }
        self.kept.shrink_to_fit();
        self.links.shrink_to_fit();
        self.kept.reserve_exact(frames - self.kept.len());
        self.links.reserve_exact(frames + HEADS - self.links.len());
        for come in self.kept.len()..frames {
            self.kept.push(Kept::OnProbation);
            self.links.push(Link { newer: 0, older: 0 });
            self.on_probation += 1;
            self.link(come, Self::head(Kept::OnProbation));
        }
    }

    /// Comes by frame after frame, with a look at each, and shows the victims, and where they were, until `enough` gives
    /// a value.
    pub(super) fn sweep<R>(
        &mut self,
        mut look: impl FnMut(usize, Kept) -> Verdict,
        mut enough: impl FnMut(usize, Verdict, Kept) -> Option<R>,
    ) -> Option<R> {
        let frames = self.kept.len();
        let round = self.on_probation;
        let mut passed_over = false;
        for step in 0..round + 2 * frames * (MAX_USAGE as usize + 2) {
            let from = match (step < round, step % 2) {
                (true, _) if passed_over => self.turn().other(),
                (true, _) => self.turn(),
                (false, 0) => Kept::OnProbation,
                (false, _) => Kept::Main,
            };
            let Some(frame) = self.oldest(from) else {
                passed_over = true;
                continue;
            };
            let verdict = look(frame, from);
            passed_over = matches!(verdict, Verdict::Busy | Verdict::Expected);
            let to = match verdict {
                Verdict::Busy | Verdict::Expected => from,
                Verdict::Used => Kept::Main,
                Verdict::Clean | Verdict::Claim => Kept::OnProbation,
            };
            self.put_last(frame, to);
            if matches!(verdict, Verdict::Clean | Verdict::Claim)
                && let Some(value) = enough(frame, verdict, from)
            {
                return Some(value);
            }
        }
        None
    }

    /// The frame's turn comes next, if it is (still) one of these.
    pub(super) fn put_first(&mut self, frame: usize) {
        if frame < self.kept.len() {
            self.unlink(frame, Kept::OnProbation);
            let oldest = usize::from(self.links[Self::head(Kept::OnProbation)].newer);
            self.link(frame, oldest);
        }
    }

    /// Whose turn it is, unless there is a reason against it.
    fn turn(&self) -> Kept {
        let tenth = (self.kept.len() / PROBATION).max(1);
        if self.on_probation >= tenth { Kept::OnProbation } else { Kept::Main }
    }

    /// The frame's turn comes last in this queue, if it is (still) one of these.
    pub(super) fn put_last(&mut self, frame: usize, to: Kept) {
        if frame < self.kept.len() {
            self.unlink(frame, to);
            self.link(frame, Self::head(to));
        }
    }

    /// The link that closes a queue's ring: its newer neighbour is the oldest frame, its older one the newest.
    fn head(queue: Kept) -> usize {
        usize::from(queue == Kept::Main)
    }

    fn oldest(&self, queue: Kept) -> Option<usize> {
        usize::from(self.links[Self::head(queue)].newer).checked_sub(HEADS)
    }

    /// Takes the frame out of its queue, on its way to this one.
    fn unlink(&mut self, frame: usize, to: Kept) {
        let Link { newer, older } = self.links[frame + HEADS];
        self.links[usize::from(newer)].older = older;
        self.links[usize::from(older)].newer = newer;
        match (std::mem::replace(&mut self.kept[frame], to), to) {
            (Kept::OnProbation, Kept::Main) => self.on_probation -= 1,
            (Kept::Main, Kept::OnProbation) => self.on_probation += 1,
            _ => {}
        }
    }

    /// Puts the frame right before (older than) the link `newer`.
    fn link(&mut self, frame: usize, newer: usize) {
        let older = self.links[newer].older;
        self.links[frame + HEADS] = Link { newer: newer as u16, older };
        self.links[newer].older = (frame + HEADS) as u16;
        self.links[usize::from(older)].newer = (frame + HEADS) as u16;
    }
}

#[cfg(test)]
mod tests;
