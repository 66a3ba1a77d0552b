//! Which versions of its blocks a file may hold after a crash.

use crate::stamp;

/// What marks the pages of these tests.
const FILE: u32 = 3;

/// Fills a page with a version of a block.
pub(crate) fn fill(page: &mut [u8], block: u32, version: u32) {
    stamp::stamp_sectors(page, FILE, block, 0, version);
}

/// Returns the version of a block that a page holds, everywhere the same; 0 for zeros.
pub(crate) fn version_of(page: &[u8], block: u32) -> Result<u32, String> {
    stamp::version_of(page, FILE, block)
}

/// The versions that a block may have: it is one of those that it had since it was last known to be durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions {
    least: u32,
    /// The version that the pool shows.
    pub(crate) now: u32,
    most: u32,
}

impl Versions {
    pub(crate) fn change(&mut self, version: u32) {
        (self.now, self.most) = (version, version);
    }

    /// Notes that what the pool shows is durable.
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
