//! The counters of a pool.

use std::{sync::Arc, time::Duration};

use crate::observe::{
    by_thread::ByThread,
    counts::{Counter, Counts},
    hits::Hits,
    measures::Measures,
    thread_index,
};

pub(crate) struct Counters {
    pub(crate) pool: Arc<str>,
    /// The nanoseconds from which a request or a sync is slow.
    slow_nanos: u64,
    counters: ByThread<{ Counter::KINDS }>,
    /// Pages that callers found ready.
    pub(crate) hits: Hits,
    pub(crate) measures: Measures,
}

impl Counters {
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn new() -> Self {
        Self::of_pool("".into(), Duration::MAX)
    }

    /// Makes the counters of the pool of this name, in which a request is slow from this time on.
    pub(crate) fn of_pool(pool: Arc<str>, slow: Duration) -> Self {
        Self {
            pool,
            slow_nanos: u64::try_from(slow.as_nanos()).unwrap_or(u64::MAX),
            counters: ByThread::new(),
            hits: Hits::new(),
            measures: Measures::new(),
        }
    }

    #[inline]
    pub(crate) fn add(&self, counter: Counter, n: u64) {
        self.counters.add(thread_index::current(), counter as usize, n);
    }

    /// Returns whether a request that took `nanos` nanoseconds was slow, and then counts it.
    pub(crate) fn is_slow(&self, nanos: u64) -> bool {
        let is_slow = nanos >= self.slow_nanos;
        if is_slow {
            self.add(Counter::Slow, 1);
        }
        is_slow
    }

    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.counters.get(counter as usize)
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts::of(self.hits.all(), |counter| self.get(counter))
    }

    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + self.counters.memory() + self.hits.memory() + self.measures.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::by_thread::ROWS;

    #[test]
    fn no_count_is_lost_however_many_threads_come_and_go() {
        let counters = Counters::new();
        for _ in 0..2 {
            std::thread::scope(|scope| {
                for _ in 0..ROWS + 20 {
                    scope.spawn(|| (0..1000).for_each(|_| counters.add(Counter::Joins, 1)));
                }
            });
        }
        assert_eq!(counters.get(Counter::Joins), 2 * (ROWS as u64 + 20) * 1000);
        assert_eq!(counters.get(Counter::Misses), 0);
    }
}
