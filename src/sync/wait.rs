//! Blocking as a special case of polling.
//!
//! Whatever can wait is written once, as a step that takes a [`Waker`] and returns [`Poll`]. A task runs it with its own
//! waker; a thread runs it here, with a waker that unparks it.

use std::{
    sync::Arc,
    task::{Poll, Wake, Waker},
};

use crate::sync::{
    thread::{self, Thread},
    time::{self, Instant},
};

/// What runs the steps of a wait.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Drive {
    /// A thread that has nothing else to do: it may transfer a page itself, and comes when it is woken.
    Thread,
    /// A task, or a thread that must be back in time.
    Task,
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

/// Runs `body` with a waker for the calling thread; made once a thread.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn with_thread_waker<R>(body: impl FnOnce(&Waker) -> R) -> R {
    thread_local! {
        static WAKER: Waker = new_waker();
    }
    let mut body = Some(body);
    let mut run = |waker: &Waker| body.take().map(|body| body(waker));
    // A thread that is being torn down has lost its waker, but may still have pages to release.
    let done = WAKER.try_with(&mut run).ok().flatten();
    done.or_else(|| run(&new_waker())).expect("one of the two has run it")
}

#[cfg(any(loom, shuttle))]
pub(crate) fn with_thread_waker<R>(body: impl FnOnce(&Waker) -> R) -> R {
    body(&new_waker())
}

/// Runs `step` until it is ready, parked between tries.
pub(crate) fn block_on<T>(mut step: impl FnMut(&Waker) -> Poll<T>) -> T {
    with_thread_waker(|waker| {
        loop {
            if let Poll::Ready(value) = step(waker) {
                return value;
            }
            thread::park();
        }
    })
}

/// Runs `step` until it is ready or `deadline` has passed.
pub(crate) fn block_until<T>(deadline: Instant, mut step: impl FnMut(&Waker) -> Poll<T>) -> Option<T> {
    with_thread_waker(|waker| {
        loop {
            if let Poll::Ready(value) = step(waker) {
                return Some(value);
            }
            let left = deadline.saturating_duration_since(time::now());
            if left.is_zero() {
                return None;
            }
            thread::park_timeout(left);
        }
    })
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
    fn a_deadline_ends_a_wait_that_nobody_ends() {
        let deadline = time::now() + Duration::from_millis(5);
        assert_eq!(block_until(deadline, |_| Poll::<()>::Pending), None);
        assert!(time::now() >= deadline);
    }
}
