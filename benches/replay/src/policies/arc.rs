//! ARC (Megiddo and Modha, FAST 2003): recency against frequency, their shares learned from what was evicted too early.

use super::{Policy, queue::Queue};

#[derive(Debug)]
pub(super) struct Arc {
    frames: usize,
    /// How many frames the pages seen once are to have.
    target: usize,
    once: Queue,
    often: Queue,
    evicted_once: Queue,
    evicted_often: Queue,
}

impl Arc {
    pub(super) fn new(frames: usize) -> Self {
        Self {
            frames,
            target: 0,
            once: Queue::default(),
            often: Queue::default(),
            evicted_once: Queue::default(),
            evicted_often: Queue::default(),
        }
    }

    /// Evicts a page: the paper's REPLACE.
    fn replace(&mut self, was_often: bool) {
        let once = self.once.len();
        if once > 0 && (once > self.target || (was_often && once == self.target)) {
            if let Some((page, ())) = self.once.pop_oldest() {
                self.evicted_once.push(page, ());
            }
        } else if let Some((page, ())) = self.often.pop_oldest() {
            self.evicted_often.push(page, ());
        }
    }

    fn make_room_for_new(&mut self) {
        let seen_once = self.once.len() + self.evicted_once.len();
        let all = seen_once + self.often.len() + self.evicted_often.len();
        if seen_once == self.frames {
            if self.once.len() < self.frames {
                self.evicted_once.pop_oldest();
                self.replace(false);
            } else {
                self.once.pop_oldest();
            }
        } else if all >= self.frames {
            if all == 2 * self.frames {
                self.evicted_often.pop_oldest();
            }
            self.replace(false);
        }
    }
}

impl Policy for Arc {
    fn access(&mut self, page: u64) -> bool {
        if self.once.remove(page).is_some() || self.often.remove(page).is_some() {
            self.often.push(page, ());
            return true;
        }
        let (of_once, of_often) = (self.evicted_once.len(), self.evicted_often.len());
        if self.evicted_once.contains(page) {
            self.target = (self.target + (of_often / of_once).max(1)).min(self.frames);
            self.replace(false);
            self.evicted_once.remove(page);
            self.often.push(page, ());
        } else if self.evicted_often.contains(page) {
            self.target = self.target.saturating_sub((of_once / of_often).max(1));
            self.replace(true);
            self.evicted_often.remove(page);
            self.often.push(page, ());
        } else {
            self.make_room_for_new();
            self.once.push(page, ());
        }
        false
    }
}
