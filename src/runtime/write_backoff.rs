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
    runtime::operation::BatchStatus,
    sync::{
        Arc, Mutex,
        pause::Pause,
        time::{self, Duration, Instant},
    },
};

/// For how long a batch in vain explains why there is no frame.
const LATELY: Duration = Duration::from_secs(1);

/// When a pool may write victims for those who need a frame.
#[derive(Default)]
pub(crate) struct WriteBackoff(Mutex<BackoffState>);

#[derive(Default)]
struct BackoffState {
    pause: Pause,
    /// The batch that was begun last, until it is known what came of it.
    batch: Option<Arc<BatchStatus>>,
    /// What the last batch in vain met with, and when that was found.
    failure: Option<(Instant, Error)>,
}

impl WriteBackoff {
    /// Whether a batch may be written now.
    pub(crate) fn is_over(&self) -> bool {
        let now = time::now();
        let mut state = self.0.lock();
        state.learn(now);
        state.pause.is_over(now)
    }

    /// A batch was begun.
    pub(crate) fn watch(&self, batch: &Arc<BatchStatus>) {
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

impl BackoffState {
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
                self.pause.lengthen(now);
                self.failure = Some((now, error));
            }
            _ => {
                self.pause.end();
                self.failure = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(outcomes: impl IntoIterator<Item = Result<u64, Error>>) -> Arc<BatchStatus> {
        let batch = BatchStatus::new();
        outcomes.into_iter().for_each(|outcome| batch.begin().end(outcome));
        batch
    }

    fn in_vain() -> Arc<BatchStatus> {
        batch([Err(Error::ShutDown), Err(Error::ShutDown)])
    }

    #[test]
    fn a_batch_in_vain_is_followed_by_a_pause_and_what_was_written_ends_it() {
        let begun = time::now();
        let after = |batches: &[Arc<BatchStatus>]| {
            let mut state = BackoffState::default();
            for batch in batches {
                state.batch = Some(Arc::clone(batch));
                state.learn(begun);
            }
            (state.pause, state.failure.is_some())
        };
        let in_part = batch([Err(Error::ShutDown), Ok(1)]);
        let under_way = BatchStatus::new();
        let _out = under_way.begin();
        let none = Pause::default();
        let [mut first, mut second] = [none; 2];
        first.lengthen(begun);
        (0..2).for_each(|_| second.lengthen(begun));
        assert_eq!(after(&[]), (none, false));
        assert_eq!(after(&[in_vain()]), (first, true));
        assert_eq!(after(&[in_vain(), in_vain()]), (second, true));
        assert_eq!(after(&[in_vain(), batch([])]), (first, true), "nothing is known from it");
        assert_eq!(after(&[in_vain(), under_way]), (first, true), "nor from this, yet");
        assert_eq!(after(&[in_vain(), in_part]), (none, false));
    }

    #[test]
    fn a_failure_is_told_for_a_while_and_until_something_is_written() {
        let begun = time::now();
        let mut state = BackoffState { batch: Some(in_vain()), ..BackoffState::default() };
        assert!(state.failure_at(begun).is_none());
        state.learn(begun);
        assert!(matches!(state.failure_at(begun + LATELY / 2), Some(Error::ShutDown)));
        assert!(state.failure_at(begun + LATELY).is_none());
        state.batch = Some(batch([Ok(1)]));
        state.learn(begun);
        assert!(state.failure_at(begun).is_none());
    }
}
