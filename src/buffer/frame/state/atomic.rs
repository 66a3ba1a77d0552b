//! A state word in memory: applies the transitions.

use crate::{
    buffer::frame::state::{PIN, State},
    sync::atomic::{AtomicU64, Ordering},
};

#[derive(Debug, Default)]
pub(crate) struct AtomicState(AtomicU64);

impl AtomicState {
    #[cfg(test)]
    pub(crate) fn new(state: State) -> Self {
        Self(AtomicU64::new(state.0))
    }

    #[inline]
    pub(crate) fn load(&self) -> State {
        State(self.0.load(Ordering::Acquire))
    }

    /// Applies a transition until it succeeds. Returns the new state, or the state that forbade it.
    #[inline]
    pub(crate) fn try_update(&self, transition: impl Fn(State) -> Option<State>) -> Result<State, State> {
        self.try_change(transition).map(|(_, new)| new)
    }

    /// Applies a transition until it succeeds. Returns the old and the new state, or the state that forbade it.
    #[inline]
    pub(crate) fn try_change(
        &self,
        transition: impl Fn(State) -> Option<State>,
    ) -> Result<(State, State), State> {
        let mut current = self.0.load(Ordering::Relaxed);
        loop {
            let next = transition(State(current)).ok_or(State(current))?;
            if cfg!(debug_assertions) {
                next.assert_sound();
            }
            match self.0.compare_exchange_weak(current, next.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok((State(current), next)),
                Err(actual) => current = actual,
            }
        }
    }

    /// Applies a transition that is always allowed. Returns the new state.
    #[inline]
    pub(crate) fn update(&self, transition: impl Fn(State) -> State) -> State {
        match self.try_update(|state| Some(transition(state))) {
            Ok(state) | Err(state) => state,
        }
    }

    /// Applies a step that is always allowed, and returns what was decided by it.
    pub(crate) fn decide<T>(&self, step: impl Fn(State) -> (T, State)) -> T {
        let mut current = self.load();
        loop {
            let (decision, next) = step(current);
            match self.try_update(|state| (state == current).then_some(next)) {
                Ok(_) => return decision,
                Err(state) => current = state,
            }
        }
    }

    /// Takes one pin off in a single step, which cannot fail and so needs no loop. Returns the new state.
    #[inline]
    pub(crate) fn unpin(&self) -> State {
        let before = State(self.0.fetch_sub(PIN, Ordering::AcqRel));
        before.unpin()
    }
}
