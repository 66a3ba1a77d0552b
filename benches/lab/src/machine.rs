//! One line that says what a run ran on, so that its numbers can be read elsewhere.

use std::fmt;
use std::fs;
use std::path::Path;
use std::thread;

use rustix::fs::statfs;
use rustix::system::{sysinfo, uname};

/// What a run ran on.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor's name, where the kernel tells it.
    pub processor: Option<String>,
    /// Memory in bytes.
    pub memory: u64,
    /// The kernel's name and release.
    pub kernel: String,
    /// The type of the file system that the files are on.
    pub file_system: String,
}

impl Machine {
    /// Describes this machine, with the file system of `path`.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let name = uname();
        let system = sysinfo();
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            processor: processor(),
            memory: system.totalram * u64::from(system.mem_unit),
            kernel: format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
            file_system: file_system(path),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, processor, memory, kernel, file_system } = self;
        let processor = processor.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
        let gib = *memory as f64 / f64::from(1 << 30);
        let plural = if *cores == 1 { "" } else { "s" };
        write!(f, "{cores} core{plural}{processor}, {gib:.1} GiB memory, {kernel}, {file_system}")
    }
}

fn processor() -> Option<String> {
    let described = fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, name) = described.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(name.trim().to_owned())
}

/// Returns the name that belongs to the file system's magic number; the number where we have no name for it.
fn file_system(path: &Path) -> String {
    let Ok(found) = statfs(path) else {
        return "unknown file system".to_owned();
    };
    let name = match found.f_type as u64 & 0xffff_ffff {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0xf2f5_2010 => "f2fs",
        0x2fc1_2fc1 => "zfs",
        0xca45_1a4e => "bcachefs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlayfs",
        0x6969 => "nfs",
        0x0102_1997 => "9p",
        0x6573_5546 => "fuse",
        magic => return format!("file system {magic:#x}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_no_path() {
        let machine = Machine {
            cores: 1,
            processor: Some("Some Processor".to_owned()),
            memory: 3 << 29,
            kernel: "Linux 6.1".to_owned(),
            file_system: "ext4".to_owned(),
        };
        assert_eq!(machine.to_string(), "1 core of Some Processor, 1.5 GiB memory, Linux 6.1, ext4");
        assert!(!Machine::of(Path::new("/")).to_string().contains('/'));
    }
}
