//! A rest for a disk that refuses victims.
//!
//! Who needs a frame and meets dirty victims only has a batch of them written, where no background writer does. On a disk that takes
//! none of them everybody would do so again and again, each woken by the failures of the others' writes, and a crowd would burn the
//! processors with it. So after a batch of which nothing could be written the whole pool rests, longer each time; when the rest is
//! over, one tries for all, and the others go on resting. The first page that is written ends it. Beside that each fetch tries a
//! single page for itself, so that none fails on a disk that has become well.
//!
//! Lock order: the lock here is taken before a tally's, and no other under it.

use crate::{
    error::Error,
    lease::Tally,
    sync::{
        Arc, Mutex,
        time::{self, Duration, Instant},
    },
};

/// The rest after a first batch in vain, and after many.
const REST: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(16)];

/// For how long a batch in vain explains why there is no frame.
const LATELY: Duration = Duration::from_secs(1);

/// When a pool may write victims for those who need a frame.
#[derive(Default)]
pub(crate) struct Respite(Mutex<State>);

#[derive(Default)]
struct State {
    rest: Option<Rest>,
    /// The batch that was begun last, until it is known what came of it.
    batch: Option<Arc<Tally>>,
    /// What the last batch in vain met with, and when that was found.
    failure: Option<(Instant, Error)>,
}

/// The rule, without a clock.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Rest {
    length: Duration,
    until: Instant,
}

impl Rest {
    /// After a batch in vain, and the rest that there was before it.
    fn after(before: Option<Self>, now: Instant) -> Self {
        let length = before.map_or(REST[0], |before| (before.length * 2).min(REST[1]));
        Self { length, until: now + length }
    }

    /// Whether the rest is over for the one who asks. Who comes after him finds another one.
    fn is_over(&mut self, now: Instant) -> bool {
        let is_over = now >= self.until;
        if is_over {
            self.until = now + self.length;
        }
        is_over
    }
}

impl Respite {
    /// Whether a batch may be written now.
    pub(crate) fn is_over(&self) -> bool {
        let now = time::now();
        let mut state = self.0.lock();
        state.learn(now);
        state.rest.as_mut().is_none_or(|rest| rest.is_over(now))
    }

    /// A batch was begun.
    pub(crate) fn watch(&self, batch: &Arc<Tally>) {
        self.0.lock().batch = Some(Arc::clone(batch));
    }

    /// Why nothing could be written lately.
    pub(crate) fn failure(&self) -> Option<Error> {
        let now = time::now();
        let mut state = self.0.lock();
        state.learn(now);
        state.failure_at(now)
    }
}

impl State {
    fn failure_at(&self, now: Instant) -> Option<Error> {
        let (found, error) = self.failure.as_ref()?;
        (now - *found < LATELY).then(|| error.clone())
    }

    /// Looks what came of the last batch.
    fn learn(&mut self, now: Instant) {
        let Some((pages, error)) = self.batch.as_ref().and_then(|batch| batch.outcome()) else { return };
        self.batch = None;
        match (pages, error) {
            // Others had the pages already.
            (0, None) => {}
            (0, Some(error)) => {
                self.rest = Some(Rest::after(self.rest, now));
                self.failure = Some((now, error));
            }
            _ => {
                self.rest = None;
                self.failure = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(outcomes: impl IntoIterator<Item = Result<u64, Error>>) -> Arc<Tally> {
        let batch = Tally::new();
        outcomes.into_iter().for_each(|outcome| batch.begin().end(outcome));
        batch
    }

    fn in_vain() -> Arc<Tally> {
        batch([Err(Error::ShutDown), Err(Error::ShutDown)])
    }

    #[test]
    fn rests_become_longer_and_each_is_over_for_one() {
        let begun = time::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut rest = Rest::after(None, begun);
        let asked = [0, 1, 2, 2, 3, 4].map(|millis| rest.is_over(at(millis)));
        assert_eq!(asked, [false, false, true, false, false, true]);
        let mut lengths = Vec::new();
        for _ in 0..5 {
            rest = Rest::after(Some(rest), begun);
            lengths.push(rest.length.as_millis());
        }
        assert_eq!(lengths, [4, 8, 16, 16, 16]);
    }

    #[test]
    fn a_batch_in_vain_is_followed_by_a_rest_and_what_was_written_ends_it() {
        let begun = time::now();
        let rests_after = |batches: &[Arc<Tally>]| {
            let mut state = State::default();
            for batch in batches {
                state.batch = Some(Arc::clone(batch));
                state.learn(begun);
            }
            (state.rest.map(|rest| rest.length.as_millis()), state.failure.is_some())
        };
        let in_part = batch([Err(Error::ShutDown), Ok(1)]);
        let under_way = Tally::new();
        let _out = under_way.begin();
        assert_eq!(rests_after(&[]), (None, false));
        assert_eq!(rests_after(&[in_vain()]), (Some(2), true));
        assert_eq!(rests_after(&[in_vain(), in_vain()]), (Some(4), true));
        assert_eq!(rests_after(&[in_vain(), batch([])]), (Some(2), true), "nothing is known from it");
        assert_eq!(rests_after(&[in_vain(), under_way]), (Some(2), true), "nor from this, yet");
        assert_eq!(rests_after(&[in_vain(), in_part]), (None, false));
    }

    #[test]
    fn a_failure_is_told_for_a_while_and_until_something_is_written() {
        let begun = time::now();
        let mut state = State { batch: Some(in_vain()), ..State::default() };
        assert!(state.failure_at(begun).is_none());
        state.learn(begun);
        assert!(matches!(state.failure_at(begun + LATELY / 2), Some(Error::ShutDown)));
        assert!(state.failure_at(begun + LATELY).is_none());
        state.batch = Some(batch([Ok(1)]));
        state.learn(begun);
        assert!(state.failure_at(begun).is_none());
    }
}
