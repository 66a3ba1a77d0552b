//! Keys in an order that changes in constant time: what most policies are made of.

use std::collections::HashMap;

/// The end of a list.
const NIL: usize = usize::MAX;

#[derive(Debug)]
struct Node<V> {
    key: u64,
    value: V,
    newer: usize,
    older: usize,
}

/// Keys from the newest to the oldest, each with a value.
#[derive(Debug)]
pub(super) struct Queue<V = ()> {
    nodes: Vec<Node<V>>,
    free: Vec<usize>,
    places: HashMap<u64, usize>,
    newest: usize,
    oldest: usize,
}

impl<V> Default for Queue<V> {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), places: HashMap::new(), newest: NIL, oldest: NIL }
    }
}

impl<V> Queue<V> {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn contains(&self, key: u64) -> bool {
        self.places.contains_key(&key)
    }

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        let place = *self.places.get(&key)?;
        Some(&mut self.nodes[place].value)
    }

    /// Adds a key that is not here, as the newest.
    pub(super) fn push(&mut self, key: u64, value: V) {
        let node = Node { key, value, newer: NIL, older: self.newest };
        let place = match self.free.pop() {
            Some(place) => {
                self.nodes[place] = node;
                place
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        match self.newest {
            NIL => self.oldest = place,
            newest => self.nodes[newest].newer = place,
        }
        self.newest = place;
        let before = self.places.insert(key, place);
        debug_assert!(before.is_none());
    }

    pub(super) fn oldest(&self) -> Option<u64> {
        (self.oldest != NIL).then(|| self.nodes[self.oldest].key)
    }

    /// Returns the key next to this one that is newer.
    pub(super) fn newer_than(&self, key: u64) -> Option<u64> {
        let newer = self.nodes[self.places[&key]].newer;
        (newer != NIL).then(|| self.nodes[newer].key)
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<V>
    where
        V: Default,
    {
        let place = self.places.remove(&key)?;
        let Node { newer, older, .. } = self.nodes[place];
        match newer {
            NIL => self.newest = older,
            newer => self.nodes[newer].older = older,
        }
        match older {
            NIL => self.oldest = newer,
            older => self.nodes[older].newer = newer,
        }
        self.free.push(place);
        Some(std::mem::take(&mut self.nodes[place].value))
    }

    pub(super) fn pop_oldest(&mut self) -> Option<(u64, V)>
    where
        V: Default,
    {
        let key = self.oldest()?;
        Some((key, self.remove(key)?))
    }
}
