//! The loop of the worker's thread: it moves requests from the queue into the ring and completions out of it, and sleeps if there
//! are neither.
//!
//! It takes whatever may go, submits it with one call, and finishes whatever has completed. So batches grow with the load by
//! themselves, and a lone request is never held back for others to join it: what is taken is submitted before the worker sleeps
//! or finishes anything. Under load it may make a *bounded wait* ([`NAP`]): with many requests in flight the next completions are
//! near, so it waits for several, or a moment at most, instead of being woken for each. No thread wakes it during such a wait.
//! After one that brought nothing it sleeps until anything happens, so that a disk that hangs does not hold up requests for
//! another.

use std::{io, iter};

use super::{
    ring::{Ring, RingWait},
    worker::{Errand, RingShared},
};
use crate::{
    io::operation::{Lease, Operation},
    sync::time::Duration,
};

/// A bounded wait ends when one in `NAP_SHARE` of the requests in flight has completed.
const NAP_SHARE: usize = 8;
/// The most completions that a bounded wait waits for: further ones would save next to nothing.
const NAP_MOST: usize = 8;
/// The longest bounded wait.
const NAP: Duration = Duration::from_micros(200);

/// A worker at work.
pub(super) struct RunLoop<'s, 'r, L: Lease> {
    shared: &'s RingShared<L>,
    ring: &'s mut Ring<'r, L>,
    /// Whether the kernel has waits with a time limit.
    can_nap: bool,
    /// Whether the last bounded wait brought something.
    may_nap: bool,
    /// Empty, but while requests are taken out of the queue.
    starting: Vec<Operation<L>>,
}

impl<'s, 'r, L: Lease> RunLoop<'s, 'r, L> {
    pub(super) fn new(
        shared: &'s RingShared<L>,
        ring: &'s mut Ring<'r, L>,
        can_nap: bool,
        background: usize,
    ) -> Self {
        shared.queue.lock().backlog.limit_background(background);
        let starting = Vec::with_capacity(ring.room());
        Self { shared, ring, can_nap, may_nap: can_nap, starting }
    }

    /// Runs until the queue is closed and everything is over; an error where the ring is of no use any more.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            self.start_queued();
            if self.shared.has_errands() {
                self.run_errands();
            }
            if self.ring.in_flight() == 0 && self.shared.queue.lock().is_finished() {
                return Ok(());
            }
            let napped = self.submit_and_wait()?;
            let completions = self.ring.reap();
            self.may_nap = if completions > 0 { self.can_nap } else { self.may_nap && !napped };
            // Finishing wakes callers, which takes a while: the device gets its next requests first.
            if self.start_queued() {
                self.ring.enter(RingWait::No)?;
            }
            self.ring.finish();
            self.shared.do_beside(self.ring.elsewhere());
        }
    }

    /// Submits what is prepared and waits for what comes next. Returns whether that was a bounded wait.
    fn submit_and_wait(&mut self) -> io::Result<bool> {
        let enough = (self.ring.in_flight() / NAP_SHARE).min(NAP_MOST);
        let naps = self.may_nap && enough > 1;
        if naps {
            self.ring.enter(RingWait::Several(enough, NAP))?;
        } else if self.ring.room() == 0 {
            // Whatever is wanted, something in flight must end first; so no thread needs to wake the worker.
            self.ring.enter(RingWait::One)?;
        } else {
            let may_sleep = self.shared.doorbell.may_sleep(|| self.has_news());
            let entered = if may_sleep { self.ring.enter(RingWait::One) } else { Ok(()) };
            self.shared.doorbell.wake_up();
            entered?;
        }
        Ok(naps)
    }

    /// Counts what came out as over, and prepares what may go now, as far as there is room. Returns whether there was anything.
    fn start_queued(&mut self) -> bool {
        let Self { shared, ring, starting, .. } = self;
        let mut queue = shared.queue.lock();
        ring.landed().for_each(|operation| queue.backlog.end(operation.file.id, operation.urgency));
        starting.extend(iter::from_fn(|| queue.backlog.next()).take(ring.room()));
        drop(queue);
        let any = !starting.is_empty();
        starting.drain(..).for_each(|operation| ring.start(operation));
        any
    }

    /// Returns whether there is something to do before a sleep.
    fn has_news(&self) -> bool {
        let mut queue = self.shared.queue.lock();
        queue.backlog.has_next()
            || self.shared.has_errands()
            || self.ring.in_flight() == 0 && queue.is_closed()
    }

    fn run_errands(&mut self) {
        for errand in self.shared.take_errands() {
            match errand {
                Errand::Forget(file) => self.ring.forget(file),
                // The thread that sent it may have gone meanwhile.
                Errand::SetChunk(number, chunk, done) => drop(done.send(self.ring.set_chunk(number, chunk))),
            }
        }
    }
}
