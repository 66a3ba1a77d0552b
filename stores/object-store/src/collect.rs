//! Knows which objects no kept version names, so that they can be removed: [`Removals`].
//!
//! A version names an object when its map has a place in it, or when its changes or its base are in it. An object that a version does not name is
//! named by none after it: names are not used twice, and the only writer that could still publish is this one. So an object is *dead since* the first
//! version that does not name it, and is removable once no version before that one is kept or pinned.
//!
//! What of the objects in the store is another writer's: those of a lower epoch are dead unless the version that was taken over names them, since
//! their writer can publish no more. Those of a higher epoch are never looked at.

use std::collections::HashMap;

use crate::names::ObjectId;

#[derive(Debug)]
struct Dead {
    id: ObjectId,
    born: u64,
    since: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Removals {
    /// The objects that the latest version names, with the first version that did, as far as it is known.
    named: HashMap<ObjectId, u64>,
    dead: Vec<Dead>,
}

impl Removals {
    /// Begins at `version`, which names `named`. `found` is what is in the store of lower epochs: versions before this one may name it.
    pub(crate) fn new(
        version: u64,
        named: impl Iterator<Item = ObjectId>,
        found: impl Iterator<Item = ObjectId>,
    ) -> Self {
        let named: HashMap<_, _> = named.map(|id| (id, 0)).collect();
        let dead = found
            .filter(|id| !named.contains_key(id))
            .map(|id| Dead { id, born: 0, since: version })
            .collect();
        Self { named, dead }
    }

    /// Says that `version` was published, and names `named`.
    pub(crate) fn published(&mut self, version: u64, named: impl Iterator<Item = ObjectId>) {
        let before = std::mem::take(&mut self.named);
        self.named = named.map(|id| (id, before.get(&id).copied().unwrap_or(version))).collect();
        let gone = before.into_iter().filter(|(id, _)| !self.named.contains_key(id));
        self.dead.extend(gone.map(|(id, born)| Dead { id, born, since: version }));
    }

    /// Says that an object of this writer was put, and that no version names it or will.
    pub(crate) fn abandoned(&mut self, id: ObjectId) {
        self.dead.push(Dead { id, born: 0, since: 0 });
    }

    /// Returns the objects that neither a version from `oldest_kept` on names, nor one of `pinned`.
    pub(crate) fn removable(&self, oldest_kept: u64, pinned: &[u64]) -> Vec<ObjectId> {
        let is_free = |dead: &&Dead| {
            dead.since <= oldest_kept && !pinned.iter().any(|pin| (dead.born..dead.since).contains(pin))
        };
        self.dead.iter().filter(is_free).map(|dead| dead.id).collect()
    }

    /// Says that an object is removed.
    pub(crate) fn removed(&mut self, id: ObjectId) {
        self.dead.retain(|dead| dead.id != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u64; 0] = [];

    fn ids(ids: &[u64]) -> impl Iterator<Item = ObjectId> {
        ids.iter().map(|&id| ObjectId(id))
    }

    fn removable(removals: &Removals, oldest_kept: u64, pinned: &[u64]) -> Vec<u64> {
        removals.removable(oldest_kept, pinned).iter().map(|id| id.0).collect()
    }

    #[test]
    fn an_object_is_removable_once_no_version_that_names_it_is_kept_or_pinned() {
        let mut removals = Removals::new(5, ids(&[1]), ids(&[]));
        removals.published(6, ids(&[1, 2]));
        removals.published(7, ids(&[1, 2, 3]));
        removals.published(8, ids(&[1, 3]));
        assert_eq!(removable(&removals, 7, &[]), NONE, "version 7 names it");
        assert_eq!(removable(&removals, 8, &[]), [2]);
        assert_eq!(removable(&removals, 8, &[7]), NONE);
        assert_eq!(removable(&removals, 8, &[6]), NONE);
        assert_eq!(removable(&removals, 8, &[5]), [2], "it is younger than what is pinned");
        removals.removed(ObjectId(2));
        assert_eq!(removable(&removals, 8, &[]), NONE);
        removals.abandoned(ObjectId(7));
        assert_eq!(removable(&removals, 0, &[0]), [7], "no version ever named it");
    }

    #[test]
    fn what_was_found_may_be_named_by_any_version_before() {
        let removals = Removals::new(5, ids(&[1]), ids(&[1, 9]));
        assert_eq!(removable(&removals, 4, &[]), NONE);
        assert_eq!(removable(&removals, 5, &[4]), NONE);
        assert_eq!(removable(&removals, 5, &[5]), [9]);
    }
}
