//! S3-FIFO (Yang and others, SOSP 2023): a small queue for what is new, a main queue for what was used twice since, and the
//! names of as many evicted pages as the main queue has frames. The paper's sizes: a tenth for the small queue, counts to 3.

use super::{Policy, queue::Queue};

const MAX_USES: u8 = 3;

/// Uses that a page needs to get from the small queue into the main one.
const TO_MAIN: u8 = 2;

#[derive(Debug)]
pub(super) struct S3Fifo {
    frames: usize,
    small_size: usize,
    small: Queue<u8>,
    main: Queue<u8>,
    evicted: Queue,
}

impl S3Fifo {
    pub(super) fn new(frames: usize) -> Self {
        let small_size = (frames / 10).max(1);
        Self {
            frames,
            small_size,
            small: Queue::default(),
            main: Queue::default(),
            evicted: Queue::default(),
        }
    }

    fn make_room(&mut self) {
        while self.small.len() + self.main.len() >= self.frames {
            if self.small.len() >= self.small_size || self.main.len() == 0 {
                self.evict_small();
            } else {
                self.evict_main();
            }
        }
    }

    fn evict_small(&mut self) {
        while let Some((page, uses)) = self.small.pop_oldest() {
            if uses < TO_MAIN {
                self.evicted.push(page, ());
                if self.evicted.len() > self.frames - self.small_size {
                    self.evicted.pop_oldest();
                }
                return;
            }
            self.main.push(page, 0);
        }
    }

    fn evict_main(&mut self) {
        while let Some((page, uses)) = self.main.pop_oldest() {
            if uses == 0 {
                return;
            }
            self.main.push(page, uses - 1);
        }
    }
}

impl Policy for S3Fifo {
    fn access(&mut self, page: u64) -> bool {
        if let Some(uses) = self.small.get_mut(page).or_else(|| self.main.get_mut(page)) {
            *uses = (*uses + 1).min(MAX_USES);
            return true;
        }
        self.make_room();
        if self.evicted.remove(page).is_some() {
            self.main.push(page, 0);
        } else {
            self.small.push(page, 0);
        }
        false
    }
}
