//! Which versions of its blocks a file may hold after a crash.

use crate::stamp::{SECTOR, Stamp};

/// What marks the pages of these tests.
const FILE: u32 = 3;

/// Fills a page with a version of a block.
pub(crate) fn fill(page: &mut [u8], block: u32, version: u32) {
    crate::stamp::stamp_sectors(page, FILE, block, 0, version);
}

/// The version of a block that a page holds, everywhere the same; 0 for zeros.
pub(crate) fn version_of(page: &[u8], block: u32) -> Result<u32, String> {
    let mut versions = Vec::new();
    for (sector, bytes) in (0..).zip(page.chunks(SECTOR)) {
        let stamp = Stamp::of(bytes).ok_or(format!("block {block}: sector {sector} is a mixture"))?;
        let own = Stamp { file: FILE, block, sector, version: stamp.version };
        let zeros = Stamp { file: 0, block: 0, sector: 0, version: 0 };
        if stamp != own && stamp != zeros {
            return Err(format!("block {block}: sector {sector} holds {stamp}"));
        }
        versions.push(stamp.version);
    }
    let first = *versions.first().ok_or("no page at all")?;
    if versions.iter().all(|&version| version == first) {
        Ok(first)
    } else {
        Err(format!("block {block} is torn: its sectors have the versions {versions:?}"))
    }
}

/// The versions that a block may have: it is one of those that it had since it was last known to be durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions {
    least: u32,
    /// As the pool shows it.
    pub(crate) now: u32,
    most: u32,
}

impl Versions {
    pub(crate) fn change(&mut self, version: u32) {
        (self.now, self.most) = (version, version);
    }

    /// What the pool shows is durable.
    pub(crate) fn is_durable(&mut self) {
        (self.least, self.most) = (self.now, self.now);
    }

    /// Compares what was found after a crash, which from now on is what the pool shows.
    pub(crate) fn found(&mut self, block: usize, version: u32) -> Result<(), String> {
        self.now = version;
        if (self.least..=self.most).contains(&version) {
            Ok(())
        } else {
            Err(format!("block {block} has version {version}, which must be {} to {}", self.least, self.most))
        }
    }
}
