//! Concurrent tables of reference-counted pages: what an engine uses that needs no eviction yet.

use std::hash::BuildHasher;

use dashmap::DashMap;
use hashbrown::HashMap;
use parking_lot::RwLock;

use super::{Hasher, Peer, Shared, keyed, word_of};

/// Shards of the table: a multiple of any number of threads that is measured, so that they seldom meet.
const SHARDS: usize = 128;

type Shard = HashMap<u64, Shared, Hasher>;

/// A lock beside each shard, on cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Locked(RwLock<Shard>);

/// hashbrown behind `parking_lot`'s locks.
pub(crate) struct Sharded {
    hasher: Hasher,
    shards: Vec<Locked>,
}

impl Sharded {
    pub(crate) fn new(pages: &[Shared]) -> Self {
        let hasher = Hasher::default();
        let shard =
            || Locked(RwLock::new(Shard::with_capacity_and_hasher(pages.len() / SHARDS, hasher.clone())));
        let table = Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: hasher.clone() };
        for (key, page) in keyed(pages) {
            let hash = table.hasher.hash_one(key);
            table.shard(hash).write().insert(key, page);
        }
        table
    }

    /// Returns the shard, by bits of the hash that the shards' own tables use least.
    #[inline]
    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        &self.shards[(hash >> 32) as usize % SHARDS].0
    }
}

impl Peer for Sharded {
    #[inline]
    fn hit(&self, page: u32) -> u64 {
        let key = u64::from(page);
        let hash = self.hasher.hash_one(key);
        // Hashed once: the shard's table hashes the same way.
        let found = {
            let shard = self.shard(hash).read();
            let entry = shard.raw_entry().from_key_hashed_nocheck(hash, &key);
            entry.map(|(_, page)| page.clone())
        };
        word_of(&found.expect("all pages are here"))
    }
}

/// DashMap, with as many shards as it takes of itself.
pub(crate) struct Dash(DashMap<u64, Shared, Hasher>);

impl Dash {
    pub(crate) fn new(pages: &[Shared]) -> Self {
        let table = DashMap::with_capacity_and_hasher(pages.len(), Hasher::default());
        keyed(pages).for_each(|(key, page)| drop(table.insert(key, page)));
        Self(table)
    }
}

impl Peer for Dash {
    #[inline]
    fn hit(&self, page: u32) -> u64 {
        let page = self.0.get(&page.into()).expect("all pages are here").clone();
        word_of(&page)
    }
}
