//! The clock with usage counts, as PostgreSQL has it (`freelist.c`): a use adds one, up to five; the hand takes one off, and
//! takes the first page that has none left.

use std::collections::HashMap;

use super::Policy;

const MAX_USAGE: u8 = 5;

#[derive(Debug)]
pub(super) struct Clock {
    frames: Vec<(u64, u8)>,
    capacity: usize,
    places: HashMap<u64, usize>,
    hand: usize,
}

impl Clock {
    pub(super) fn new(frames: usize) -> Self {
        Self { frames: Vec::new(), capacity: frames, places: HashMap::new(), hand: 0 }
    }

    fn victim(&mut self) -> usize {
        loop {
            let at = self.hand;
            self.hand = (self.hand + 1) % self.capacity;
            match &mut self.frames[at].1 {
                0 => return at,
                usage => *usage -= 1,
            }
        }
    }
}

impl Policy for Clock {
    fn access(&mut self, page: u64) -> bool {
        if let Some(&at) = self.places.get(&page) {
            let usage = &mut self.frames[at].1;
            *usage = (*usage + 1).min(MAX_USAGE);
            return true;
        }
        let at = if self.frames.len() < self.capacity {
            self.frames.push((page, 1));
            self.frames.len() - 1
        } else {
            let at = self.victim();
            self.places.remove(&self.frames[at].0);
            self.frames[at] = (page, 1);
            at
        };
        self.places.insert(page, at);
        false
    }
}
