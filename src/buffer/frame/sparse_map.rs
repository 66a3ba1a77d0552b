//! A map for what hardly any frame or file has. Whether it has entries is known without its lock, which is a leaf.

use std::collections::BTreeMap;

use crate::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

pub(crate) struct SparseMap<K, V> {
    entries: Mutex<BTreeMap<K, V>>,
    len: AtomicUsize,
}

impl<K, V> Default for SparseMap<K, V> {
    fn default() -> Self {
        Self { entries: Mutex::new(BTreeMap::new()), len: AtomicUsize::new(0) }
    }
}

impl<K: Ord, V> SparseMap<K, V> {
    /// Returns how many entries there are, as of a moment ago.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Returns whether there is an entry. Takes no lock while there is none at all.
    #[inline]
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.len() > 0 && self.change(|entries| entries.contains_key(key))
    }

    pub(crate) fn get(&self, key: &K) -> Option<V>
    where
        V: Clone,
    {
        self.change(|entries| entries.get(key).cloned())
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        // What it replaces is dropped after the lock.
        drop(self.change(|entries| entries.insert(key, value)));
    }

    /// Removes the entry. Takes no lock while there is none at all.
    #[inline]
    pub(crate) fn remove(&self, key: &K) {
        if self.len() > 0 {
            drop(self.change(|entries| entries.remove(key)));
        }
    }

    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut BTreeMap<K, V>) -> R) -> R {
        let mut entries = self.entries.lock();
        let result = change(&mut entries);
        self.len.store(entries.len(), Ordering::Relaxed);
        result
    }

    /// Holds the lock, as another thread may at any moment.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> impl Sized {
        self.entries.lock()
    }
}
