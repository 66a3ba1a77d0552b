//! Queues of items in order of arrival, linked through the slab or array that has the items. Used under a lock.
//!
//! Each item has the keys of its neighbours, so it is removed from the middle as fast as from an end, and moved from one queue to
//! another without memory. It is in at most one queue: its owner knows in which, as with PostgreSQL's `dlist`.

use std::{cell::Cell, iter};

/// The neighbours of an item in its queue. Those beyond an end, and those of an item that is in no queue, mean nothing.
#[derive(Default)]
pub(crate) struct Links<K> {
    before: Cell<K>,
    behind: Cell<K>,
}

/// The owner of the items of queues, by a key each.
pub(crate) trait LinkedItems<K> {
    fn links(&self, key: K) -> &Links<K>;
}

/// The ends of a queue.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct LinkedQueue<K> {
    first: K,
    last: K,
    len: usize,
}

impl<K: Copy + Eq> LinkedQueue<K> {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn first(&self) -> Option<K> {
        (!self.is_empty()).then_some(self.first)
    }

    fn last(&self) -> Option<K> {
        (!self.is_empty()).then_some(self.last)
    }

    /// Returns the item behind one of this queue.
    pub(crate) fn behind(&self, key: K, items: &impl LinkedItems<K>) -> Option<K> {
        (key != self.last).then(|| items.links(key).behind.get())
    }

    fn before(&self, key: K, items: &impl LinkedItems<K>) -> Option<K> {
        (key != self.first).then(|| items.links(key).before.get())
    }

    /// Returns the items, from the first to the last.
    pub(crate) fn front_to_back(&self, items: &impl LinkedItems<K>) -> impl Iterator<Item = K> {
        iter::successors(self.first(), |&key| self.behind(key, items))
    }

    /// Returns the items, from the last to the first.
    pub(crate) fn back_to_front(&self, items: &impl LinkedItems<K>) -> impl Iterator<Item = K> {
        iter::successors(self.last(), |&key| self.before(key, items))
    }

    /// Puts an item that is in no queue at the end.
    pub(crate) fn push_back(&mut self, key: K, items: &impl LinkedItems<K>) {
        match self.last() {
            Some(last) => {
                items.links(last).behind.set(key);
                items.links(key).before.set(last);
            }
            None => self.first = key,
        }
        self.last = key;
        self.len += 1;
    }

    /// Puts an item that is in no queue at the front.
    pub(crate) fn push_front(&mut self, key: K, items: &impl LinkedItems<K>) {
        match self.first() {
            Some(first) => {
                items.links(first).before.set(key);
                items.links(key).behind.set(first);
            }
            None => self.last = key,
        }
        self.first = key;
        self.len += 1;
    }

    /// Removes an item of this queue from it.
    pub(crate) fn remove(&mut self, key: K, items: &impl LinkedItems<K>) {
        let links = items.links(key);
        let (before, behind) = (links.before.get(), links.behind.get());
        if key == self.first {
            self.first = behind;
        } else {
            items.links(before).behind.set(behind);
        }
        if key == self.last {
            self.last = before;
        } else {
            items.links(behind).before.set(before);
        }
        self.len -= 1;
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use slab::Slab;

    use super::*;

    struct Item(Links<u16>);

    impl LinkedItems<u16> for Slab<Item> {
        fn links(&self, key: u16) -> &Links<u16> {
            &self[usize::from(key)].0
        }
    }

    #[derive(Clone, Debug)]
    enum QueueStep {
        /// A new item is put at an end of a queue.
        Push { to: usize, front: bool },
        /// An item is removed from the middle, or moved to an end of a queue.
        Move { from: usize, at: usize, to: Option<(usize, bool)> },
    }

    fn any_step() -> impl Strategy<Value = QueueStep> {
        let end = (0_usize..2, any::<bool>());
        prop_oneof![
            end.clone().prop_map(|(to, front)| QueueStep::Push { to, front }),
            (0_usize..2, 0_usize..20, prop::option::weighted(0.7, end))
                .prop_map(|(from, at, to)| QueueStep::Move { from, at, to }),
        ]
    }

    fn push(
        key: u16,
        (queue, front): (usize, bool),
        items: &Slab<Item>,
        queues: &mut [LinkedQueue<u16>; 2],
        expected: &mut [VecDeque<u16>; 2],
    ) {
        if front {
            queues[queue].push_front(key, items);
            expected[queue].push_front(key);
        } else {
            queues[queue].push_back(key, items);
            expected[queue].push_back(key);
        }
    }

    proptest! {
        /// Two queues through one slab, whose keys are used again.
        #[test]
        fn a_queue_has_what_was_put_in_and_not_taken_out_in_order(
            steps in prop::collection::vec(any_step(), 0..100),
        ) {
            let mut items = Slab::new();
            let mut queues = [LinkedQueue::default(); 2];
            let mut expected = [VecDeque::new(), VecDeque::new()];
            for step in steps {
                match step {
                    QueueStep::Push { to, front } => {
                        let key = items.insert(Item(Links::default())) as u16;
                        push(key, (to, front), &items, &mut queues, &mut expected);
                    }
                    QueueStep::Move { from, at, to } => {
                        let Some(key) = expected[from].remove(at) else { continue };
                        queues[from].remove(key, &items);
                        match to {
                            Some(end) => push(key, end, &items, &mut queues, &mut expected),
                            None => drop(items.remove(usize::from(key))),
                        }
                    }
                }
                for (queue, expected) in queues.iter().zip(&expected) {
                    prop_assert!(queue.front_to_back(&items).eq(expected.iter().copied()));
                    prop_assert!(queue.back_to_front(&items).eq(expected.iter().rev().copied()));
                    prop_assert_eq!((queue.len(), queue.is_empty()), (expected.len(), expected.is_empty()));
                    prop_assert_eq!(queue.first(), expected.front().copied());
                }
            }
        }
    }
}
