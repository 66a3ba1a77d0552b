//! How many threads serve a queue, and who is called when work comes. Pure; kept under the queue's lock.
//!
//! A thread that sleeps is either called, and then counts as awake at once, or gets up by itself. So no two calls count on
//! the same sleeper, and work that finds nobody asleep has a thread hired for it, up to the most there may be.

/// The threads of a method.
#[derive(Debug)]
pub(super) struct Crew {
    most: usize,
    /// Hired and not gone, asleep or not.
    serving: usize,
    /// Asleep and not called.
    sleeping: usize,
    /// Called and not up yet.
    called: usize,
}

/// Who is to come.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "they count as awake already"]
pub(super) struct Summons {
    /// So many sleepers are to be woken.
    pub(super) wake: usize,
    /// So many threads are to be started; they count as serving.
    pub(super) hire: usize,
}

impl Crew {
    pub(super) fn new(most: usize) -> Self {
        Self { most, serving: 0, sleeping: 0, called: 0 }
    }

    pub(super) fn serving(&self) -> usize {
        self.serving
    }

    /// Those who do not sleep.
    #[cfg(test)]
    pub(super) fn awake(&self) -> usize {
        self.serving - self.sleeping
    }

    /// Calls somebody for each of so many requests.
    pub(super) fn call(&mut self, requests: usize) -> Summons {
        let wake = requests.min(self.sleeping);
        self.sleeping -= wake;
        self.called += wake;
        let hire = (requests - wake).min(self.most - self.serving);
        self.serving += hire;
        Summons { wake, hire }
    }

    pub(super) fn fall_asleep(&mut self) {
        self.sleeping += 1;
    }

    /// Whether somebody was called. Asked by a thread that woke up, which is then awake.
    pub(super) fn answer(&mut self) -> bool {
        let any = self.called > 0;
        self.called -= usize::from(any);
        any
    }

    /// A sleeper gets up that nobody called.
    pub(super) fn get_up(&mut self) {
        self.sleeping -= 1;
    }

    /// A thread goes, or could not be hired.
    pub(super) fn leave(&mut self) {
        self.serving -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_are_called_once_and_then_others_are_hired() {
        let mut crew = Crew::new(3);
        assert_eq!(crew.call(1), Summons { wake: 0, hire: 1 });
        crew.fall_asleep();
        assert_eq!(crew.call(1), Summons { wake: 1, hire: 0 });
        // It has been called and is not up yet: somebody else must come.
        assert_eq!(crew.call(5), Summons { wake: 0, hire: 2 });
        assert_eq!(crew.call(1), Summons::default());
        assert!(crew.answer() && !crew.answer());
        crew.fall_asleep();
        crew.get_up();
        crew.leave();
        assert_eq!((crew.serving(), crew.call(2)), (2, Summons { wake: 0, hire: 1 }));
    }
}
