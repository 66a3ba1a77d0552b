//! 2Q, the full version (Johnson and Shasha, VLDB 1994), with the sizes that the paper recommends: a quarter of the frames
//! for pages seen once, and names of as many evicted ones as half of the frames.

use super::{Policy, queue::Queue};

#[derive(Debug)]
pub(super) struct TwoQ {
    frames: usize,
    once: Queue,
    evicted: Queue,
    often: Queue,
}

impl TwoQ {
    pub(super) fn new(frames: usize) -> Self {
        Self { frames, once: Queue::default(), evicted: Queue::default(), often: Queue::default() }
    }

    fn make_room(&mut self) {
        if self.once.len() + self.often.len() < self.frames {
            return;
        }
        if self.once.len() > (self.frames / 4).max(1) || self.often.len() == 0 {
            if let Some((page, ())) = self.once.pop_oldest() {
                self.evicted.push(page, ());
            }
            if self.evicted.len() > (self.frames / 2).max(1) {
                self.evicted.pop_oldest();
            }
        } else {
            self.often.pop_oldest();
        }
    }
}

impl Policy for TwoQ {
    fn access(&mut self, page: u64) -> bool {
        if self.often.remove(page).is_some() {
            self.often.push(page, ());
            return true;
        }
        if self.once.contains(page) {
            return true;
        }
        let seen_before = self.evicted.contains(page);
        self.make_room();
        if seen_before {
            self.evicted.remove(page);
            self.often.push(page, ());
        } else {
            self.once.push(page, ());
        }
        false
    }
}
