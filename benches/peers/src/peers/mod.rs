//! The arms, which hold pages in memory: each finds a page, holds it against eviction, reads its first bytes and lets it go.

mod caches;
mod page_db;
mod ringpool;
mod tables;

pub(crate) use caches::{Foyer, Moka, QuickCache};
pub(crate) use page_db::{PAGE_SIZE as PAGE_DB_PAGE_SIZE, PageDb};
pub(crate) use ringpool::{Fetch, FetchMany, Hint, Resident, View, null_pool};
pub(crate) use tables::{Dash, Sharded};

use std::sync::Arc;

/// The hash function of all arms that let it be chosen.
pub(crate) type Hasher = hashbrown::DefaultHashBuilder;

/// A page as arms keep it that only count references: count and bytes side by side.
pub(crate) type Shared = Arc<[u8]>;

/// An arm that has all pages in memory. A page begins with its number.
pub(crate) trait Peer: Sync {
    /// Makes one hit; returns the word with which the page begins.
    fn hit(&self, page: u32) -> u64;

    /// Hits the pages in this order; returns the sum of their words.
    fn hit_all(&self, order: &[u32]) -> u64 {
        order.iter().fold(0, |sum, &page| sum + self.hit(page))
    }
}

/// Returns the word with which a page begins. It is summed up, as the floor's is, and not shown to memory: a store that waits for
/// the page would keep the next hit waiting too, behind the atomic step that lets go.
#[inline]
pub(crate) fn word_of(bytes: &[u8]) -> u64 {
    let word = bytes.first_chunk().expect("a page has more than 8 bytes");
    u64::from_le_bytes(*word)
}

/// Writes the number into a page with which it begins.
pub(crate) fn stamp(bytes: &mut [u8], page: u32) {
    bytes[..8].copy_from_slice(&u64::from(page).to_le_bytes());
}

/// Makes the pages for the arms that only count references.
pub(crate) fn shared_pages(pages: u32, page_size: u32) -> Vec<Shared> {
    let page = |number| {
        let mut bytes: Shared = vec![0; page_size as usize].into();
        stamp(Arc::get_mut(&mut bytes).expect("no other thread has it yet"), number);
        bytes
    };
    (0..pages).map(page).collect()
}

/// Returns the pages with the keys of their caches.
fn keyed(pages: &[Shared]) -> impl Iterator<Item = (u64, Shared)> {
    (0..).zip(pages.iter().cloned())
}
