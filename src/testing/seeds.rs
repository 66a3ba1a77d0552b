//! Runs of a test for many seeds. The seed that fails is printed.

use std::{env, thread};

/// Runs a test once for each seed from 0 to `count`, in this thread. If one fails, its seed is printed, and how to run it alone.
///
/// `RINGPOOL_SEED=17` runs that one alone; `RINGPOOL_SEEDS=100000` sets how many there are, for a night's run.
///
/// ```
/// use ringpool::testing::{Dice, for_each_seed};
///
/// for_each_seed(100, |seed| {
///     let mut dice = Dice::new(seed);
///     assert!(dice.below(6) < 6);
/// });
/// ```
///
/// # Panics
/// If the test does; or if a variable is set and is not a number.
pub fn for_each_seed(count: u64, test: impl Fn(u64)) {
    let seeds = match (number("RINGPOOL_SEED"), number("RINGPOOL_SEEDS")) {
        (Some(only), _) => only..only.saturating_add(1),
        (None, many) => 0..many.unwrap_or(count),
    };
    for seed in seeds {
        let named = NameWhenPanicking(seed);
        test(seed);
        drop(named);
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}: it must be a number")))
}

struct NameWhenPanicking(u64);

impl Drop for NameWhenPanicking {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("it fails with seed {0}; RINGPOOL_SEED={0} runs that one alone", self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, panic};

    use super::*;

    #[test]
    fn every_seed_has_its_turn_up_to_the_one_that_fails() {
        let seen = RefCell::new(Vec::new());
        let failed = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            for_each_seed(10, |seed| {
                seen.borrow_mut().push(seed);
                assert!(seed < 3, "as it was meant to");
            });
        }));
        // A variable that is set for another test applies to this one too.
        if env::var_os("RINGPOOL_SEED").is_none() {
            assert!(failed.is_err());
            assert_eq!(seen.into_inner(), [0, 1, 2, 3]);
        }
    }
}
