//! What the pages are filled with: each cell of 16 bytes says which sector of which block it is, in which version.

use std::fmt;

use super::promise::StoragePromise::{self, FillsBeforeItEnds, LeavesMemoryAlone};

/// What a disk writes at once, at the least.
const SECTOR: usize = 512;

/// The stamp is repeated in cells of this size.
const CELL: usize = 16;

/// Not a file: what the memory of a read has before.
const UNFILLED: u32 = u32::MAX;

/// Not a file: what the memory of a request gets when it has ended.
const ENDED: u32 = u32::MAX - 1;

/// Which sector of which page, in which version. Version 0 is zeros.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct SectorStamp {
    file: u32,
    block: u32,
    sector: u32,
    version: u32,
}

impl SectorStamp {
    fn cell(self) -> [u8; CELL] {
        let Self { file, block, sector, version } = self;
        let words = if version == 0 { [0; 4] } else { [file, block, sector, version] };
        let mut cell = [0; CELL];
        for (bytes, word) in cell.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        cell
    }

    fn of_cell(cell: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes([cell[at], cell[at + 1], cell[at + 2], cell[at + 3]]);
        Self { file: word(0), block: word(4), sector: word(8), version: word(12) }
    }
}

impl fmt::Display for SectorStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, block, sector, version } = *self;
        match (file, version) {
            (UNFILLED, _) => f.write_str("what the memory had before the read"),
            (ENDED, _) => f.write_str("what was put into the memory after its request had ended"),
            (_, 0) => f.write_str("zeros"),
            _ => write!(f, "file {file}, block {block}, sector {sector}, version {version}"),
        }
    }
}

/// What of a page is not as it should be, and the promise that this breaks, where it tells that by itself.
pub(super) type Unlike = (Option<StoragePromise>, String);

#[derive(Copy, Clone, Debug)]
pub(super) struct PageOf {
    pub(super) file: u32,
    pub(super) block: u32,
}

impl PageOf {
    fn stamp(self, sector: usize, version: u32) -> SectorStamp {
        SectorStamp { file: self.file, block: self.block, sector: sector as u32, version }
    }

    pub(super) fn fill(self, page: &mut [u8], version: u32) {
        for (at, sector) in page.chunks_exact_mut(SECTOR).enumerate() {
            let cell = self.stamp(at, version).cell();
            sector.chunks_exact_mut(CELL).for_each(|bytes| bytes.copy_from_slice(&cell));
        }
    }

    /// Says where the bytes are not those of this version.
    pub(super) fn check(self, page: &[u8], version: u32) -> Result<(), Unlike> {
        for (at, sector) in page.chunks_exact(SECTOR).enumerate() {
            let wanted = self.stamp(at, version);
            let cell = wanted.cell();
            let Some(cell_at) = sector.chunks_exact(CELL).position(|found| found != cell) else {
                continue;
            };
            let found = SectorStamp::of_cell(&sector[cell_at * CELL..][..CELL]);
            let offset = at * SECTOR + cell_at * CELL;
            let text = format!("block {}, byte {offset}: {found}, instead of {wanted}", self.block);
            let broken = match found.file {
                UNFILLED => Some(FillsBeforeItEnds),
                // The request has read, or the storage has kept, memory that was not the request's any more.
                ENDED => Some(LeavesMemoryAlone),
                _ => None,
            };
            return Err((broken, text));
        }
        Ok(())
    }

    /// Returns the version that all of the page has; `None` for a mixture, or another page.
    pub(super) fn version_in(self, page: &[u8]) -> Option<u32> {
        let first = SectorStamp::of_cell(&page[..CELL]);
        let of_another = first.version != 0 && (first.file, first.block) != (self.file, self.block);
        let version = (!of_another).then_some(first.version)?;
        self.check(page, version).is_ok().then_some(version)
    }
}

const BEFORE_READ: PageOf = PageOf { file: UNFILLED, block: UNFILLED };
const AFTER_END: PageOf = PageOf { file: ENDED, block: ENDED };

pub(super) fn mark_unfilled(page: &mut [u8]) {
    BEFORE_READ.fill(page, 1);
}

pub(super) fn mark_ended(page: &mut [u8]) {
    AFTER_END.fill(page, 1);
}

/// Says what was put there since [`mark_ended`].
pub(super) fn check_ended(memory: &[u8]) -> Result<(), Unlike> {
    let cells = AFTER_END.stamp(0, 1).cell();
    let sectors = memory.chunks_exact(SECTOR).enumerate();
    let mut touched =
        sectors.filter(|(_, sector)| !sector.chunks_exact(CELL).all(|cell| cell[..8] == cells[..8]));
    match touched.next() {
        Some((at, _)) => Err((Some(LeavesMemoryAlone), format!("sector {at} of the memory has changed"))),
        None => Ok(()),
    }
}

/// Returns whether any sector is as [`mark_unfilled`] has left it.
pub(super) fn has_unfilled(page: &[u8]) -> bool {
    page.chunks_exact(SECTOR).enumerate().any(|(at, sector)| {
        let cell = BEFORE_READ.stamp(at, 1).cell();
        sector.chunks_exact(CELL).all(|found| found == cell)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_from_all_others() {
        let page = PageOf { file: 1, block: 2 };
        let mut bytes = vec![0; 1024];
        assert!(page.check(&bytes, 0).is_ok() && page.version_in(&bytes) == Some(0));
        page.fill(&mut bytes, 3);
        assert!(page.check(&bytes, 3).is_ok() && page.version_in(&bytes) == Some(3));
        for (other, version) in
            [(PageOf { block: 1, ..page }, 3), (PageOf { file: 2, ..page }, 3), (page, 2), (page, 0)]
        {
            assert!(matches!(other.check(&bytes, version), Err((None, _))), "{other:?} {version}");
        }
        assert_eq!(PageOf { block: 1, ..page }.version_in(&bytes), None);
        bytes[1023] ^= 1;
        assert_eq!(page.version_in(&bytes), None);
        let error = page.check(&bytes, 3);
        assert!(matches!(&error, Err((None, text)) if text.contains("byte 1008")), "{error:?}");
    }

    #[test]
    fn memory_is_named() {
        let mut bytes = vec![0; 1024];
        mark_unfilled(&mut bytes);
        let page = PageOf { file: 1, block: 0 };
        assert!(matches!(page.check(&bytes, 1), Err((Some(FillsBeforeItEnds), _))) && has_unfilled(&bytes));
        mark_ended(&mut bytes);
        assert!(matches!(page.check(&bytes, 1), Err((Some(LeavesMemoryAlone), _))) && !has_unfilled(&bytes));
        assert!(check_ended(&bytes).is_ok());
        bytes[7] = 0;
        assert!(check_ended(&bytes).is_err());
    }
}
