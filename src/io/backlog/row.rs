//! Requests of one file and urgency, in the order of their coming: a list through the slab that has them, out of whose middle a request
//! is taken as fast as from its ends.

use std::iter;

use slab::Slab;

use crate::io::operation::{Lease, Operation};

/// A request that waits, and its neighbours in its row.
pub(super) struct Waiting<L: Lease> {
    pub(super) operation: Operation<L>,
    /// Its part of the file, here so that a look for neighbours stays in the slab.
    pub(super) offset: u64,
    pub(super) end: u64,
    before: Option<u32>,
    behind: Option<u32>,
}

impl<L: Lease> Waiting<L> {
    pub(super) fn new(operation: Operation<L>) -> Self {
        let (offset, end) = (operation.offset, operation.end());
        Self { operation, offset, end, before: None, behind: None }
    }
}

/// The ends of the list.
#[derive(Debug, Default)]
pub(super) struct RequestRow {
    first: Option<u32>,
    last: Option<u32>,
}

impl RequestRow {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn first(&self) -> Option<u32> {
        self.first
    }

    /// Returns the keys of the requests, the last first.
    pub(super) fn back_to_front<L: Lease>(&self, queued: &Slab<Waiting<L>>) -> impl Iterator<Item = u32> {
        iter::successors(self.last, |&key| queued[key as usize].before)
    }

    /// Puts a request that is in no row at the end.
    pub(super) fn push<L: Lease>(&mut self, key: u32, queued: &mut Slab<Waiting<L>>) {
        let arriving = &mut queued[key as usize];
        (arriving.before, arriving.behind) = (self.last, None);
        self.link(self.last, Some(key), queued);
        self.last = Some(key);
    }

    /// Takes a request of this row out of it.
    pub(super) fn remove<L: Lease>(&mut self, key: u32, queued: &mut Slab<Waiting<L>>) {
        let Waiting { before, behind, .. } = queued[key as usize];
        self.link(before, behind, queued);
        match behind {
            Some(behind) => queued[behind as usize].before = before,
            None => self.last = before,
        }
    }

    /// Has `next` follow `before`, or be the first.
    fn link<L: Lease>(&mut self, before: Option<u32>, next: Option<u32>, queued: &mut Slab<Waiting<L>>) {
        match before {
            Some(before) => queued[before as usize].behind = next,
            None => self.first = next,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        io::{
            buffers::Direction,
            tests::support::{FakeDisk, TestArena},
        },
        sync::Arc,
    };

    proptest! {
        /// Two rows through one slab, of which each request is in one; from out of the middle it goes to the other's end.
        #[test]
        fn a_row_has_what_was_put_in_and_not_taken_out_in_order(
            events in prop::collection::vec(prop::option::of((0_usize..2, 0_usize..20, any::<bool>())), 0..100),
        ) {
            let arena = TestArena::new(1 << 16);
            let file = Arc::new(FakeDisk::stamped(0).open_file(512).unwrap());
            let mut queued = Slab::new();
            let mut rows = [RequestRow::default(), RequestRow::default()];
            let mut expected = [Vec::new(), Vec::new()];
            for event in events {
                match event {
                    None => {
                        let arriving = Waiting::new(arena.request(Direction::Read, &file, 0, &[512]));
                        let key = queued.insert(arriving) as u32;
                        rows[0].push(key, &mut queued);
                        expected[0].push(key);
                    }
                    Some((row, at, goes_on)) if at < expected[row].len() => {
                        let key = expected[row].remove(at);
                        rows[row].remove(key, &mut queued);
                        if goes_on {
                            rows[1 - row].push(key, &mut queued);
                            expected[1 - row].push(key);
                        } else {
                            queued.remove(key as usize);
                        }
                    }
                    Some(_) => {}
                }
                for (row, expected) in rows.iter().zip(&expected) {
                    prop_assert!(row.back_to_front(&queued).eq(expected.iter().rev().copied()));
                    prop_assert_eq!((row.first(), row.is_empty()), (expected.first().copied(), expected.is_empty()));
                }
            }
        }
    }
}
