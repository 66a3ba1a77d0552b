//! Concurrent caches of values: they look pages up, count references and know what was used, and evict what was not.

use foyer_memory::{Cache, CacheBuilder, CacheProperties, S3FifoConfig};

use super::{Hasher, Peer, Shared, keyed, word_of};

/// Returns the number of values that a cache has room for: none is evicted, however unevenly its parts fill.
fn room(pages: &[Shared]) -> usize {
    2 * pages.len()
}

/// quick_cache, as it comes: with the hash function of the other caches.
pub(crate) struct QuickCache(quick_cache::sync::Cache<u64, Shared>);

impl QuickCache {
    pub(crate) fn new(pages: &[Shared]) -> Self {
        let cache = quick_cache::sync::Cache::new(room(pages));
        keyed(pages).for_each(|(key, page)| cache.insert(key, page));
        Self(cache)
    }
}

impl Peer for QuickCache {
    #[inline]
    fn hit(&self, page: u32) -> u64 {
        word_of(&self.0.get(&u64::from(page)).expect("all pages are here"))
    }
}

/// moka, as it comes.
pub(crate) struct Moka(moka::sync::Cache<u64, Shared, Hasher>);

impl Moka {
    pub(crate) fn new(pages: &[Shared]) -> Self {
        let builder = moka::sync::Cache::builder().max_capacity(room(pages) as u64);
        let cache = builder.build_with_hasher(Hasher::default());
        keyed(pages).for_each(|(key, page)| cache.insert(key, page));
        cache.run_pending_tasks();
        Self(cache)
    }
}

impl Peer for Moka {
    #[inline]
    fn hit(&self, page: u32) -> u64 {
        word_of(&self.0.get(&u64::from(page)).expect("all pages are here"))
    }
}

/// foyer's cache in memory, by S3-FIFO, in 128 shards.
pub(crate) struct Foyer(Cache<u64, Shared, Hasher, CacheProperties>);

impl Foyer {
    pub(crate) fn new(pages: &[Shared]) -> Self {
        let builder = CacheBuilder::new(room(pages)).with_shards(128);
        let cache = builder
            .with_eviction_config(S3FifoConfig::default())
            .with_hash_builder(Hasher::default())
            .build();
        keyed(pages).for_each(|(key, page)| drop(cache.insert(key, page)));
        Self(cache)
    }
}

impl Peer for Foyer {
    #[inline]
    fn hit(&self, page: u32) -> u64 {
        word_of(self.0.get(&u64::from(page)).expect("all pages are here").value())
    }
}
