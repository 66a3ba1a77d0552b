//! What a file must hold, by the changes that were made.

use ringpool::FileId;

use crate::stamp::{SECTOR, Stamp, stamp_sectors};

pub(crate) const PAGE: usize = 1024;

/// A file of the workload, and its contents as they must be.
pub(crate) struct Mirror {
    pub(crate) name: &'static str,
    pub(crate) number: u32,
    pub(crate) id: FileId,
    pub(crate) blocks: Vec<Block>,
    /// False where the folder could not be synced when the file was opened again.
    pub(crate) is_open: bool,
    /// A sync of it has failed since it was opened.
    pub(crate) is_poisoned: bool,
}

/// What is known of a block.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Block {
    /// The version that was written last; 0 for zeros.
    pub(crate) version: u32,
    /// Whether it must hold that. Otherwise changes were discarded, as was reported, and each sector may be older.
    pub(crate) is_certain: bool,
}

impl Block {
    pub(crate) const ZEROS: Self = Self { version: 0, is_certain: true };
}

impl Mirror {
    /// Fills the page with the next version of the block.
    pub(crate) fn change(&mut self, block: usize, page: &mut [u8]) {
        self.blocks[block] = Block { version: self.blocks[block].version + 1, is_certain: true };
        stamp_sectors(page, self.number, block as u32, 0, self.blocks[block].version);
    }

    /// Notes that what was not durable may be lost.
    pub(crate) fn doubt(&mut self, from: usize) {
        self.blocks[from..].iter_mut().for_each(|block| block.is_certain = false);
    }

    /// Compares a page.
    pub(crate) fn check(&self, block: usize, page: &[u8], place: &str) -> Result<(), String> {
        let Block { version, is_certain } = self.blocks[block];
        for (sector, bytes) in page.chunks(SECTOR).enumerate() {
            let stamp = |version| match version {
                0 => Stamp { file: 0, block: 0, sector: 0, version: 0 },
                _ => Stamp { file: self.number, block: block as u32, sector: sector as u32, version },
            };
            let found = Stamp::of(bytes);
            let is_right = match found {
                Some(found) if is_certain => found == stamp(version),
                Some(found) => found == stamp(found.version) && found.version <= version,
                None => false,
            };
            if !is_right {
                let found = found.map_or("a mixture".to_owned(), |stamp| stamp.to_string());
                let name = self.name;
                return Err(format!(
                    "{name} block {block} {place}: sector {sector} holds {found}, not version {version}"
                ));
            }
        }
        Ok(())
    }

    /// Compares a whole file. What is uncertain may be missing.
    pub(crate) fn check_image(&self, image: &[u8], place: &str) -> Result<(), String> {
        let certain = self.blocks.iter().rposition(|block| block.is_certain).map_or(0, |last| last + 1);
        if image.len() < certain * PAGE {
            return Err(format!("{} has only {} bytes {place}", self.name, image.len()));
        }
        let mut pages = image.chunks(PAGE).take(self.blocks.len()).enumerate();
        pages.try_for_each(|(block, page)| self.check(block, page, place))
    }
}
