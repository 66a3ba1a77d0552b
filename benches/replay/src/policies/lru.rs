//! Least recently used: the yardstick, and too expensive on a hit for a buffer manager.

use super::{Policy, queue::Queue};

#[derive(Debug)]
pub(super) struct Lru {
    frames: usize,
    pages: Queue,
}

impl Lru {
    pub(super) fn new(frames: usize) -> Self {
        Self { frames, pages: Queue::default() }
    }
}

impl Policy for Lru {
    fn access(&mut self, page: u64) -> bool {
        let hit = self.pages.remove(page).is_some();
        if !hit && self.pages.len() == self.frames {
            self.pages.pop_oldest();
        }
        self.pages.push(page, ());
        hit
    }
}
