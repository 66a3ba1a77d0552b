//! The method as a whole: which request goes to which worker, and which to threads.
//!
//! **Neighbours meet.** Requests for one stretch of a file go to one worker, so that those that touch can be joined there;
//! different stretches are spread over the workers.
//!
//! **Requests that would block a worker do not go there.** Files that the kernel cannot read without waiting, and those without a
//! descriptor, are for [threads](Threads) beside the rings: started when there is work, few, and ended when idle. When a ring is
//! lost, its requests go there too.

use std::{io, iter};

use super::{
    setup::{Abilities, Refusal, RingMemory},
    worker::UringWorker,
};
use crate::{
    io::{
        file::File,
        method::{Chunk, Method, MethodChange, threads::Threads},
        operation::{Lease, Operation},
        options::{Scheduling, UringOptions},
        report::{MethodKind, Registration},
    },
    observe::{Counter, Counters},
    sync::{Arc, thread::ThreadId, thread_pool::ThreadLimits, time::Duration},
};

/// The threads for files that would block a worker.
const ASIDE: ThreadLimits =
    ThreadLimits { name: "ringpool-aside", most: 8, idle: Some(Duration::from_secs(5)) };

/// Bytes of a file, a power of two, that go to one worker.
const STRETCH: u64 = 4 << 20;

/// The io_uring method.
pub(in crate::io) struct Uring<L: Lease> {
    workers: Box<[UringWorker<L>]>,
    aside: Arc<Threads<L>>,
    counters: Arc<Counters>,
}

/// The destination of a request.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Way {
    Worker(usize),
    Aside,
}

impl<L: Lease> Uring<L> {
    /// Starts the workers and waits until their rings are set up, or one is refused.
    pub(in crate::io) fn open(
        options: &UringOptions,
        chunks: &[Chunk],
        scheduling: &Scheduling,
        counters: &Arc<Counters>,
    ) -> Result<(Self, Abilities), Refusal> {
        let aside = Arc::new(Threads::on_demand(ASIDE, scheduling, Arc::clone(counters)));
        let open = |registered_with| {
            let memory = RingMemory { chunks, registered_with };
            UringWorker::open(options, &memory, scheduling, &aside, Arc::clone(counters))
        };
        let (first, fd, mut abilities) = open(None)?;
        let registered_with = (abilities.fixed_buffers == Registration::InUse).then_some(fd);
        let mut workers = vec![first];
        for _ in 1..options.workers {
            let (worker, _, its) = open(registered_with)?;
            workers.push(worker);
            abilities.settle_for(its);
        }
        let workers = workers.into_boxed_slice();
        Ok((Self { workers, aside, counters: Arc::clone(counters) }, abilities))
    }

    fn way(&self, request: &Operation<L>) -> Way {
        if request.file.may_block.is_some() {
            return Way::Aside;
        }
        // A file with a bound of its own goes to one queue, which keeps that bound.
        let offset = if request.file.max_in_flight.is_some() { 0 } else { request.offset };
        let number = worker_for(request.file.id.0, offset, self.workers.len());
        if self.workers[number].lost().is_some() { Way::Aside } else { Way::Worker(number) }
    }

    fn follow(&self, way: Way) -> &dyn Method<L> {
        match way {
            Way::Worker(number) => &self.workers[number],
            Way::Aside => &*self.aside,
        }
    }

    fn all(&self) -> impl Iterator<Item = &dyn Method<L>> {
        let workers = self.workers.iter().map(|worker| worker as &dyn Method<L>);
        workers.chain(iter::once(&*self.aside as &dyn Method<L>))
    }
}

/// Returns the worker of a stretch of a file: consecutive stretches go round, and files begin at different workers.
fn worker_for(file: u32, offset: u64, workers: usize) -> usize {
    (u64::from(file).wrapping_add(offset / STRETCH) % workers as u64) as usize
}

