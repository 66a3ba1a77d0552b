//! A step that is made when a value is dropped, also by a panic, unless it has become needless.

#[must_use = "the step is made when this is dropped"]
pub(crate) struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    pub(crate) fn of(step: F) -> Self {
        Self(Some(step))
    }

    /// Does without the step: what it would undo is kept.
    pub(crate) fn keep(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(step) = self.0.take() {
            step();
        }
    }
}
