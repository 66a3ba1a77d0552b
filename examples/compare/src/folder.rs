//! The folder that holds every file a run makes: the test file, those of `safety` and their doublewrite areas. It is removed at
//! the end, and by a signal that ends the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use lab::Result;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use tempfile::TempDir;

/// A folder that does not outlive the process, unless that is killed outright.
#[derive(Debug)]
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn make(dir: &Path) -> Result<Self> {
        let cannot = |error| format!("cannot use {}: {error}", dir.display());
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let folder = tempfile::Builder::new().prefix("ringpool-compare-").tempdir_in(dir).map_err(cannot)?;
        let path = folder.path().to_owned();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                remove(&path);
                // Ends the process as if the signal had never been waited for, so that its parent sees which it was.
                let _ = emulate_default_handler(signal);
            }
        })?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Removes the folder, and tries again where a run that goes on has made a file there meanwhile.
fn remove(path: &PathBuf) {
    for _ in 0..10 {
        let _ = fs::remove_dir_all(path);
        if !path.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
