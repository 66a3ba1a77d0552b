//! How often some threads of this process ran, and for how long.
//!
//! The system counts both for each thread (`/proc/self/task/*/schedstat`), so that what measures is not measured.

use std::collections::BTreeSet;
use std::fs;

use crate::Result;

/// Threads of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threads(BTreeSet<String>);

/// How often threads began to run, and for how long they ran.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Run {
    /// How often.
    pub times: u64,
    /// How long, all together.
    pub seconds: f64,
}

impl Run {
    /// Returns what was run between `earlier` and this. What a thread had run that ended meanwhile is not counted.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        let times = self.times.saturating_sub(earlier.times);
        Self { times, seconds: (self.seconds - earlier.seconds).max(0.0) }
    }
}

impl Threads {
    /// Returns all threads of this process.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn all() -> Result<Self> {
        let tasks = fs::read_dir("/proc/self/task").map_err(|error| format!("/proc/self/task: {error}"))?;
        Ok(Self(tasks.filter_map(|task| task.ok()?.file_name().into_string().ok()).collect()))
    }

    /// Returns these threads without the `others`.
    #[must_use]
    pub fn but(self, others: &Self) -> Self {
        Self(self.0.difference(&others.0).cloned().collect())
    }

    /// Reads what they have run up to now. Threads that have ended do not count any more.
    ///
    /// # Errors
    ///
    /// If what the system reports is no number.
    pub fn run(&self) -> Result<Run> {
        let mut all = Run::default();
        for thread in &self.0 {
            let Ok(counts) = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")) else {
                continue;
            };
            let mut counts = counts.split_ascii_whitespace().map(str::parse::<u64>);
            if let (Some(running), Some(_waiting), Some(times)) =
                (counts.next(), counts.next(), counts.next())
            {
                all.seconds += running? as f64 / 1e9;
                all.times += times?;
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn what_a_thread_has_run_is_counted() {
        if !Path::new("/proc/self/schedstat").exists() {
            return println!("left out: this kernel does not count");
        }
        let before = Threads::all().unwrap();
        let (wake, woken) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || woken.iter().try_for_each(|()| tell.send(())));
            wake.send(()).unwrap();
            told.recv().unwrap();
            assert!(Threads::all().unwrap().but(&before).run().unwrap().times > 0);
            drop(wake);
        });
    }

    #[test]
    fn what_ended_meanwhile_counts_as_nothing() {
        let (earlier, later) = (Run { times: 7, seconds: 2.0 }, Run { times: 9, seconds: 2.5 });
        assert_eq!(later.since(earlier), Run { times: 2, seconds: 0.5 });
        assert_eq!(earlier.since(later), Run::default());
    }
}
