//! Waking: the one place that stores, calls and drops the `Waker` of a task or thread.
//!
//! A waker is code of the caller. Its clone, its call and its drop may take locks, own pages of the same pool, run the task in
//! place, or panic, as an executor's wakers do after its end. None of this may affect anything but that one task, so:
//!
//! * a list keeps a [`StoredWaker`], which is made *before* the list's lock is taken, and dropped after it;
//! * wakers to be called are moved into [`Wakers`] under the lock, and called when that is dropped: after the lock, and, at the end
//!   of an I/O, after all other steps of that end;
//! * a panic ends here, so the next wakers in a list are still called.

use std::task::Waker;

use smallvec::SmallVec;

use crate::{events, sync::callback};

/// A waker in a list of this pool. Make, call and drop it with no lock held.
#[derive(Debug)]
pub(crate) struct StoredWaker(Option<Waker>);

impl StoredWaker {
    /// Clones the waker of the task or thread that is going to wait.
    pub(crate) fn of(waker: &Waker) -> Self {
        Self(Some(waker.clone()))
    }

    pub(crate) fn wake(mut self) {
        if let Some(waker) = self.0.take() {
            contain(|| waker.wake());
        }
    }
}

impl Drop for StoredWaker {
    fn drop(&mut self) {
        if let Some(waker) = self.0.take() {
            contain(|| drop(waker));
        }
    }
}

/// Wakers that are called when this is dropped, in the order in which they came. Make it before a lock is taken.
#[derive(Debug, Default)]
pub(crate) struct Wakers(SmallVec<[StoredWaker; 8]>);

impl Wakers {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls the wakers that are in the list now. The list keeps its memory for others.
    pub(crate) fn call(&mut self) {
        self.0.drain(..).for_each(StoredWaker::wake);
    }
}

impl Extend<StoredWaker> for Wakers {
    fn extend<I: IntoIterator<Item = StoredWaker>>(&mut self, wakers: I) {
        self.0.extend(wakers);
    }
}

impl Drop for Wakers {
    fn drop(&mut self) {
        self.call();
    }
}

/// Runs code of a caller; its panic ends here.
fn contain(body: impl FnOnce()) {
    if seeded!("panic_of_a_waker_goes_on") {
        return body();
    }
    if callback::contained(body).is_err() {
        events::waker_panicked();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic,
        sync::{Arc, Mutex},
        task::Wake,
    };

    use super::*;
    use crate::sync::callback::tests::panicking_payload;

    /// Notes its number when it is called, and when it is dropped, and panics both times if it is odd.
    struct Noting(u32, Arc<Mutex<Vec<(u32, &'static str)>>>);

    impl Noting {
        fn note(&self, what: &'static str) {
            self.1.lock().unwrap().push((self.0, what));
            if self.0 % 2 == 1 {
                panic::resume_unwind(panicking_payload());
            }
        }
    }

    impl Wake for Noting {
        fn wake(self: Arc<Self>) {
            self.note("woken");
        }
    }

    impl Drop for Noting {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                self.note("dropped");
            }
        }
    }

    #[test]
    fn c10_a_panic_of_one_waker_is_no_matter_of_the_next() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let stored = |number| {
            let waker = Waker::from(Arc::new(Noting(number, Arc::clone(&notes))));
            StoredWaker::of(&waker)
        };
        let mut wakers = Wakers::new();
        wakers.extend((0..10).map(stored));
        drop(wakers);
        let woken = |number: &u32| notes.lock().unwrap().contains(&(*number, "woken"));
        assert!((0..10).all(|number| woken(&number)), "{:?}", notes.lock().unwrap());
        drop(stored(11));
        assert!(notes.lock().unwrap().contains(&(11, "dropped")) && !woken(&11));
    }
}
