//! Which blocks to read ahead: the pure part.
//!
//! SQLite asks for one page at a time. A scan of a table that was filled in order asks for blocks that rise, with small gaps where
//! the inner pages of the tree are. [`ReadAhead`] finds such a run among what one connection asks for, and says which blocks to
//! prefetch. A few runs are told from one another, since a query reads several tables and indexes in turn.

use std::ops::Range;

/// How far a block may lie behind the last one of its run.
const GAP: u32 = 8;
/// Blocks in order before something is read ahead.
const CERTAIN: u32 = 4;
/// The first window, in blocks.
const LEAST: u32 = 32;
/// Runs that are followed at once.
const RUNS: usize = 4;

#[derive(Copy, Clone, Debug, Default)]
struct Run {
    /// The block that was asked for last.
    last: u32,
    /// How many came in order.
    length: u32,
    /// The blocks before this one were asked for ahead.
    ahead: u32,
    /// How many were asked for ahead the last time.
    window: u32,
}

/// Finds blocks that will be read soon.
#[derive(Clone, Debug)]
pub struct ReadAhead {
    runs: [Run; RUNS],
    /// The run of the last block.
    current: usize,
    /// The run to be replaced by the next new one.
    oldest: usize,
    /// The most blocks to be ahead.
    most: u32,
}

impl ReadAhead {
    /// Makes one that asks for at most `most` blocks ahead; with 0 for none.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { runs: [Run::default(); RUNS], current: 0, oldest: 0, most }
    }

    /// Notes that a block is wanted now. Returns the blocks to prefetch, of a file of so many blocks.
    #[inline]
    pub fn visit(&mut self, block: u32, blocks: impl FnOnce() -> u32) -> Option<Range<u32>> {
        let distance = block.wrapping_sub(self.runs[self.current].last);
        if distance == 0 || distance > GAP && !self.change_run(block) {
            return None;
        }
        let run = &mut self.runs[self.current];
        run.last = block;
        run.length += 1;
        if run.length < CERTAIN || block.saturating_add(run.window / 2) < run.ahead {
            return None;
        }
        self.extend(blocks())
    }

    /// Makes the run that the block continues the current one, and returns true; or begins one.
    fn change_run(&mut self, block: u32) -> bool {
        let found = self.runs.iter().position(|run| (1..=GAP).contains(&block.wrapping_sub(run.last)));
        self.current = found.unwrap_or_else(|| {
            self.oldest = (self.oldest + 1) % RUNS;
            self.runs[self.oldest] = Run { last: block, ..Run::default() };
            self.oldest
        });
        found.is_some()
    }

    fn extend(&mut self, blocks: u32) -> Option<Range<u32>> {
        let run = &mut self.runs[self.current];
        run.window = (run.window * 2).clamp(LEAST.min(self.most), self.most);
        let from = run.ahead.max(run.last + 1);
        let to = (run.last + 1).saturating_add(run.window).min(blocks);
        if from >= to {
            return None;
        }
        run.ahead = to;
        Some(from..to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is prefetched for these blocks, of a file of a thousand.
    fn prefetched(most: u32, wanted: impl IntoIterator<Item = u32>) -> Vec<Range<u32>> {
        let mut read_ahead = ReadAhead::new(most);
        wanted.into_iter().filter_map(|block| read_ahead.visit(block, || 1000)).collect()
    }

    #[test]
    fn a_scan_is_read_ahead_without_a_gap_and_to_the_end() {
        let ranges = prefetched(64, (10..1000).filter(|block| block % 50 != 0));
        assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "{ranges:?}");
        assert_eq!(ranges.last().unwrap().end, 1000);
        assert!(ranges.len() < 60, "in few steps: {ranges:?}");
        assert!(ranges.iter().all(|range| range.len() <= 64));
    }

    #[test]
    fn each_block_of_a_scan_is_asked_for_before_it_is_wanted() {
        let (mut read_ahead, mut asked) = (ReadAhead::new(128), 0);
        for block in 0..1000 {
            if block > 8 {
                assert!(asked > block, "block {block} is read alone");
            }
            asked = read_ahead.visit(block, || 1000).map_or(asked, |range| range.end);
        }
    }

    #[test]
    fn lone_reads_are_not_read_ahead() {
        assert_eq!(prefetched(64, (0..1000).map(|step| step * 7919 % 1000)), []);
        assert_eq!(prefetched(64, (0..1000).rev()), []);
        assert_eq!(prefetched(64, [5; 100]), []);
        assert_eq!(prefetched(0, 0..1000), []);
    }

    #[test]
    fn scans_of_several_tables_in_turn_are_each_read_ahead() {
        let wanted = (0..100).flat_map(|step| [step, 300 + step, 700 + step]);
        let ranges = prefetched(64, wanted);
        for begin in [0, 300, 700] {
            assert!(ranges.iter().any(|range| (begin..begin + 100).contains(&range.start)), "{ranges:?}");
        }
    }
}
