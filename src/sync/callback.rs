//! Calls into the engine's own code: its log, its codec, its tasks' wakers. Any thread that reads or writes a page may have to make
//! such a call, for a caller that never asked for that page. So a panic ends here (C10): it fails the operation, and unwinds
//! neither through the pool's own state nor through that caller.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The most drops of panic payloads in a row, each of which panics in turn.
const DROPS_MAX: usize = 16;

/// Runs code of the engine, or code that may call it.
///
/// # Errors
/// It [`Panicked`]. The caller knows which code that was, and for which page.
pub(crate) fn contained<T>(body: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        discard(panic);
        Panicked
    })
}

/// Code of the engine has panicked.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Panicked;

/// Drops the payload of a panic, which may panic with another payload that must be dropped in turn. What is left after
/// [`DROPS_MAX`] drops is leaked: else a payload that panics each time would keep this thread for ever.
fn discard(mut payload: Box<dyn Any + Send>) {
    for _ in 0..DROPS_MAX {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    mem::forget(payload);
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{panic::resume_unwind, sync::Arc};

    use super::*;

    /// A payload of a panic, whose drop panics with another one, `drops` times.
    struct PanickingPayload {
        drops: usize,
        alive: Arc<()>,
    }

    impl Drop for PanickingPayload {
        fn drop(&mut self) {
            if let Some(drops) = self.drops.checked_sub(1) {
                resume_unwind(Box::new(Self { drops, alive: Arc::clone(&self.alive) }));
            }
        }
    }

    /// Returns a payload that a panic can carry, whose drop panics once.
    pub(crate) fn panicking_payload() -> Box<dyn Any + Send> {
        Box::new(PanickingPayload { drops: 1, alive: Arc::new(()) })
    }

    /// Takes no memory, so none is leaked.
    struct EndlessPayload;

    impl Drop for EndlessPayload {
        fn drop(&mut self) {
            resume_unwind(Box::new(Self));
        }
    }

    #[test]
    fn c10_what_a_panic_carried_is_not_leaked_though_its_drop_panics() {
        for drops in 0..DROPS_MAX {
            let alive = Arc::new(());
            let payload = Box::new(PanickingPayload { drops, alive: Arc::clone(&alive) });
            assert!(matches!(contained(|| resume_unwind(payload)), Err(Panicked)));
            assert_eq!(Arc::strong_count(&alive), 1, "{drops}");
        }
    }

    #[test]
    fn c10_what_panics_at_each_drop_does_not_keep_the_thread() {
        assert!(matches!(contained(|| resume_unwind(Box::new(EndlessPayload))), Err(Panicked)));
    }
}
