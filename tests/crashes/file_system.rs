//! A file system of a test's own: ext4 on a loop device over a file.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// A mounted file system, which is removed with its device and its files.
pub(crate) struct FileSystem {
    folder: PathBuf,
    device: Option<String>,
}

/// Returns what a command printed, or why it did not work.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

impl FileSystem {
    /// Makes a file system of `mib` MiB in this folder, on a tmpfs that has room for `room` of them only; or returns why there is
    /// none.
    pub(crate) fn make(folder: &Path, mib: u64, room: u64) -> Result<Self, String> {
        let mut made = Self { folder: folder.to_owned(), device: None };
        for part in ["below", "mounted"] {
            fs::create_dir(folder.join(part)).map_err(|error| error.to_string())?;
        }
        let below = folder.join("below");
        run("mount", &["-t", "tmpfs", "-o", &format!("size={room}m"), "ringpool", text(&below)])?;
        let image = below.join("image");
        fs::File::create(&image)
            .and_then(|file| file.set_len(mib << 20))
            .map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", "-E", "nodiscard", text(&image)])?;
        made.device = Some(run("losetup", &["--find", "--show", text(&image)])?);
        made.mount()?;
        Ok(made)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("mounted")
    }

    pub(crate) fn mount(&self) -> Result<(), String> {
        let device = self.device.as_deref().unwrap_or_default();
        run("mount", &[device, text(&self.path())]).map(drop)
    }

    /// Unmounts it, once no file is open there: a ring closes its files a moment after it was closed itself, and a process that was
    /// just forked elsewhere has them for a moment too.
    pub(crate) fn unmount(&self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match run("umount", &[text(&self.path())]) {
                Err(reason) if reason.contains("busy") && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(10));
                }
                other => return other.map(drop),
            }
        }
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        // Each may have been undone already, or never have been done.
        let _ = run("umount", &["--lazy", text(&self.path())]);
        if let Some(device) = &self.device {
            let _ = run("losetup", &["--detach", device]);
        }
        let _ = run("umount", &["--lazy", text(&self.folder.join("below"))]);
    }
}
