//! How long a task may keep its thread before other tasks have a turn.
//!
//! A future that finds all pages resident, or has them read by the thread that polls it, is never pending, and a loop of those
//! would keep every other task of that thread waiting. So each thread has a budget, from which each poll that is ready takes one.
//! If nothing is left the next poll of any future of this crate has its task woken, and is pending before it has begun anything.
//! Then the budget is full again. A poll that is pending for another reason does not fill it: a task may wait for one future, and
//! meanwhile have many that are ready. Threads that wait, by `wait` for example, are not affected.

use std::{
    cell::Cell,
    task::{Context, Poll, Waker},
};

use crate::sync::waking::StoredWaker;

/// The polls in a row that may be ready.
const POLLS: u32 = 128;

/// A model checker runs all threads on one, and a schedule must not depend on those before it.
const IS_LIMITED: bool = !cfg!(any(loom, shuttle));

thread_local! {
    static LEFT: Cell<u32> = const { Cell::new(POLLS) };
}

/// Polls, and takes from the calling thread's budget; pending, with the task woken, if the budget is used up.
#[inline]
pub(crate) fn poll<T>(context: &Context<'_>, poll: impl FnOnce(&Waker) -> Poll<T>) -> Poll<T> {
    let left = LEFT.get();
    if left == 0 && IS_LIMITED && !seeded!("ready_futures_never_give_way") {
        return give_way(context.waker());
    }
    let polled = poll(context.waker());
    if polled.is_ready() {
        LEFT.set(left.saturating_sub(1));
    }
    polled
}

#[cold]
fn give_way<T>(task: &Waker) -> Poll<T> {
    LEFT.set(POLLS);
    StoredWaker::of(task).wake();
    Poll::Pending
}
