//! How many threads serve a queue, and who is called when work comes. Pure; kept under the queue's lock.
//!
//! A thread that sleeps is either called, and then counts as awake at once, or gets up by itself. So no two calls count on
//! the same sleeper, and work that finds nobody asleep has a thread hired for it, up to the most there may be.

/// The threads of a method.
#[derive(Debug)]
pub(crate) struct WorkerCounts {
    most: usize,
    /// Hired and not gone, asleep or not.
    serving: usize,
    /// Of those, so many are being started, and may yet be refused.
    starting: usize,
    /// Asleep and not called.
    sleeping: usize,
    /// Called and not up yet.
    called: usize,
}

/// Who is to come.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "they count as awake already"]
pub(crate) struct Summons {
    /// So many sleepers are to be woken.
    pub(crate) wake: usize,
    /// So many threads are to be started; they count as serving, until they are [refused](WorkerCounts::refuse).
    pub(crate) hire: usize,
}

impl WorkerCounts {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, serving: 0, starting: 0, sleeping: 0, called: 0 }
    }

    pub(crate) fn serving(&self) -> usize {
        self.serving
    }

    /// Whether any thread was started and is not gone.
    pub(crate) fn has_any(&self) -> bool {
        self.serving > self.starting
    }

    /// Those who do not sleep.
    #[cfg(test)]
    pub(crate) fn awake(&self) -> usize {
        self.serving - self.sleeping
    }

    /// Calls a thread for each of so many requests. `may_hire` is asked where some are to be started.
    pub(crate) fn call(&mut self, requests: usize, may_hire: impl FnOnce() -> bool) -> Summons {
        let wake = requests.min(self.sleeping);
        self.sleeping -= wake;
        self.called += wake;
        let hire = (requests - wake).min(self.most - self.serving);
        let hire = if hire > 0 && may_hire() { hire } else { 0 };
        self.serving += hire;
        self.starting += hire;
        Summons { wake, hire }
    }

    /// One of those that were to be started is there.
    pub(crate) fn start(&mut self) {
        self.starting -= 1;
    }

    /// So many of those that were to be started could not be had.
    pub(crate) fn refuse(&mut self, threads: usize) {
        self.starting -= threads;
        self.serving -= threads;
    }

    pub(crate) fn fall_asleep(&mut self) {
        self.sleeping += 1;
    }

    /// Whether somebody was called. Asked by a thread that woke up, which is then awake.
    pub(crate) fn answer(&mut self) -> bool {
        let any = self.called > 0;
        self.called -= usize::from(any);
        any
    }

    /// A sleeper gets up that nobody called.
    pub(crate) fn get_up(&mut self) {
        self.sleeping -= 1;
    }

    /// A thread goes.
    pub(crate) fn leave(&mut self) {
        self.serving -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_are_called_once_and_then_others_are_hired() {
        let mut crew = WorkerCounts::new(3);
        assert_eq!(crew.call(1, || true), Summons { wake: 0, hire: 1 });
        crew.start();
        crew.fall_asleep();
        assert_eq!(crew.call(1, || unreachable!("none is to be started")), Summons { wake: 1, hire: 0 });
        // It has been called and is not up yet: somebody else must come.
        assert_eq!(crew.call(5, || true), Summons { wake: 0, hire: 2 });
        assert_eq!(crew.call(1, || true), Summons::default());
        assert!(crew.answer() && !crew.answer());
        crew.fall_asleep();
        crew.get_up();
        crew.leave();
        assert_eq!((crew.serving(), crew.call(2, || true)), (2, Summons { wake: 0, hire: 1 }));
    }

    #[test]
    fn a_thread_that_is_being_started_may_yet_be_refused() {
        let mut crew = WorkerCounts::new(3);
        assert_eq!(crew.call(2, || true), Summons { wake: 0, hire: 2 });
        assert_eq!((crew.serving(), crew.has_any()), (2, false));
        crew.start();
        assert!(crew.has_any());
        crew.refuse(1);
        assert_eq!((crew.serving(), crew.has_any()), (1, true));
        crew.leave();
        assert_eq!((crew.serving(), crew.has_any()), (0, false));
        assert_eq!(crew.call(2, || false), Summons::default(), "none may be started now");
    }
}
