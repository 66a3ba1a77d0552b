//! A check of the memory before it is taken: the pool and the baselines fault in all of theirs, and a machine that has too little
//! ends processes instead of refusing.

use std::fs;

use lab::Result;

const MIB: u64 = 1 << 20;

/// Returns how many bytes can be taken without taking memory from other processes; `None` where the kernel does not tell.
pub(crate) fn available() -> Option<u64> {
    let described = fs::read_to_string("/proc/meminfo").ok()?;
    let line = described.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Returns whether `bytes` leave a tenth of the available memory to other processes.
pub(crate) fn has_room_for(bytes: u64) -> bool {
    available().is_none_or(|available| bytes <= available / 10 * 9)
}

/// Checks that `bytes` can be taken, with a tenth of the available memory left to other processes.
///
/// # Errors
///
/// If there is less, with `advice` on what to do.
pub(crate) fn check(bytes: u64, advice: &str) -> Result<()> {
    if has_room_for(bytes) {
        return Ok(());
    }
    let (needs, has) = (bytes.div_ceil(MIB), available().unwrap_or_default() / MIB);
    Err(format!("needs {needs} MiB of memory, {has} MiB are available: {advice}").into())
}
