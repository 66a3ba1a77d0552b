//! What the tests fill pages with: every 512-byte sector says in each of its 16-byte cells which page and which version it belongs
//! to, so that bytes in the wrong place, of a wrong version or torn in the middle are not only seen but named.

// Each test uses its own part of this.
#![allow(dead_code)]

use std::fmt;

/// What a disk writes at once, at the least.
pub(crate) const SECTOR: usize = 512;

/// The stamp is repeated in cells of this size.
const CELL: usize = 16;

/// Which page a sector belongs to, and which version.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) file: u32,
    pub(crate) block: u32,
    pub(crate) sector: u32,
    pub(crate) version: u32,
}

impl Stamp {
    /// Fills a sector.
    pub(crate) fn fill(self, sector: &mut [u8]) {
        let words = [self.file, self.block, self.sector, self.version];
        for cell in sector.chunks_exact_mut(CELL) {
            for (bytes, word) in cell.chunks_exact_mut(4).zip(words) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
        }
    }

    /// Makes the stamp of a sector, unless its cells differ.
    pub(crate) fn of(sector: &[u8]) -> Option<Self> {
        let mut cells = sector.chunks_exact(CELL).map(Self::of_cell);
        let first = cells.next()?;
        cells.all(|other| other == first).then_some(first)
    }

    fn of_cell(cell: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes([cell[at], cell[at + 1], cell[at + 2], cell[at + 3]]);
        Self { file: word(0), block: word(4), sector: word(8), version: word(12) }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, block, sector, version } = self;
        if (*file, *block, *sector, *version) == (0, 0, 0, 0) {
            f.write_str("zeros")
        } else {
            write!(f, "file {file} block {block} sector {sector} version {version}")
        }
    }
}

/// Fills the sectors of a page's piece that begins at sector `first`.
pub(crate) fn stamp_sectors(bytes: &mut [u8], file: u32, block: u32, first: usize, version: u32) {
    for (at, sector) in bytes.chunks_exact_mut(SECTOR).enumerate() {
        Stamp { file, block, sector: (first + at) as u32, version }.fill(sector);
    }
}

/// Returns the version of a block that a page holds, in all of its sectors; 0 for zeros.
pub(crate) fn version_of(page: &[u8], file: u32, block: u32) -> Result<u32, String> {
    let mut version = None;
    for (sector, bytes) in (0..).zip(page.chunks(SECTOR)) {
        let stamp = Stamp::of(bytes).ok_or(format!("block {block}: sector {sector} is a mixture"))?;
        let own = Stamp { file, block, sector, version: stamp.version };
        let zeros = Stamp { file: 0, block: 0, sector: 0, version: 0 };
        if stamp != own && stamp != zeros {
            return Err(format!("block {block}: sector {sector} holds {stamp}"));
        }
        let first = *version.get_or_insert(stamp.version);
        if first != stamp.version {
            let other = stamp.version;
            return Err(format!(
                "block {block} is torn: sector 0 has version {first}, sector {sector} {other}"
            ));
        }
    }
    version.ok_or("no page at all".to_owned())
}
