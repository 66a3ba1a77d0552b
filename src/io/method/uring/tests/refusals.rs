//! Faults of a ring that a test orders: calls that fail without being made, requests that complete otherwise than they did.

use std::collections::VecDeque;

use crate::{
    observe::Counters,
    sync::{Arc, uncontrolled::Mutex},
};

/// Where the fault is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(in crate::io::method::uring) enum Of {
    Calls,
    Completions,
}

/// The error numbers of the next calls or completions of a method, which is known by its counters. The counters are kept, so that
/// no later test has others at the same address.
static NEXT: Mutex<Vec<RefusedCalls>> = Mutex::new(Vec::new());

type RefusedCalls = (Arc<Counters>, Of, VecDeque<i32>);

/// Makes the next calls or completions of the rings of this method fail with these.
pub(in crate::io::method::uring) fn refuse(
    counters: &Arc<Counters>,
    of: Of,
    errnos: impl IntoIterator<Item = i32>,
) {
    NEXT.lock().push((Arc::clone(counters), of, errnos.into_iter().collect()));
}

/// Returns how many are still to fail.
pub(in crate::io::method::uring) fn left(counters: &Arc<Counters>, of: Of) -> usize {
    let next = NEXT.lock();
    next.iter().filter(|next| Arc::ptr_eq(&next.0, counters) && next.1 == of).map(|next| next.2.len()).sum()
}

/// Takes what the next one fails with.
pub(in crate::io::method::uring) fn next(counters: &Arc<Counters>, of: Of) -> Option<i32> {
    let mut next = NEXT.lock();
    next.iter_mut()
        .filter(|next| Arc::ptr_eq(&next.0, counters) && next.1 == of)
        .find_map(|next| next.2.pop_front())
}