/// Returns how many of `rings` rings are lost, and why each of them, as text.
fn loss(lost: &[&str], rings: usize) -> Option<String> {
    let mut why = lost.to_vec();
    why.sort_unstable();
    why.dedup();
    let why = why.join(", ");
    match lost.len() {
        0 => None,
        all if all == rings => Some(format!("io_uring was given up: {why}")),
        1 => Some(format!("1 of {rings} rings of io_uring was given up: {why}")),
        some => Some(format!("{some} of {rings} rings of io_uring were given up: {why}")),
    }
}

impl<L: Lease> Method<L> for Uring<L> {
    fn submit_each(&self, requests: &mut dyn Iterator<Item = Operation<L>>) {
        let mut requests = requests.peekable();
        while let Some(way) = requests.peek().map(|request| self.way(request)) {
            let mut count = 0;
            let same_way = iter::from_fn(|| requests.next_if(|request| self.way(request) == way));
            self.follow(way).submit_each(&mut same_way.inspect(|_| count += 1));
            self.counters.add(Counter::Aside, if way == Way::Aside { count } else { 0 });
        }
    }

    fn room(&self, file: &File) -> usize {
        let of_worker = |worker: &UringWorker<L>| match worker.lost() {
            None if file.may_block.is_none() => worker.room(file),
            _ => self.aside.room(file),
        };
        self.workers.iter().map(of_worker).min().unwrap_or(0)
    }

    fn forget(&self, file: &File) {
        self.all().for_each(|part| part.forget(file));
    }

    fn set_chunk(&self, number: u16, chunk: Chunk) -> io::Result<()> {
        // Every ring registers it by itself: cloning it from another ring would need that other ring to be there still.
        self.workers.iter().try_for_each(|worker| worker.set_chunk(number, chunk))
    }

    fn shutdown(&self) {
        self.all().for_each(Method::shutdown);
    }

    fn change(&self) -> Option<MethodChange> {
        let lost: Vec<_> = self.workers.iter().filter_map(UringWorker::lost).collect();
        let aside = self.aside.change();
        let in_use = match &aside {
            _ if lost.len() < self.workers.len() => MethodKind::Uring,
            None => MethodKind::Worker,
            Some(aside) => aside.in_use,
        };
        let reasons = [loss(&lost, self.workers.len()), aside.map(|aside| aside.reason)];
        let reasons: Vec<_> = reasons.into_iter().flatten().collect();
        let reason = reasons.join("; ");
        (!reasons.is_empty() && !seeded!("lost_ring_not_told")).then_some(MethodChange { in_use, reason })
    }

    fn has(&self, thread: ThreadId) -> bool {
        self.all().any(|part| part.has(thread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rings_that_are_lost_are_counted_and_each_reason_is_told_once() {
        let told = |lost: &[&str], rings| loss(lost, rings).unwrap_or_default();
        assert_eq!(loss(&[], 4), None);
        assert_eq!(told(&["no"], 1), "io_uring was given up: no");
        assert_eq!(told(&["no"], 4), "1 of 4 rings of io_uring was given up: no");
        assert_eq!(told(&["no", "never", "no"], 4), "3 of 4 rings of io_uring were given up: never, no");
        assert_eq!(told(&["no"; 4], 4), "io_uring was given up: no");
    }

    #[test]
    fn neighbours_meet_and_stretches_are_spread() {
        for workers in 1..5 {
            let at = |file, stretch: u64| worker_for(file, stretch * STRETCH, workers);
            assert_eq!(at(3, 7), worker_for(3, 8 * STRETCH - 1, workers));
            let counts = (0..workers).map(|worker| (0..60).filter(|&n| at(3, n) == worker).count());
            assert!(counts.into_iter().all(|count| count == 60 / workers));
            let files = (0..workers).map(|worker| (0..60).filter(|&file| at(file, 0) == worker).count());
            assert!(files.into_iter().all(|count| count == 60 / workers));
        }
    }
}
