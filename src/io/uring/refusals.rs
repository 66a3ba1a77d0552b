//! What goes wrong in a ring as a test says: calls that fail without being made, requests that complete otherwise than they did.

use std::collections::VecDeque;

use crate::{
    stats::Counters,
    sync::{Arc, uncontrolled::Mutex},
};

/// Where.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Calls,
    Completions,
}

/// The error numbers of the next calls or completions of a method, which is known by the address of its counters.
static NEXT: Mutex<Vec<(usize, Of, VecDeque<i32>)>> = Mutex::new(Vec::new());

/// Has the next calls or completions of the rings of this method fail so.
pub(super) fn refuse(counters: &Arc<Counters>, of: Of, errnos: impl IntoIterator<Item = i32>) {
    NEXT.lock().push((Arc::as_ptr(counters).addr(), of, errnos.into_iter().collect()));
}

/// How many are still to fail.
pub(super) fn left(counters: &Arc<Counters>, of: Of) -> usize {
    let method = Arc::as_ptr(counters).addr();
    NEXT.lock().iter().filter(|next| (next.0, next.1) == (method, of)).map(|next| next.2.len()).sum()
}

/// What the next one fails with.
pub(super) fn next(counters: &Arc<Counters>, of: Of) -> Option<i32> {
    let method = Arc::as_ptr(counters).addr();
    let mut next = NEXT.lock();
    let at = next.iter().position(|next| (next.0, next.1) == (method, of))?;
    let errno = next[at].2.pop_front();
    if next[at].2.is_empty() {
        next.swap_remove(at);
    }
    errno
}
