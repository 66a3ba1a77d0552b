//! A pool that shrinks gives its memory back to the system: what it touched, and what a ring had pinned. One test, since
//! the numbers are those of the process.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use ringpool::{
    BufferPool,
    stats::{MethodKind, Registration},
};
use support::{guarded, methods};

const PAGE: u32 = 65_536;
const MIB: u64 = 1 << 20;

/// Frames of 128 MiB.
const MOST: u32 = 2048;

/// Returns one of the numbers that the system has of this process, in bytes.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn memory_goes_back_step_by_step() {
    guarded(|| {
        for method in methods() {
            println!("method {method:?}");
            let before = status("RssAnon");
            let builder = BufferPool::builder().frames(16).frames_at_most(MOST).page_size(PAGE);
            let pool = builder.io_method(method).build().unwrap();
            let taken = || status("RssAnon").saturating_sub(before);
            assert!(taken() < 40 * MIB, "{} of memory for 1 MiB of pages and their step", taken());
            let is_pinned = {
                let method = pool.stats().method;
                method.in_use == MethodKind::Uring && method.fixed_buffers == Registration::InUse
            };
            let pinned_at_first = status("VmPin");
            for frames in [MOST, 1024, 16, MOST, 1] {
                let report = pool.resize(frames).wait().unwrap();
                let wanted = u64::from(frames) * u64::from(PAGE);
                assert_eq!(report.page_bytes, pool.stats().page_bytes);
                assert!((wanted..wanted + 16 * MIB).contains(&report.page_bytes), "{report:?}");
                assert!(taken() > wanted, "{} of memory for {wanted} of pages", taken());
                assert!(taken() < wanted + 48 * MIB, "{} of memory for {wanted} of pages", taken());
                if is_pinned {
                    // The kernel may free the memory a moment later.
                    let deadline = Instant::now() + Duration::from_secs(20);
                    let pinned = || status("VmPin") + 16 * MIB - pinned_at_first;
                    while !(wanted..wanted + 32 * MIB).contains(&pinned()) {
                        assert!(Instant::now() < deadline, "{} pinned for {wanted} of pages", pinned());
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            }
        }
    });
}
