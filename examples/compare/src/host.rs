//! What a run ran on: the machine, and the device below the files where the system tells which it is.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use lab::machine::Machine;
use lab::serde_json::{Value, json};

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) machine: Machine,
    pub(crate) device: Option<Device>,
}

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) model: Option<String>,
    pub(crate) rotational: Option<bool>,
}

impl Host {
    /// Describes this machine, with the file system and the device of `path`.
    pub(crate) fn of(path: &Path) -> Self {
        Self { machine: Machine::of(path), device: device_of(path) }
    }

    /// Returns what the files are really in, if it is memory: then no figure says anything of a disk.
    pub(crate) fn memory(&self) -> Option<&str> {
        let file_system =
            Some(&self.machine.file_system[..]).filter(|name| ["tmpfs", "ramfs"].contains(name));
        let is_memory = |device: &&Device| device.name.starts_with("ram") || device.name.starts_with("zram");
        file_system.or(self.device.as_ref().filter(is_memory).map(|device| &device.name[..]))
    }

    /// Formats it as a line for people.
    pub(crate) fn line(&self) -> String {
        // Virtual disks report wrongly whether they rotate, so this is in the JSON only.
        let device = self.device.as_ref().map(|Device { name, model, .. }| {
            let model = model.as_ref().map(|model| format!(" ({model})")).unwrap_or_default();
            format!(" on {name}{model}")
        });
        format!("{}{}", self.machine, device.unwrap_or_default())
    }

    pub(crate) fn json(&self) -> Value {
        let Machine { cores, processor, memory, kernel, file_system } = &self.machine;
        let device = self.device.as_ref().map(|Device { name, model, rotational }| {
            json!({ "name": name, "model": model, "rotational": rotational })
        });
        json!({
            "cores": cores,
            "cpu": processor,
            "memory_bytes": memory,
            "kernel": kernel,
            "file_system": file_system,
            "device": device,
            "is_memory": self.memory().is_some(),
        })
    }
}

/// Returns the device that a file lies on, or that a path names. File systems of several devices have none of their own.
fn device_of(path: &Path) -> Option<Device> {
    let found = fs::metadata(path).ok()?;
    let number = if found.file_type().is_block_device() { found.rdev() } else { found.dev() };
    let (major, minor) = split(number);
    let folder = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    // A partition's folder is in that of its disk.
    let folder = if folder.join("partition").exists() { folder.parent()?.to_owned() } else { folder };
    let told = |file: &str| read(folder.join(file));
    Some(Device {
        name: folder.file_name()?.to_string_lossy().into_owned(),
        model: told("device/model"),
        rotational: told("queue/rotational").map(|told| told == "1"),
    })
}

fn read(path: PathBuf) -> Option<String> {
    fs::read_to_string(path).ok().map(|told| told.trim().to_owned()).filter(|told| !told.is_empty())
}

/// Splits a device number into major and minor, as Linux packs them.
fn split(device: u64) -> (u64, u64) {
    ((device >> 8 & 0xfff) | (device >> 32 & !0xfff), (device & 0xff) | (device >> 12 & !0xff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_split_as_linux_packs_them() {
        assert_eq!(split(0xfe00), (254, 0));
        assert_eq!(split(0x10_0812), (8, 0x112));
    }

    #[test]
    fn memory_is_told_from_disks() {
        let host = |file_system: &str, device: &str| {
            let mut host = Host::of(Path::new("/"));
            host.machine.file_system = file_system.to_owned();
            host.device = Some(Device { name: device.to_owned(), model: None, rotational: None });
            host.memory().map(str::to_owned)
        };
        assert_eq!(host("tmpfs", "none").as_deref(), Some("tmpfs"));
        assert_eq!(host("ext4", "zram0").as_deref(), Some("zram0"));
        assert_eq!(host("ext4", "nvme0n1"), None);
    }
}
