//! A result that one thread leaves for another, and work of which there is such a result.

use std::{
    mem,
    sync::Arc,
    task::{Poll, Waker},
};

use crate::sync::{Mutex, waking::StoredWaker};

/// The place of a result until the waiting caller takes it.
pub(crate) struct Promise<T>(Mutex<Pending<T>>);

struct Pending<T> {
    result: Option<T>,
    waker: Option<StoredWaker>,
}

impl<T> Promise<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Pending { result: None, waker: None }))
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.0.lock().result.is_some()
    }

    /// Returns the result once; until it is there, keeps the waker to be called then.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<T> {
        // Dropped after the lock, whether it is this waker or the former one.
        let mut waker = Some(StoredWaker::of(waker));
        let mut pending = self.0.lock();
        if let Some(result) = pending.result.take() {
            return Poll::Ready(result);
        }
        mem::swap(&mut pending.waker, &mut waker);
        Poll::Pending
    }

    /// Returns the result if it is there and the lock is free: after a fork another thread may have that for ever.
    pub(crate) fn take_at_once(&self) -> Option<T> {
        self.0.try_lock()?.result.take()
    }

    /// Leaves the result, once.
    pub(crate) fn set(&self, result: T) {
        let waker = {
            let mut pending = self.0.lock();
            pending.result = Some(result);
            pending.waker.take()
        };
        waker.into_iter().for_each(StoredWaker::wake);
    }
}

/// Work that begins when it is polled, as a rule in another thread, and the one result that it has.
pub(crate) enum LazyWork<W, T> {
    Idle(W),
    Running(Arc<Promise<T>>),
    Collected,
}

impl<W, T> LazyWork<W, T> {
    /// Polls for the result. `begin` is called at the first poll, with the promise that it has kept.
    pub(crate) fn poll(&mut self, waker: &Waker, begin: impl FnOnce(W, &Arc<Promise<T>>)) -> Poll<T> {
        if matches!(self, Self::Idle(_)) {
            let promise = Arc::new(Promise::new());
            if let Self::Idle(work) = mem::replace(self, Self::Running(Arc::clone(&promise))) {
                begin(work, &promise);
            }
        }
        let Self::Running(promise) = self else {
            panic!("it was polled after it had given its result");
        };
        let polled = promise.poll(waker);
        if polled.is_ready() {
            *self = Self::Collected;
        }
        polled
    }

    pub(crate) fn stage(&self) -> &'static str {
        match self {
            Self::Idle(_) => "not started",
            Self::Running(_) => "running",
            Self::Collected => "collected",
        }
    }
}
