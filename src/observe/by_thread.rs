//! Counters that cost next to nothing: each thread adds to a row of its own, readers sum the rows.
//!
//! A live thread has an [index](super::thread_index) for as long as it lives. If it is below [`ROWS`], it adds with a plain load and store: no
//! other thread writes its row. The others share one row and add atomically. Either way no count is lost.

use crossbeam_utils::CachePadded;

use crate::sync::uncontrolled::{AtomicU64, Ordering};

/// Threads that have a row of their own.
pub(super) const ROWS: usize = 64;

type Row<const N: usize> = CachePadded<[AtomicU64; N]>;

pub(super) struct ByThread<const N: usize> {
    own: Box<[Row<N>; ROWS]>,
    shared: Row<N>,
}

impl<const N: usize> ByThread<N> {
    pub(super) fn new() -> Self {
        let row = || CachePadded::new([const { AtomicU64::new(0) }; N]);
        Self { own: Box::new(std::array::from_fn(|_| row())), shared: row() }
    }

    /// Adds `n` to the counter `at`. `thread` is the [index](super::thread_index::current) of the calling thread.
    #[inline]
    pub(super) fn add(&self, thread: usize, at: usize, n: u64) {
        match self.own.get(thread) {
            Some(own) => own[at].store(own[at].load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed),
            // Too many threads, or a thread that is being torn down.
            None => drop(self.shared[at].fetch_add(n, Ordering::Relaxed)),
        }
    }

    /// Returns the counter `at`. What is being added meanwhile may or may not be in it.
    pub(super) fn get(&self, at: usize) -> u64 {
        let rows = self.own.iter().chain([&self.shared]);
        rows.map(|row| row[at].load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    /// Returns the bytes that it takes beside itself.
    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.own)
    }
}
