//! Contents that name their place: every 512-byte sector says which file, block, sector and version it is.
//!
//! The head of a sector names it, the rest is filled with words that follow from the head. So a page from the wrong place, a page
//! torn between two versions and a sector that is only half there are all found, and no layer below can compress or share the
//! contents.

use std::fmt;

use crate::digest::mix;

/// The unit that a disk writes whole.
pub const SECTOR: usize = 512;
const WORD: usize = size_of::<u64>();
/// An odd constant far from small multiples, so that neighbouring words differ in many bits.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Fills `page` as version `version` of block `block` of the file that `seed` names.
pub fn stamp(page: &mut [u8], seed: u64, block: u32, version: u64) {
    for (number, sector) in (0..).zip(page.chunks_mut(SECTOR)) {
        let head = head(seed, block, number, version);
        let words = head.into_iter().chain(body(&head));
        // `words` is endless: a page that is no multiple of the sector ends in a shorter one.
        for (bytes, word) in sector.chunks_exact_mut(WORD).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// Checks every byte of a stamped `page` and returns its version.
///
/// # Errors
///
/// If a sector is not what its place says, or the sectors are not all of one version.
pub fn check(page: &[u8], seed: u64, block: u32) -> Result<u64, Misplaced> {
    let mut first = None;
    for (number, sector) in (0..).zip(page.chunks(SECTOR)) {
        let mut found =
            sector.chunks_exact(WORD).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("a word")));
        let mut next = || found.next().unwrap_or_default();
        let stored: Head = [next(), next(), next()];
        let version = stored[2];
        let expected = head(seed, block, number, *first.get_or_insert(version));
        if stored != expected || !found.zip(body(&expected)).all(|(stored, expected)| stored == expected) {
            return Err(Misplaced { sector: number, expected, stored });
        }
    }
    Ok(first.unwrap_or_default())
}

/// A sector that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misplaced {
    /// Number of the sector in its page.
    pub sector: u32,
    expected: Head,
    stored: Head,
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let describe = |[seed, place, version]: Head| {
            format!("file {seed:#x} block {} sector {} version {version}", place >> 32, place & 0xffff_ffff)
        };
        write!(f, "sector {} holds {}", self.sector, describe(self.stored))?;
        match self.stored == self.expected {
            true => write!(f, ", but the rest of it does not"),
            false => write!(f, " instead of {}", describe(self.expected)),
        }
    }
}

impl std::error::Error for Misplaced {}

/// Seed, block and sector, version.
type Head = [u64; 3];

fn head(seed: u64, block: u32, sector: u32, version: u64) -> Head {
    [seed, u64::from(block) << 32 | u64::from(sector), version]
}

fn body(head: &Head) -> impl Iterator<Item = u64> + use<> {
    let key = head.iter().fold(0, |key, &word| mix(key ^ word).wrapping_add(STEP));
    (0..).map(move |at: u64| key.wrapping_add(at.wrapping_mul(STEP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(seed: u64, block: u32, version: u64) -> Vec<u8> {
        let mut page = vec![0; 4096];
        stamp(&mut page, seed, block, version);
        page
    }

    #[test]
    fn a_stamped_page_is_known_again() {
        assert_eq!(check(&stamped(1, 2, 3), 1, 2), Ok(3));
    }

    #[test]
    fn a_page_of_another_place_is_refused() {
        assert!(check(&stamped(1, 2, 3), 1, 4).is_err());
        assert!(check(&stamped(1, 2, 3), 9, 2).is_err());
        assert!(check(&[0; 4096], 1, 2).is_err());
    }

    #[test]
    fn a_page_torn_between_versions_is_refused() {
        let mut page = stamped(1, 2, 3);
        page[2048..].copy_from_slice(&stamped(1, 2, 4)[2048..]);
        let misplaced = check(&page, 1, 2).unwrap_err();
        assert_eq!(misplaced.sector, 4);
        assert_eq!(
            misplaced.to_string(),
            "sector 4 holds file 0x1 block 2 sector 4 version 4 instead of file 0x1 block 2 sector 4 version 3"
        );
    }

    #[test]
    fn every_single_byte_counts() {
        let whole = stamped(1, 2, 3);
        for at in 0..whole.len() {
            let mut page = whole.clone();
            page[at] ^= 1;
            assert!(check(&page, 1, 2).is_err(), "byte {at}");
        }
    }
}
