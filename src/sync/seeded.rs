//! Seeded bugs, to show that the tests find bugs.
//!
//! `seeded!("name")` is false, and removed from the program, unless the crate is built with `--cfg seeded_bugs`. Then it is true
//! for the one bug that the environment variable `RINGPOOL_SEEDED_BUG` names. Each bug is one that a careless change could make.
//! `design/seeded-bugs.toml` lists them, with the test that must find each; `.ci/seeded` checks the list against the code and runs
//! it.

/// Whether the bug of this name is present.
#[cfg(not(seeded_bugs))]
macro_rules! seeded {
    ($name:literal) => {
        false
    };
}

#[cfg(seeded_bugs)]
macro_rules! seeded {
    ($name:literal) => {
        $crate::sync::seeded::is_on($name)
    };
}

#[cfg(seeded_bugs)]
pub(crate) fn is_on(name: &str) -> bool {
    use std::sync::LazyLock;
    static BUG: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("RINGPOOL_SEEDED_BUG").ok());
    BUG.as_deref() == Some(name)
}
