//! Which pages a checkpoint finds dirty: single ones all over the file, or ranges of neighbours.

use lab::{Place, places};

/// Bytes of a range of neighbours.
const RANGE: u32 = 1 << 20;

/// Bytes of the ring's requests where there are neighbours.
const LONG_REQUEST: u32 = 128 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    Random,
    Dense,
}

impl Pattern {
    /// Returns how many neighbouring pages a range has: fewer where the file is too short.
    fn range(self, blocks: &[u32], page_size: u32) -> u32 {
        match self {
            Self::Random => 1,
            Self::Dense => (RANGE / page_size).min(blocks.iter().copied().max().unwrap_or(1)),
        }
    }

    /// Returns the number of pages that the ring writes with one request.
    pub(crate) fn stride(self, blocks: &[u32], page_size: u32) -> u32 {
        let stride = (LONG_REQUEST / page_size).max(1);
        if self.range(blocks, page_size).is_multiple_of(stride) { stride } else { 1 }
    }

    /// Returns `pages` places or a few less, in the order of the file.
    pub(crate) fn places(self, blocks: &[u32], pages: u32, page_size: u32) -> Vec<Place> {
        let range = self.range(blocks, page_size);
        places::in_ranges(&places::ranges(blocks, range, (pages / range).max(1) as usize, 0), range, 1)
    }
}
