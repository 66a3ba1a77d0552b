//! Where in the files a workload goes: lists of [`Place`]s that every arm of a comparison shares.
//!
//! Lists are made before the clock starts. An arm that had to draw its random numbers while it ran would be measured with
//! them.

use rand::rngs::SmallRng;
use rand::seq::{SliceRandom, index};
use rand::{RngExt, SeedableRng};

/// A block of one of the files of a run. A request of several pages starts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Index of the file in the run's list of files.
    pub file: u32,
    /// Number of the block, in pages from the start of the file.
    pub block: u32,
}

impl Place {
    /// Returns the byte offset of this block in its file.
    #[must_use]
    pub fn offset(self, page_size: u32) -> u64 {
        u64::from(self.block) * u64::from(page_size)
    }
}

/// Returns every `stride`-th block of every file, in order: a sequential scan with requests of `stride` pages.
///
/// # Panics
///
/// If `stride` is zero.
#[must_use]
pub fn sequential(blocks_of_files: &[u32], stride: u32) -> Vec<Place> {
    let blocks = |blocks: u32| (0..blocks).step_by(stride as usize);
    (0..)
        .zip(blocks_of_files)
        .flat_map(|(file, &of)| blocks(of).map(move |block| Place { file, block }))
        .collect()
}

/// Draws `count` places uniformly over all blocks of all files, with repetition.
///
/// # Panics
///
/// If the files have no blocks.
#[must_use]
pub fn random(blocks_of_files: &[u32], count: usize, seed: u64) -> Vec<Place> {
    let total: u64 = blocks_of_files.iter().copied().map(u64::from).sum();
    assert!(total > 0, "there is no block to draw from");
    let mut rng = SmallRng::seed_from_u64(seed);
    (0..count).map(|_| nth(blocks_of_files, rng.random_range(0..total))).collect()
}

/// Draws `count` different places in random order; all of them where the files have fewer. For cold reads, where a second visit
/// would be a hit in the arm that has a cache and a read in the one that has none.
#[must_use]
pub fn random_distinct(blocks_of_files: &[u32], count: usize, seed: u64) -> Vec<Place> {
    let total: usize = blocks_of_files.iter().map(|&blocks| blocks as usize).sum();
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut drawn = index::sample(&mut rng, total, count.min(total)).into_vec();
    drawn.shuffle(&mut rng);
    drawn.into_iter().map(|at| nth(blocks_of_files, at as u64)).collect()
}

/// Draws `count` different ranges of `range` blocks each and returns their first blocks, in the order of the files: an engine that
/// writes much at once sorts it, and a device, or the scheduler before it, may well be faster so. All of them where the files have
/// fewer.
///
/// # Panics
///
/// If `range` is zero.
#[must_use]
pub fn ranges(blocks_of_files: &[u32], range: u32, count: usize, seed: u64) -> Vec<Place> {
    let ranges_of_files: Vec<u32> = blocks_of_files.iter().map(|blocks| blocks / range).collect();
    let mut firsts = random_distinct(&ranges_of_files, count, seed);
    firsts.iter_mut().for_each(|first| first.block *= range);
    firsts.sort_unstable();
    firsts
}

/// Returns every `stride`-th block of the ranges of `range` blocks that begin at `firsts`.
///
/// # Panics
///
/// If `stride` is zero.
#[must_use]
pub fn in_ranges(firsts: &[Place], range: u32, stride: u32) -> Vec<Place> {
    let of = |&first: &Place| {
        let blocks = (first.block..first.block + range).step_by(stride as usize);
        blocks.map(move |block| Place { block, ..first })
    };
    firsts.iter().flat_map(of).collect()
}

/// Returns the `at`-th block when all files are laid end to end.
fn nth(blocks_of_files: &[u32], mut at: u64) -> Place {
    for (file, &blocks) in (0..).zip(blocks_of_files) {
        match u32::try_from(at) {
            Ok(block) if block < blocks => return Place { file, block },
            _ => at -= u64::from(blocks),
        }
    }
    unreachable!("a number below the total lies in one of the files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_visits_every_request_of_every_file_once() {
        let places = sequential(&[5, 0, 2], 2);
        let blocks: Vec<(u32, u32)> = places.iter().map(|place| (place.file, place.block)).collect();
        assert_eq!(blocks, [(0, 0), (0, 2), (0, 4), (2, 0)]);
    }

    #[test]
    fn distinct_places_are_distinct_and_cover_all_files() {
        let mut places = random_distinct(&[3, 0, 4], 100, 7);
        places.sort();
        assert_eq!(places, sequential(&[3, 0, 4], 1));
    }

    #[test]
    fn ranges_are_whole_different_and_in_order() {
        let all = ranges(&[9, 3, 8], 4, 100, 7);
        let at = |file, block| Place { file, block };
        assert_eq!(all, [at(0, 0), at(0, 4), at(2, 0), at(2, 4)]);
        assert_eq!(ranges(&[9, 3, 8], 4, 2, 7).len(), 2);
        assert_eq!(in_ranges(&all[1..3], 4, 2), [at(0, 4), at(0, 6), at(2, 0), at(2, 2)]);
    }

    #[test]
    fn random_places_follow_their_seed_and_stay_inside() {
        let blocks = [10, 1000];
        assert_eq!(random(&blocks, 500, 1), random(&blocks, 500, 1));
        assert_ne!(random(&blocks, 500, 1), random(&blocks, 500, 2));
        assert!(random(&blocks, 500, 3).iter().all(|place| place.block < blocks[place.file as usize]));
    }
}
