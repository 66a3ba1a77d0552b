//! A digest of pages that does not depend on the order in which they are seen.
//!
//! It is the wrapping sum, over all pages, of a 64-bit hash of (file, block, bytes). Arms that read the same places get the
//! same digest whatever their order, threads and request sizes; a page that is wrong, swapped with another, missing or seen
//! once too often changes it. An 8 KiB page costs well under a microsecond, and every arm pays the same.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::Place;
use crate::baseline::plain;

/// The digest of the pages seen so far. Shared by all threads of an arm.
#[derive(Debug)]
pub struct Digest {
    page_size: u32,
    sum: AtomicU64,
}

impl Digest {
    /// Makes the digest of no pages.
    #[must_use]
    pub fn new(page_size: u32) -> Self {
        Self { page_size, sum: AtomicU64::new(0) }
    }

    /// Adds the pages of one request, whose first is `first`. A last page that the end of the file cuts off counts as if
    /// zeros followed, which is how a buffer pool shows it.
    #[inline]
    pub fn add(&self, first: Place, bytes: &[u8]) {
        let pages = (first.block..).zip(bytes.chunks(self.page_size as usize));
        let sum = pages
            .fold(0, |sum: u64, (block, page)| sum.wrapping_add(self.hash(Place { block, ..first }, page)));
        self.sum.fetch_add(sum, Ordering::Relaxed);
    }

    /// Returns the digest of all that was added.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    fn hash(&self, place: Place, page: &[u8]) -> u64 {
        let missing = self.page_size as usize - page.len();
        let bytes = if missing == 0 { xxh3_64(page) } else { hash_with_zeros(page, missing) };
        mix(bytes ^ mix(u64::from(place.file) << 32 | u64::from(place.block)))
    }
}

/// Returns the digest of these places by the plainest possible read of the files: what every arm must have seen.
///
/// # Errors
///
/// If a read fails.
pub fn of_plain_read(files: &[File], places: &[Place], page_size: u32) -> io::Result<u64> {
    let digest = Digest::new(page_size);
    plain::Plain::new(page_size).read(files, places, |first, bytes| digest.add(first, bytes))?;
    Ok(digest.value())
}

#[cold]
fn hash_with_zeros(page: &[u8], missing: usize) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(page);
    hash.update(&vec![0; missing]);
    hash.digest()
}

/// Maps 64-bit words one to one so that every input bit reaches every output bit, so that the places do not cancel out in
/// the sum.
pub(crate) fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let word = (word ^ word >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    word ^ word >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u32 = 1024;

    fn place(block: u32) -> Place {
        Place { file: 0, block }
    }

    fn page(fill: u8) -> Vec<u8> {
        vec![fill; PAGE as usize]
    }

    fn digest(pages: &[(Place, Vec<u8>)]) -> u64 {
        let digest = Digest::new(PAGE);
        pages.iter().for_each(|(first, bytes)| digest.add(*first, bytes));
        digest.value()
    }

    #[test]
    fn order_and_request_size_do_not_matter() {
        let one_by_one = digest(&[(place(7), page(1)), (place(8), page(2))]);
        assert_eq!(one_by_one, digest(&[(place(8), page(2)), (place(7), page(1))]));
        assert_eq!(one_by_one, digest(&[(place(7), [page(1), page(2)].concat())]));
    }

    #[test]
    fn swapped_missing_repeated_or_foreign_pages_show() {
        let right = digest(&[(place(7), page(1)), (place(8), page(2))]);
        assert_ne!(right, digest(&[(place(7), page(2)), (place(8), page(1))]));
        assert_ne!(right, digest(&[(place(7), page(1))]));
        assert_ne!(right, digest(&[(place(7), page(1)), (place(8), page(2)), (place(8), page(2))]));
        assert_ne!(right, digest(&[(place(7), page(1)), (Place { file: 1, block: 8 }, page(2))]));
    }

    #[test]
    fn a_cut_off_page_counts_as_if_zeros_followed() {
        let mut padded = page(3);
        padded[1000..].fill(0);
        assert_eq!(digest(&[(place(1), padded.clone())]), digest(&[(place(1), padded[..1000].to_vec())]));
        assert_ne!(digest(&[(place(1), padded.clone())]), digest(&[(place(1), padded[..999].to_vec())]));
    }
}
