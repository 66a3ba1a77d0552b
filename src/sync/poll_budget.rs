//! What a task may have of its thread before others have a turn.
//!
//! An executor gets its thread back when a future is pending. One that finds all pages here, or has them read by the thread that polls
//! it, never is, and a loop of those would keep every other task of that thread waiting. So each thread has a budget, from which each
//! poll takes one that is ready. Where nothing is left the next poll of any future of this crate has its task woken, and is pending
//! before it has begun anything; so it may be dropped, or polled again, as one that was not polled. Then the budget is whole again.
//!
//! A poll that is pending of itself does not make it whole: a task may wait for one future, and meanwhile have many that are ready.
//! Threads that wait, by `wait` and the like, have no part in this.

use std::{
    cell::Cell,
    task::{Context, Poll, Waker},
};

use crate::sync::waking::StoredWaker;

/// So many polls in a row may be ready.
const POLLS: u32 = 128;

/// The threads of a model checker are one, and a schedule must not depend on those before it.
const IS_LIMITED: bool = !cfg!(any(loom, shuttle));

thread_local! {
    static LEFT: Cell<u32> = const { Cell::new(POLLS) };
}

/// Polls at the expense of the calling thread's budget; pending, with the task woken, where it is used up.
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
