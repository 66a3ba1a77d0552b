//! Turns a hang into a failure: each worker reports progress; where none came for too long, the process prints what it was doing
//! and ends. (A test that hangs cannot be failed in any other way: its threads cannot be stopped.)

use std::{
    io::Write,
    process,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Watches until it is dropped.
pub(crate) struct Watchdog {
    signs_of_life: Arc<AtomicU64>,
}

impl Watchdog {
    /// Makes a watchdog, which ends the process with what `describe` says when there was no progress for `patience`.
    pub(crate) fn new(patience: Duration, describe: impl Fn() -> String + Send + 'static) -> Self {
        let signs_of_life = Arc::new(AtomicU64::new(0));
        let watched = Arc::downgrade(&signs_of_life);
        thread::spawn(move || watch(&watched, patience, describe));
        Self { signs_of_life }
    }

    /// Reports progress.
    pub(crate) fn pet(&self) {
        self.signs_of_life.fetch_add(1, Ordering::Relaxed);
    }
}

fn watch(watched: &Weak<AtomicU64>, patience: Duration, describe: impl Fn() -> String) {
    let (mut last_seen, mut since) = (0, Instant::now());
    while let Some(signs_of_life) = watched.upgrade() {
        let seen = signs_of_life.load(Ordering::Relaxed);
        drop(signs_of_life);
        if seen != last_seen {
            (last_seen, since) = (seen, Instant::now());
        } else if since.elapsed() > patience {
            // Printed past the test harness, which would keep the text until the end of the test, which never comes.
            let _ = writeln!(std::io::stderr(), "\nHANG: no progress for {patience:?}\n{}", describe());
            process::exit(101);
        }
        thread::sleep(Duration::from_millis(50));
    }
}
