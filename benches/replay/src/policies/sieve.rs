//! SIEVE (Zhang and others, NSDI 2024): one queue, one bit a page, and a hand that leaves what it spares where it is.

use super::{Policy, queue::Queue};

#[derive(Debug)]
pub(super) struct Sieve {
    frames: usize,
    /// Whether each page was used since the hand last came by.
    pages: Queue<bool>,
    hand: Option<u64>,
}

impl Sieve {
    pub(super) fn new(frames: usize) -> Self {
        Self { frames, pages: Queue::default(), hand: None }
    }

    fn evict(&mut self) {
        let mut at = self.hand.or_else(|| self.pages.oldest());
        while let Some(page) = at {
            let next = self.pages.newer_than(page);
            if self.pages.get_mut(page).is_some_and(std::mem::take) {
                at = next.or_else(|| self.pages.oldest());
            } else {
                self.pages.remove(page);
                self.hand = next;
                return;
            }
        }
    }
}

impl Policy for Sieve {
    fn access(&mut self, page: u64) -> bool {
        if let Some(used) = self.pages.get_mut(page) {
            *used = true;
            return true;
        }
        if self.pages.len() == self.frames {
            self.evict();
        }
        self.pages.push(page, false);
        false
    }
}
