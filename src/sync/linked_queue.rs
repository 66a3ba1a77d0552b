//! Queues of items in order of arrival, linked through the slab or array that has the items. Used under a lock.
//!
//! Each item has the keys of its neighbours, so it is removed from the middle as fast as from an end, and moved from one queue to
//! another without memory. It is in at most one queue: its owner knows in which, as with PostgreSQL's `dlist`.

use std::{cell::Cell, iter};

/// The two ends of a queue, and the two neighbours of an item, on the way to each of them.
const FRONT: usize = 0;
const BACK: usize = 1;

/// The neighbours of an item in its queue. Those beyond an end, and those of an item that is in no queue, mean nothing.
#[derive(Default)]
pub(crate) struct Links<K>([Cell<K>; 2]);

/// The owner of the items of queues, by a key each.
pub(crate) trait LinkedItems<K> {
    fn links(&self, key: K) -> &Links<K>;
}

/// The ends of a queue, which mean nothing while it is empty.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct LinkedQueue<K> {
    ends: [K; 2],
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
        self.end(FRONT)
    }

    fn end(&self, end: usize) -> Option<K> {
        (!self.is_empty()).then_some(self.ends[end])
    }

    /// Returns the item behind one of this queue.
    pub(crate) fn behind(&self, key: K, items: &impl LinkedItems<K>) -> Option<K> {
        self.next(key, BACK, items)
    }

    fn next(&self, key: K, to: usize, items: &impl LinkedItems<K>) -> Option<K> {
        (key != self.ends[to]).then(|| items.links(key).0[to].get())
    }

    /// Returns the items, from the first to the last.
    pub(crate) fn front_to_back(&self, items: &impl LinkedItems<K>) -> impl Iterator<Item = K> {
        iter::successors(self.end(FRONT), |&key| self.next(key, BACK, items))
    }

    /// Returns the items, from the last to the first.
    pub(crate) fn back_to_front(&self, items: &impl LinkedItems<K>) -> impl Iterator<Item = K> {
        iter::successors(self.end(BACK), |&key| self.next(key, FRONT, items))
    }

    /// Puts an item that is in no queue at the end.
    pub(crate) fn push_back(&mut self, key: K, items: &impl LinkedItems<K>) {
        self.push(key, BACK, items);
    }

    /// Puts an item that is in no queue at the front.
    pub(crate) fn push_front(&mut self, key: K, items: &impl LinkedItems<K>) {
        self.push(key, FRONT, items);
    }

    fn push(&mut self, key: K, to: usize, items: &impl LinkedItems<K>) {
        match self.end(to) {
            Some(neighbour) => {
                items.links(neighbour).0[to].set(key);
                items.links(key).0[1 - to].set(neighbour);
                self.ends[to] = key;
            }
            None => self.ends = [key; 2],
        }
        self.len += 1;
    }

    /// Removes an item of this queue from it.
    pub(crate) fn remove(&mut self, key: K, items: &impl LinkedItems<K>) {
        let links = &items.links(key).0;
        for to in [FRONT, BACK] {
            let behind = links[1 - to].get();
            if key == self.ends[to] {
                self.ends[to] = behind;
            } else {
                items.links(links[to].get()).0[1 - to].set(behind);
            }
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
