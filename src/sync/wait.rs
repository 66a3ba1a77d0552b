//! Blocking as a special case of polling: each wait is written once, as a [`PollStep`]. A task's executor runs the steps with the
//! task's waker; [`drive`] runs them in the calling thread, with a waker that unparks it, and is the only loop that does.

use std::{
    sync::Arc,
    task::{Poll, Wake, Waker},
};

use crate::sync::{
    thread::{self, Thread},
    time::{self, Duration, Instant},
};

/// How long a thread whose wake-up may be missed sleeps before it checks by itself.
pub(crate) const RETRY: Duration = Duration::from_millis(2);

/// What runs the steps of a wait.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Drive {
    /// A thread that has nothing else to do: it may transfer a page itself, and runs when it is woken.
    Thread,
    /// A task, or a thread that must return in time.
    Task,
}

/// Work towards a result that may have to wait on its way.
pub(crate) trait PollStep {
    type Output;

    /// Continues until there is the result, or something to wait for that wakes `waker`.
    fn step(&mut self, drive: Drive, waker: &Waker) -> Poll<Self::Output>;

    /// Returns whether the wake-up is certain, as at the end of a read. A frame that becomes free may be missed, so a thread that
    /// waits for one also checks by itself every [`RETRY`].
    fn is_sure_of_its_wake_up(&self) -> bool {
        true
    }

    /// Runs the work in the calling thread, which lends itself to transfers.
    fn run_to_end(&mut self) -> Self::Output {
        drive(self, Drive::Thread, None).expect("there is no deadline")
    }

    /// Runs the work in the calling thread, but not beyond `deadline`: so the thread cannot lend itself to a transfer.
    fn run_until(&mut self, deadline: Instant) -> Option<Self::Output> {
        drive(self, Drive::Task, Some(deadline))
    }
}

impl<T, F: FnMut(&Waker) -> Poll<T>> PollStep for F {
    type Output = T;

    fn step(&mut self, _: Drive, waker: &Waker) -> Poll<T> {
        self(waker)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

fn new_waker() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

/// Runs `body`, once, with a waker for the calling thread, which is made once a thread. `body` stores its result where the caller
/// finds it: a page with its possible errors is a large value, and each function that passes it on copies it.
#[cfg(not(any(loom, shuttle)))]
fn with_thread_waker(mut body: impl FnMut(&Waker)) {
    thread_local! {
        static WAKER: Waker = new_waker();
    }
    // A thread that is being torn down has lost its waker, but may still have pages to release.
    if WAKER.try_with(&mut body).is_err() {
        body(&new_waker());
    }
}

#[cfg(any(loom, shuttle))]
fn with_thread_waker(mut body: impl FnMut(&Waker)) {
    body(&new_waker());
}

/// Runs steps until one is ready or `deadline` has passed, and parks between them.
fn drive<S: PollStep + ?Sized>(work: &mut S, drive: Drive, deadline: Option<Instant>) -> Option<S::Output> {
    let mut outcome = Poll::Pending;
    with_thread_waker(|waker| {
        loop {
            outcome = work.step(drive, waker);
            if outcome.is_ready() {
                return;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(time::now()));
            let retry = (!work.is_sure_of_its_wake_up()).then_some(RETRY);
            match left.into_iter().chain(retry).min() {
                Some(Duration::ZERO) => return,
                Some(at_most) => thread::park_timeout(at_most),
                None => thread::park(),
            }
        }
    });
    match outcome {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Runs `step` until it is ready, parked between tries.
pub(crate) fn block_on<T>(mut step: impl FnMut(&Waker) -> Poll<T>) -> T {
    step.run_to_end()
}

/// Runs `step` until it is ready or `deadline` has passed.
pub(crate) fn block_until<T>(deadline: Instant, mut step: impl FnMut(&Waker) -> Poll<T>) -> Option<T> {
    step.run_until(deadline)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn a_thread_sleeps_until_it_is_woken() {
        let (send, receive) = mpsc::channel::<Waker>();
        let waking = std::thread::spawn(move || receive.recv().unwrap().wake());
        let mut tries = 0;
        block_on(|waker| {
            tries += 1;
            if tries == 1 {
                send.send(waker.clone()).map_or(Poll::Ready(()), |()| Poll::Pending)
            } else {
                Poll::Ready(())
            }
        });
        waking.join().unwrap();
    }

    #[test]
    fn a_deadline_ends_a_wait_that_no_thread_ends() {
        let deadline = time::now() + Duration::from_millis(5);
        assert_eq!(block_until(deadline, |_| Poll::<()>::Pending), None);
        assert!(time::now() >= deadline);
    }
}
