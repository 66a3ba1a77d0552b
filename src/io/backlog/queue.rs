//! The entrance of a method with threads of its own: what is admitted waits in the [`Backlog`], until the queue is closed.
//!
//! A method keeps its queue under one short lock, so that closing needs no care: what was admitted before is started, and after
//! it everything is refused. A thread transfers a refused request by itself.

use crate::{
    io::{
        backlog::{Backlog, BacklogLimits, Pushed},
        operation::{Lease, Operation},
    },
    observe::{Counter, Counters},
};

/// A backlog that can be closed.
pub(crate) struct Queue<L: Lease> {
    pub(crate) backlog: Backlog<L>,
    closed: bool,
}

/// How far a row of requests was admitted.
pub(crate) struct Admitted<L: Lease> {
    /// How many wait now that did not before.
    pub(crate) queued: usize,
    /// The first request for which there was no room; those behind it have not been asked for.
    pub(crate) refused: Option<Operation<L>>,
}

impl<L: Lease> Queue<L> {
    pub(crate) fn new(limits: BacklogLimits) -> Self {
        Self { backlog: Backlog::new(limits), closed: false }
    }

    /// Takes requests in, up to the first that there is no room for.
    pub(crate) fn admit(
        &mut self,
        requests: &mut dyn Iterator<Item = Operation<L>>,
        counters: &Counters,
    ) -> Admitted<L> {
        let (mut queued, mut joined, mut refused) = (0, 0, None);
        for request in requests {
            match if self.closed { Err(request) } else { self.backlog.push(request) } {
                Ok(Pushed::Queued) => queued += 1,
                Ok(Pushed::Joined) => joined += 1,
                Err(request) => {
                    refused = Some(request);
                    break;
                }
            }
        }
        counters.add(Counter::HandedOver, (queued + joined) as u64);
        counters.add(Counter::Joined, joined as u64);
        Admitted { queued, refused }
    }

    /// Returns how many requests that no caller waits for it would take in now; none when closed.
    pub(crate) fn room(&self) -> usize {
        if self.closed { 0 } else { self.backlog.room() }
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns whether nothing waits and nothing will.
    pub(crate) fn is_finished(&self) -> bool {
        self.closed && self.backlog.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        io::{
            buffers::Direction,
            tests::support::{FakeDisk, TestArena},
        },
        sync::Arc,
    };

    #[test]
    fn a_closed_queue_refuses_and_keeps_what_it_has() {
        let file = Arc::new(FakeDisk::stamped(0).open_file(512).unwrap());
        let arena = TestArena::new(16 * 512);
        let mut queue = Queue::new(BacklogLimits { waiting: 4, in_flight: 4, combine: 1024 });
        let counters = Counters::new();
        let mut rest = [0, 1, 10, 20, 30, 40, 50]
            .into_iter()
            .map(|block| arena.request(Direction::Read, &file, block * 512, &[512]));
        let admitted = queue.admit(&mut rest, &counters);
        assert_eq!((admitted.queued, admitted.refused.map(|request| request.offset)), (4, Some(40 * 512)));
        assert_eq!(rest.len(), 1, "what is behind the refused one was not asked for");
        assert_eq!((counters.get(Counter::HandedOver), counters.get(Counter::Joined)), (5, 1));
        let _going = queue.backlog.next().expect("one can go");
        queue.close();
        let admitted = queue.admit(&mut rest, &counters);
        assert_eq!((admitted.queued, admitted.refused.map(|request| request.offset)), (0, Some(50 * 512)));
        assert!(queue.room() == 0 && !queue.is_finished());
        assert_eq!(queue.backlog.take_all().len(), 3);
        assert!(queue.is_finished());
    }
}
