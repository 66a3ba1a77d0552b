//! What the system counts of this process and of its threads.

use crate::sync::time::Duration;

/// Returns how often this thread has waited: for a lock, for a device, for some time. A thread that was kept from its processor by others
/// has not. `None` where the system does not count that.
pub(super) fn waits() -> Option<u64> {
    of_this_thread("voluntary_ctxt_switches:")
}

/// Returns the memory that this process has now, in bytes. `None` where the system does not tell.
pub(super) fn resident_bytes() -> Option<u64> {
    of_this_thread("VmRSS:").map(|kibibytes| kibibytes * 1024)
}

/// Returns whether [`waits`] counts: there are systems that have the number, and leave it at 0.
pub(super) fn counts_waits() -> bool {
    let before = waits();
    std::thread::sleep(Duration::from_millis(1));
    before < waits()
}

fn of_this_thread(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_is_told_from_one_that_works() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(counts_waits());
        let before = waits();
        let work: u64 = (0..1_000_000_u64).map(std::hint::black_box).sum();
        assert_eq!(waits(), before, "{work}");
    }
}
