//! The floor under a hit: the least that finding, pinning, reading and releasing a resident page can cost.
//!
//! A dense array names the frame of a page, one atomic addition and one subtraction on the frame's header stand for pin and
//! unpin, and one word is read from the frame. Frames are assigned at random, as they are in a pool that has run for a
//! while, so header and frame are two misses that depend on the array's.

use std::fmt;
use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::measure::{Sample, on_cores};
use crate::region::Region;

const WORD: usize = size_of::<u64>();
/// Words of a frame's header: 32 bytes, of which the first word counts the pins.
const HEADER: usize = 4;

/// Resident pages, and the least that is needed to find them. Everything is on huge pages, the array and the headers too.
pub struct Floor {
    pages: u32,
    /// By page: its frame, two to a word.
    frame_of: Region,
    headers: Region,
    frames: Region,
    words_a_frame: usize,
}

impl Floor {
    /// Makes `pages` resident pages of `page_size` bytes, with all their memory faulted in.
    ///
    /// # Errors
    ///
    /// If the system has not that much memory.
    pub fn new(pages: u32, page_size: u32, seed: u64) -> io::Result<Self> {
        let mut order: Vec<u32> = (0..pages).collect();
        order.shuffle(&mut SmallRng::seed_from_u64(seed));
        let count = pages as usize;
        let frame_of = Region::new(count.div_ceil(2) * WORD)?;
        for (word, pair) in frame_of.words().iter().zip(order.chunks(2)) {
            let pack = pair.iter().rev().fold(0, |word, &frame| word << 32 | u64::from(frame));
            word.store(pack, Ordering::Relaxed);
        }
        let headers = Region::new(count * HEADER * WORD)?;
        let frames = Region::new(count * page_size as usize)?;
        Ok(Self { pages, frame_of, headers, frames, words_a_frame: page_size as usize / WORD })
    }

    /// Hits the pages of `orders`, one order a thread, all threads at once. The sample's pages are the hits of all threads;
    /// see [`ns_per_hit`].
    #[must_use]
    pub fn run(&self, orders: &[Vec<u32>]) -> Sample {
        let (_, elapsed) = on_cores(orders.len(), |thread| black_box(self.hit_all(&orders[thread])));
        elapsed.sample(orders.iter().map(|order| order.len() as u64).sum(), 0)
    }

    fn hit_all(&self, order: &[u32]) -> u64 {
        let (frame_of, headers, frames) = (self.frame_of.words(), self.headers.words(), self.frames.words());
        order.iter().fold(0, |sum, &page| {
            let frame = frame_in(frame_of, page);
            let header = &headers[frame * HEADER];
            header.fetch_add(1, Ordering::Acquire);
            let word = frames[frame * self.words_a_frame].load(Ordering::Relaxed);
            header.fetch_sub(1, Ordering::Release);
            sum.wrapping_add(word)
        })
    }
}

#[inline]
fn frame_in(frame_of: &[AtomicU64], page: u32) -> usize {
    let pair = frame_of[page as usize / 2].load(Ordering::Relaxed);
    (pair >> (page % 2 * 32)) as u32 as usize
}

impl fmt::Debug for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Floor").field("pages", &self.pages).finish_non_exhaustive()
    }
}

/// Returns `threads` orders of `hits` pages each, drawn uniformly. The arm that is compared with the floor takes the same.
#[must_use]
pub fn orders(pages: u32, hits: usize, threads: usize, seed: u64) -> Vec<Vec<u32>> {
    let mut rng = SmallRng::seed_from_u64(seed);
    (0..threads).map(|_| (0..hits).map(|_| rng.random_range(0..pages)).collect()).collect()
}

/// Returns the nanoseconds that a thread spends on one hit.
#[must_use]
pub fn ns_per_hit(sample: &Sample, threads: usize) -> f64 {
    sample.ns_per_page() * threads as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_a_frame_of_its_own() {
        let floor = Floor::new(65, 512, 1).unwrap();
        let mut frames: Vec<usize> = (0..65).map(|page| frame_in(floor.frame_of.words(), page)).collect();
        assert_ne!(frames, Vec::from_iter(0..65));
        frames.sort_unstable();
        assert_eq!(frames, Vec::from_iter(0..65));
    }

    #[test]
    fn all_threads_hit_and_leave_no_pin() {
        let floor = Floor::new(64, 512, 1).unwrap();
        let sample = floor.run(&orders(64, 1000, 2, 1));
        assert_eq!(sample.pages, 2000);
        assert!(floor.headers.words().iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }
}
