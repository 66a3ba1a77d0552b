//! A small number for each live thread, for things that are kept apart by thread.

use std::cell::Cell;

use crate::sync::uncontrolled;

/// The number of the calling thread: the smallest that no other live thread has. It is the thread's own for as long as it
/// lives; `None` while it is being torn down.
#[inline]
pub(crate) fn current() -> Option<usize> {
    THREAD_INDEX.try_with(ThreadIndex::get_or_claim).ok()
}

thread_local! {
    static THREAD_INDEX: ThreadIndex = const { ThreadIndex(Cell::new(usize::MAX)) };
}

/// Given back when the thread ends.
struct ThreadIndex(Cell<usize>);

/// Indexes that live threads have, by position.
static TAKEN: uncontrolled::Mutex<Vec<bool>> = uncontrolled::Mutex::new(Vec::new());

impl ThreadIndex {
    #[inline]
    fn get_or_claim(&self) -> usize {
        let index = self.0.get();
        if index == usize::MAX { self.claim() } else { index }
    }

    #[cold]
    fn claim(&self) -> usize {
        let mut taken = TAKEN.lock();
        let index = taken.iter().position(|&taken| !taken).unwrap_or_else(|| {
            taken.push(false);
            taken.len() - 1
        });
        taken[index] = true;
        self.0.set(index);
        index
    }
}

impl Drop for ThreadIndex {
    fn drop(&mut self) {
        if self.0.get() != usize::MAX {
            TAKEN.lock()[self.0.get()] = false;
        }
    }
}
