//! Bounds the memory of a process, its page cache included, by a control group of the kernel's.
//!
//! Version 2 of control groups allows no processes in a group that has groups of its own with controllers, so a new group is made
//! beside the one of this process; with version 1 it is made inside of that.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// A control group, removed when this is dropped: no process may be in it then.
pub struct Group {
    path: PathBuf,
}

impl Group {
    /// Makes a group whose processes have at most `bytes` of memory together.
    ///
    /// # Errors
    /// Those of the system: this process may not make groups, or the kernel has no such controller.
    pub fn bounded(bytes: u64) -> io::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("ringpool-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let (path, limit) = match Parent::find()? {
            Parent::Version2(parent) => (parent.join(name), "memory.max"),
            Parent::Version1(parent) => (parent.join(name), "memory.limit_in_bytes"),
        };
        fs::create_dir(&path)?;
        let group = Self { path };
        fs::write(group.path.join(limit), bytes.to_string())?;
        Ok(group)
    }

    /// Puts a process into the group. What it has allocated before counts for its former group.
    ///
    /// # Errors
    /// Those of the system.
    pub fn add(&self, process: u32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), process.to_string())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel lets go of a process a moment after its end.
        for _ in 0..100 {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

/// The group in which new ones are made.
enum Parent {
    Version1(PathBuf),
    Version2(PathBuf),
}

impl Parent {
    fn find() -> io::Result<Self> {
        let (own, mounts) = (fs::read_to_string("/proc/self/cgroup")?, fs::read_to_string("/proc/mounts")?);
        let mounted = |kind: &str, option: &str| {
            let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let found = mounts.find(|mount| {
                mount.len() > 3 && mount[2] == kind && mount[3].split(',').any(|has| has == option)
            });
            found.map(|mount| PathBuf::from(mount[1]))
        };
        let own_group = |controllers: &str| {
            own.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let is_it = parts.next()?.split(',').any(|controller| controller == controllers);
                is_it.then(|| parts.next().map(|path| path.trim_start_matches('/'))).flatten()
            })
        };
        if let (Some(root), Some(own)) = (mounted("cgroup", "memory"), own_group("memory")) {
            return Ok(Self::Version1(root.join(own)));
        }
        let none = || io::Error::other("no memory controller is mounted");
        let (root, own) = (mounted("cgroup2", "rw").ok_or_else(none)?, own_group("").ok_or_else(none)?);
        let parent = match Path::new(own).parent() {
            Some(beside) => root.join(beside),
            None => root,
        };
        let enabled = fs::read_to_string(parent.join("cgroup.subtree_control"))?;
        if !enabled.split_whitespace().any(|controller| controller == "memory") {
            fs::write(parent.join("cgroup.subtree_control"), "+memory")?;
        }
        Ok(Self::Version2(parent))
    }
}
