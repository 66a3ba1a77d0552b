//! A small number for each live thread, for things that are kept apart by thread.

use std::cell::Cell;

use crate::sync::uncontrolled;

/// The number of the calling thread: the smallest that no other live thread has. It is the thread's own for as long as it
/// lives; `None` while it is being torn down.
#[inline]
pub(crate) fn current() -> Option<usize> {
    let index = CURRENT.get();
    if index < NONE { Some(index) } else { claim() }
}

/// In place of a number: the thread has none yet, or any more.
const NONE: usize = usize::MAX - 1;
const NO_LONGER: usize = usize::MAX;

thread_local! {
    /// Without a destructor, so a look at it is a load and nothing else.
    static CURRENT: Cell<usize> = const { Cell::new(NONE) };
    static CLAIMED: Claimed = const { Claimed };
}

/// Gives the number back when the thread ends.
struct Claimed;

/// Indexes that live threads have, by position.
static TAKEN: uncontrolled::Mutex<Vec<bool>> = uncontrolled::Mutex::new(Vec::new());

#[cold]
fn claim() -> Option<usize> {
    if CURRENT.get() == NO_LONGER || CLAIMED.try_with(|_| ()).is_err() {
        return None;
    }
    let mut taken = TAKEN.lock();
    let index = taken.iter().position(|&taken| !taken).unwrap_or_else(|| {
        taken.push(false);
        taken.len() - 1
    });
    taken[index] = true;
    CURRENT.set(index);
    Some(index)
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let index = CURRENT.replace(NO_LONGER);
        if index < NONE {
            TAKEN.lock()[index] = false;
        }
    }
}
